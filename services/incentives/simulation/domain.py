"""What would be earned: with deals that are not closed yet, or by terms that are not in force.

The cells are worked out by the same rules as pay, from credits in memory. Nothing here is stored.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey, Credit, Owners
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.cells import Cell
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.ledger.domain import Cause
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.versions import PlanVersion, VersionStatus
from shared.kernel.deals import DealFacts
from shared.kernel.errors import InvalidInput
from shared.kernel.money import round_to_minor_unit

SENSITIVITY: Final = tuple(Decimal(percent) / 100 for percent in (70, 80, 90, 100, 110, 120, 130))
"""How much of their value the deals have in each case of a sensitivity."""
QUANTILES: Final = (10, 25, 50, 75, 90)
BARS: Final = 12
_CAUSE: Final = Cause.of_definitions(["simulation"])
_ZERO: Final = Decimal(0)
_NO_OWNERS: Final[Mapping[UUID, Owners]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """A cell as it is and as it would be; `before` is None where there is none yet."""

    before: Cell | None
    after: Cell

    @property
    def difference(self) -> Decimal:
        """What would be earned more."""
        return self.after.earned - (_ZERO if self.before is None else self.before.earned)


@dataclass(frozen=True, slots=True)
class PersonOutcome:
    """What a person earns by the terms as they are, and by those that are tried."""

    person_id: UUID
    current: Decimal
    simulated: Decimal

    @property
    def difference(self) -> Decimal:
        return self.simulated - self.current


@dataclass(frozen=True, slots=True)
class Spread:
    """How amounts are spread over people: the value that so many percent of them do not exceed (nearest rank)."""

    mean: Decimal
    quantiles: Mapping[int, Decimal]


@dataclass(frozen=True, slots=True)
class Bar:
    """How many people earn from `start` up to, not including, `end`; the last bar includes its end."""

    start: Decimal
    end: Decimal
    current: int
    simulated: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan by the terms as they are and by those that are tried, in the plan's currency."""

    currency: str
    people: tuple[PersonOutcome, ...]
    current: Spread
    simulated: Spread
    bars: tuple[Bar, ...]
    sensitivity: tuple[tuple[Decimal, Decimal, Decimal], ...]
    """For each factor of the deals' value what the plan costs as it is, and as it is tried."""

    @property
    def cost(self) -> Decimal:
        return sum((person.current for person in self.people), _ZERO)

    @property
    def simulated_cost(self) -> Decimal:
        return sum((person.simulated for person in self.people), _ZERO)

    @property
    def winners(self) -> int:
        """How many people would earn more."""
        return sum(1 for person in self.people if person.difference > 0)

    @property
    def losers(self) -> int:
        """How many people would earn less."""
        return sum(1 for person in self.people if person.difference < 0)


def cells_of(definitions: Definitions, credits: Iterable[Credit]) -> dict[CellKey, Cell]:
    """The cells that these credits are in, with no others in them."""
    settlement = Settlement(definitions, {})
    settlement.rebuild(dict.fromkeys(definitions.assignments, _CAUSE), (), credits)
    return {cell.key: cell for cell in settlement.changed_cells()}


def with_deals(
    definitions: Definitions,
    stored: Sequence[Credit],
    deals: Sequence[DealFacts],
    assignment_ids: Iterable[UUID],
    owners: Mapping[UUID, Owners] = _NO_OWNERS,
) -> list[CellOutcome]:
    """The cells that would change if these deals were as they are stated, by period and component."""
    stated = {deal.deal_id for deal in deals}
    only = frozenset(assignment_ids)
    kept = [credit for credit in stored if credit.deal_id not in stated]
    added = [credit for deal in deals for credit in definitions.credits(deal, owners.get(deal.deal_id, ()), only=only)]
    before, after = cells_of(definitions, stored), cells_of(definitions, [*kept, *added])
    moved = [*added, *(credit for credit in stored if credit.deal_id in stated)]
    touched = {credit.cell for credit in moved if credit.measure == MAIN}
    found = []
    for key in touched | {key for key in before if key in after and before[key] != after[key]}:
        now = after.get(key) or replace(before[key], measure=_ZERO, payout=_ZERO, earned=_ZERO, credits=0)
        found.append(CellOutcome(before.get(key), now))
    return sorted(found, key=lambda each: (each.after.key.period.start, each.after.key.component, each.after.id))


