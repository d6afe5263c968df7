"""What accounting books: the ledger by pay period, account and cost centre, and what plans cost against budgets."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Final
from uuid import UUID

from services.incentives.ledger.domain import Movement
from shared.kernel.approvals import Actor
from shared.kernel.org import OrgChart
from shared.kernel.periods import Period

NO_COST_CENTRE: Final = ""
"""The cost centre of whoever is in no team that has one."""
_ZERO: Final = Decimal(0)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CostCentre:
    """From the day `start` on a team, and those below it that have none of their own, are booked on `code`."""

    id: UUID
    team_id: UUID
    start: date
    code: str
    actor: Actor
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """What a plan may cost in the pay period that starts on a day, in the plan's currency."""

    id: UUID
    plan_id: UUID
    start: date
    amount: Decimal
    actor: Actor
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Accrual:
    """What was posted on an account in a pay period for a cost centre: debit above 0, credit below."""

    period: Period
    account: str
    cost_centre: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class PlanCost:
    """What a plan cost in a pay period, and may; `budget` is None where none is set."""

    period: Period
    cost: Decimal
    budget: Decimal | None
    cost_so_far: Decimal
    budget_so_far: Decimal

    @property
    def left(self) -> Decimal | None:
        """What is left of the budget; below 0 what it was exceeded by."""
        return None if self.budget is None else self.budget - self.cost


def cost_centre_of(chart: OrgChart, centres: Iterable[CostCentre], person_id: UUID, day: date) -> str:
    """The cost centre of a person on a day: that of the nearest team above that has one.

    Somebody who is in several teams is booked by the membership that began first.
    """
    codes: dict[UUID, tuple[date, str]] = {}
    for each in centres:
        if each.start <= day and (each.team_id not in codes or codes[each.team_id][0] < each.start):
            codes[each.team_id] = each.start, each.code
    stays = sorted(
        (each.range.start, each.team_id)
        for each in chart.memberships
        if each.person_id == person_id and day in each.range
    )
    for _, first in stays:
        team: UUID | None = first
        passed: set[UUID] = set()
        while team is not None and team not in passed:
            if team in codes:
                return codes[team][1]
            passed.add(team)
            node = chart.teams.get(team)
            team = None if node is None else node.on(day)[0]
    return NO_COST_CENTRE


def accruals_of(
    movements: Iterable[Movement], chart: OrgChart, centres: Collection[CostCentre], periods: Mapping[date, Period]
) -> list[Accrual]:
    """The movements of the ledger by pay period, account and cost centre; the sum of each currency is 0.

    The accounts of people are one, by their kind. `periods` are the pay periods by when movements of theirs end.
    """
    known: dict[tuple[UUID, date], str] = {}
    found: defaultdict[tuple[Period, str, str, str], Decimal] = defaultdict(Decimal)
    for each in movements:
        period = periods[each.posted_until]
        key = each.person_id, period.end
        if key not in known:
            known[key] = cost_centre_of(chart, centres, each.person_id, period.end - _DAY)
        kind, _, name = each.account.partition(":")
        account = kind if name == str(each.person_id) else each.account
        found[period, account, known[key], each.currency] += each.amount
    rows = [Accrual(*key, amount) for key, amount in found.items() if amount]
    return sorted(rows, key=lambda row: (row.period.start, row.account, row.cost_centre, row.currency))


def costs_of(
    periods: Sequence[Period], cost: Mapping[date, Decimal], budgets: Mapping[date, Decimal]
) -> list[PlanCost]:
    """What a plan cost in each pay period, by its end, against its budgets, by the pay period's start."""
    costs = [cost.get(period.end, _ZERO) for period in periods]
    planned = [budgets.get(period.start, _ZERO) for period in periods]
    return [
        PlanCost(period, now, budgets.get(period.start), so_far, planned_so_far)
        for period, now, so_far, planned_so_far in zip(
            periods, costs, accumulate(costs), accumulate(planned), strict=True
        )
    ]


def is_expense_of(account: str, plan_id: UUID) -> bool:
    """Whether an account is what a plan costs: every expense that names it."""
    kind, _, name = account.partition(":")
    return kind == "expense" and name.endswith(str(plan_id))
