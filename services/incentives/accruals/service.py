"""The use cases of accruals and budgets."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from services.incentives.accruals import store
from services.incentives.accruals.domain import (
    Accrual,
    Budget,
    CostCentre,
    PlanCost,
    accruals_of,
    costs_of,
    is_expense_of,
)
from services.incentives.credits.domain.credit import TeamNotInSight
from services.incentives.credits.service import Credits
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import Movement
from services.incentives.periods.domain import PayCalendar
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.domain.versions import Plan
from shared.db.database import Transaction
from shared.kernel.approvals import Actor
from shared.kernel.errors import InvalidInput
from shared.kernel.org import OrgChart
from shared.kernel.periods import Period

PERIODS_MAX = 60


class Accruals:
    """What accounting books of the ledger, and what plans cost against their budgets."""

    def __init__(self, credits: Credits, pay_periods: PayPeriods) -> None:
        self._credits = credits
        self._pay_periods = pay_periods

    async def list_cost_centres(self, tx: Transaction, tenant_id: UUID) -> list[CostCentre]:
        """What was said last of each team and day, by team and day."""
        return await store.list_cost_centres(tx, tenant_id)

    async def set_cost_centre(
        self, tx: Transaction, tenant_id: UUID, team_id: UUID, start: date, code: str, actor: Actor
    ) -> CostCentre:
        """From a day on a team is booked on a cost centre. Raises TeamNotInSight."""
        if team_id not in (await self._credits.chart(tx, tenant_id)).teams:
            raise TeamNotInSight(f"There is no team {team_id}.")
        centre = CostCentre(tx.new_id(), team_id, start, code, actor, tx.now)
        return await store.add_cost_centre(tx, tenant_id, centre)

    async def list_budgets(self, tx: Transaction, tenant_id: UUID, plan: Plan) -> list[Budget]:
        """The budgets of a plan, in order."""
        return await store.list_budgets(tx, tenant_id, plan.id)

    async def set_budget(
        self, tx: Transaction, tenant_id: UUID, plan: Plan, start: date, amount: Decimal, actor: Actor
    ) -> Budget:
        """What a plan may cost in the pay period that starts on a day. InvalidInput where none does, or below 0."""
        _, calendar = await self._calendar(tx, tenant_id)
        period = calendar.containing(start).period
        if period.start != start:
            raise InvalidInput.field(
                "/date", f"no pay period starts on {start}", f"{period.start} or {period.end}, on which one does"
            )
        if amount < 0:
            raise InvalidInput.field("/amount", "is negative", "0 or more")
        return await store.add_budget(tx, tenant_id, Budget(tx.new_id(), plan.id, start, amount, actor, tx.now))

    async def accruals(self, tx: Transaction, tenant_id: UUID, start: date, end: date) -> list[Accrual]:
        """What was posted in the pay periods whose last day is in [start, end), by account and cost centre."""
        chart, calendar = await self._calendar(tx, tenant_id)
        movements = await ledger.movements(tx, tenant_id, after=start, until=end)
        centres = await store.list_cost_centres(tx, tenant_id)
        return accruals_of(movements, chart, centres, _periods_of(calendar, movements))

    async def costs(self, tx: Transaction, tenant_id: UUID, plan: Plan, start: date, end: date) -> list[PlanCost]:
        """What a plan cost in each pay period whose last day is in [start, end). InvalidInput for too many of them."""
        _, calendar = await self._calendar(tx, tenant_id)
        cost: defaultdict[date, Decimal] = defaultdict(Decimal)
        for each in await ledger.movements(tx, tenant_id, after=start, until=end):
            if is_expense_of(each.account, plan.id) and each.currency == plan.currency:
                cost[each.posted_until] += each.amount
        budgets = {each.start: each.amount for each in await store.list_budgets(tx, tenant_id, plan.id)}
        return costs_of(_within(calendar, start, end), cost, budgets)

    async def _calendar(self, tx: Transaction, tenant_id: UUID) -> tuple[OrgChart, PayCalendar]:
        chart = await self._credits.chart(tx, tenant_id)
        return chart, await self._pay_periods.calendar(tx, tenant_id, chart.calendar)


def _periods_of(calendar: PayCalendar, movements: Sequence[Movement]) -> dict[date, Period]:
    """The pay period in which movements that end on a day were posted."""
    return {end: calendar.containing(end - timedelta(days=1)).period for end in {m.posted_until for m in movements}}


def _within(calendar: PayCalendar, start: date, end: date) -> list[Period]:
    found: list[Period] = []
    period = calendar.containing(start).period
    while period.end <= end:
        if len(found) == PERIODS_MAX:
            raise InvalidInput.field("/end", f"{end} is too far", f"at most {PERIODS_MAX} pay periods")
        found.append(period)
        period = calendar.containing(period.end).period
    return found