def tried(definitions: Definitions, version: PlanVersion, start: date) -> Definitions:
    """The definitions with this version in force from a day on, instead of whatever is in force then or later."""
    others = [
        each
        for each in definitions.versions.get(version.plan_id, ())
        if each.number != version.number and each.effective_from < start
    ]
    number = 1 + max((each.number for each in others), default=version.number)
    in_force = replace(version, number=number, status=VersionStatus.ACTIVE, effective_from=start)
    return replace(definitions, versions={**definitions.versions, version.plan_id: [*others, in_force]})


def compared(
    current: Definitions,
    simulated: Definitions,
    plan_id: UUID,
    deals: Sequence[DealFacts],
    days: tuple[date, date],
    owners: Mapping[UUID, Owners] = _NO_OWNERS,
) -> Comparison:
    """The plan over the whole periods within [start, end), by two sets of definitions, on the same deals.

    InvalidInput where nobody is on the plan in those days.
    """
    assignments = {
        each.id: each.person_id
        for each in current.assignments.values()
        if each.plan_id == plan_id and not each.deleted and each.range.start < days[1]
    }
    if not assignments:
        raise InvalidInput.field("/plan_id", "has nobody on it in these days", "a plan with people on it")
    currency = current.plans[plan_id].currency
    credits = [
        [
            credit
            for deal in deals
            for credit in known.credits(deal, owners.get(deal.deal_id, ()), only=assignments.keys())
        ]
        for known in (current, simulated)
    ]
    earned = [
        _by_person(known, its, assignments, days) for known, its in zip((current, simulated), credits, strict=True)
    ]
    people = tuple(
        PersonOutcome(person, earned[0].get(person, _ZERO), earned[1].get(person, _ZERO))
        for person in sorted(set(assignments.values()))
    )
    amounts = [[each.current for each in people], [each.simulated for each in people]]
    sensitivity = tuple(
        (
            factor,
            *(
                sum(_by_person(known, _scaled(known, its, factor), assignments, days).values(), _ZERO)
                for known, its in zip((current, simulated), credits, strict=True)
            ),
        )
        for factor in SENSITIVITY
    )
    return Comparison(
        currency,
        people,
        _spread(amounts[0], currency),
        _spread(amounts[1], currency),
        _bars(amounts[0], amounts[1]),
        tuple((factor, cost, other) for factor, cost, other in sensitivity),
    )


def _by_person(
    definitions: Definitions, credits: Iterable[Credit], assignments: Mapping[UUID, UUID], days: tuple[date, date]
) -> dict[UUID, Decimal]:
    found: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    start, end = days
    for key, cell in cells_of(definitions, credits).items():
        if start <= key.period.start and key.period.end <= end:
            found[assignments[key.assignment_id]] += cell.earned
    return found


def _scaled(definitions: Definitions, credits: Iterable[Credit], factor: Decimal) -> list[Credit]:
    """The credits with deals of another value; a count stays one."""
    if factor == 1:
        return list(credits)
    found = []
    for credit in credits:
        terms = definitions.terms(credit.cell)
        counted = () if terms is None else terms.component.measures
        is_money = any(each.name == credit.measure and each.measure.is_money for each in counted)
        found.append(replace(credit, value=credit.value * factor) if is_money else credit)
    return found


def _spread(amounts: Sequence[Decimal], currency: str) -> Spread:
    ordered = sorted(amounts)
    mean = round_to_minor_unit(sum(ordered, _ZERO) / len(ordered), currency)
    return Spread(mean, {percent: ordered[-(-percent * len(ordered) // 100) - 1] for percent in QUANTILES})


def _bars(current: Sequence[Decimal], simulated: Sequence[Decimal]) -> tuple[Bar, ...]:
    low, high = min(*current, *simulated), max(*current, *simulated)
    width = (high - low) / BARS
    if not width:
        return (Bar(low, high, len(current), len(simulated)),)
    counts = [[0] * BARS, [0] * BARS]
    for which, amounts in enumerate((current, simulated)):
        for amount in amounts:
            counts[which][min(BARS - 1, int((amount - low) / width))] += 1
    return tuple(
        Bar(low + number * width, low + (number + 1) * width, counts[0][number], counts[1][number])
        for number in range(BARS)
    )
