"""The cells of a component in a fiscal year that depend on one another, worked out together in the order of time.

A later cell looks back: at the running total that it goes on from where terms change within a period or totals run for
the year, at what caps withheld, at a gate that is measured over several of them. So a change of one of their credits
works out all of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey, ComponentYear, Credit, PayTerms, PeriodTotal
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.earnings.domain.inputs import EXACT, CapState, DealTotal, PayInputs, PoolShare, exact_sum
from services.incentives.earnings.domain.pay import Pay
from services.incentives.earnings.domain.payout import next_caps, pay
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import Component, needs_deals, paid_by_rate
from services.incentives.plans.domain.kinds.commission import GATE, QUANTITY, Basis
from services.incentives.plans.domain.kinds.pool import Pool
from services.incentives.plans.domain.parameters import MAIN
from shared.kernel.periods import DatedRange, Period

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class WorkedCell:
    """A cell with what it is paid by, from what, and what that pays. `credits` counts those of the main measure."""

    key: CellKey
    terms: PayTerms
    inputs: PayInputs
    pay: Pay
    measure: Decimal
    credits: int
    is_on: bool
    """Whether the person is on the plan on one of its days."""

    @property
    def is_there(self) -> bool:
        """Whether it has anything: credits, or something that others carried into it."""
        return self.credits > 0 or (self.is_on and self.pay.amount != 0)


class YearCredits:
    """The credits of a component in a fiscal year, summed by measure and by the period each counts in.

    Where nothing depends on them one by one, their `totals` are enough.
    """

    def __init__(self, credits: Iterable[Credit], totals: Iterable[PeriodTotal] | None = None) -> None:
        self._by_period: dict[tuple[str, date], dict[tuple[UUID, date], Credit]] | None = (
            defaultdict(dict) if totals is None else None
        )
        self._totals: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
        self._counts: dict[tuple[str, date], int] = defaultdict(int)
        self._days: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
        for total in totals or ():
            at, on = (total.measure, total.cell.period.start), (total.measure, total.day)
            self._totals[at] = EXACT.add(self._totals[at], total.value)
            self._days[on] = EXACT.add(self._days[on], total.value)
            self._counts[at] += total.credits
        for credit in credits:
            self.add(credit)

    def add(self, credit: Credit) -> None:
        """One more."""
        at, on = (credit.measure, credit.period.start), (credit.measure, credit.day)
        if self._by_period is not None:
            self._by_period[at][credit.deal_id, credit.day] = credit
        self._totals[at] = EXACT.add(self._totals[at], credit.value)
        self._days[on] = EXACT.add(self._days[on], credit.value)
        self._counts[at] += 1

    def remove(self, credit: Credit) -> None:
        """One that was added, and no longer counts."""
        at, on = (credit.measure, credit.period.start), (credit.measure, credit.day)
        if self._by_period is not None:
            del self._by_period[at][credit.deal_id, credit.day]
        self._totals[at] = EXACT.subtract(self._totals[at], credit.value)
        self._days[on] = EXACT.subtract(self._days[on], credit.value)
        self._counts[at] -= 1

    def of_cell(self, measure: str, start: date) -> Collection[Credit]:
        """Those by one measure in the period that begins on a day; ValueError where only totals are known."""
        if self._by_period is None:
            raise ValueError("only what the credits come to is known")
        return self._by_period[measure, start].values() if (measure, start) in self._by_period else ()

    def count(self, measure: str, start: date) -> int:
        """How many they are."""
        return self._counts.get((measure, start), 0)

    def total(self, measure: str, start: date) -> Decimal:
        """What they sum to."""
        return self._totals.get((measure, start), _ZERO)

    def total_within(self, measure: str, days: Period) -> Decimal:
        """What those of a measure beside the main one sum to that count on some days, whatever their period is."""
        return exact_sum(total for (name, day), total in self._days.items() if name == measure and day in days)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A cell of the year as the definitions have it, whatever was credited."""

    key: CellKey
    terms: PayTerms
    is_on: bool
    quotas: Mapping[str, Decimal | QuotaGap]
    windows: Mapping[str, Period]
    """The days of further measures whose totals do not run with the cells."""
    begins_period: bool
    ends_period: bool
    begins_anew: bool
    """Whether no running total goes on from the cell before."""
    scores: Mapping[str, Decimal]
    pool: PoolShare | None
    part: Fraction
    """The days of the cell of those of its period."""


class LinkedCells:
    """Works out the cells of a component in a fiscal year, from credits as they are."""

    def __init__(self, known: Definitions, key: ComponentYear) -> None:
        self._frames = list(_frames(known, key))

    def worked_out(self, credits: YearCredits) -> list[WorkedCell]:
        """Every cell that terms pay, in the order of time."""
        found = []
        year: dict[str, Decimal] = {}
        period: dict[str, Decimal] = {}
        caps = CapState()
        paid_before, version = _ZERO, 0
        for frame in self._frames:
            if frame.begins_anew:
                year, period = {}, {}
            if frame.begins_period:
                period = {}
            if frame.begins_period or frame.terms.plan_version != version:
                paid_before, version = _ZERO, frame.terms.plan_version
            if not frame.is_on:
                caps = replace(caps, carried=_ZERO)
            component, start = frame.terms.component, frame.key.period.start
            before = _running(component, year, period)
            own = {
                counted.name: credits.total(counted.name, start)
                for counted in component.measures
                if counted.name not in frame.windows
            }
            totals = {name: EXACT.add(before.get(name, _ZERO), value) for name, value in own.items()}
            totals.update({name: credits.total_within(name, days) for name, days in frame.windows.items()})
            inputs = PayInputs(
                frame.quotas,
                totals,
                deal_totals(credits.of_cell(MAIN, start), credits.of_cell(QUANTITY, start))
                if needs_deals(component)
                else (),
                frame.terms.plan.currency,
                frame.terms.target,
                before=before,
                caps=caps,
                scores=frame.scores,
                pool=frame.pool,
                part=frame.part,
                paid_before=paid_before,
            )
            is_credited = any(credits.count(name, start) for name in own)
            is_due = is_credited or bool(before) if component.measures else frame.is_on
            # What no rate pays may pay for a total of 0, which everybody has in every period to come.
            paid = Pay() if paid_by_rate(component) is None and not is_due else pay(component, inputs)
            count = credits.count(MAIN, start)
            found.append(WorkedCell(frame.key, frame.terms, inputs, paid, own.get(MAIN, _ZERO), count, frame.is_on))
            caps = next_caps(component, caps, paid, ends_period=frame.ends_period)
            paid_before = EXACT.add(paid_before, paid.amount)
            if is_credited:
                year = _added(year, own)
                period = _added(period, own)
        return found


def deal_totals(credits: Iterable[Credit], units: Iterable[Credit] = ()) -> tuple[DealTotal, ...]:
    """What each deal is credited with in a cell, by the first day of each and its id."""
    sold: dict[UUID, Decimal] = defaultdict(Decimal)
    for credit in units:
        sold[credit.deal_id] = EXACT.add(sold[credit.deal_id], credit.value)
    deals: dict[UUID, DealTotal] = {}
    for credit in sorted(credits, key=lambda each: each.order):
        known = deals.get(credit.deal_id)
        value = credit.value if known is None else EXACT.add(known.value, credit.value)
        day = credit.day if known is None else known.day
        deals[credit.deal_id] = DealTotal(credit.deal_id, day, value, sold.get(credit.deal_id, _ZERO), credit.factor)
    return tuple(deals.values())


def _frames(known: Definitions, key: ComponentYear) -> Iterable[_Frame]:
    assignment = known.assignments.get(key.assignment_id)
    if assignment is None or assignment.deleted:
        return
    plan = known.plans[assignment.plan_id]
    last: Component | None = None
    for days in known.cells_within(assignment, key.component, key.year):
        cell = CellKey(assignment.id, key.component, days.period)
        terms = known.terms(cell)
        if terms is None:
            last = None
            continue
        component = terms.component
        if not component.measures and days.period.start > known.today:
            break
        around = known.period_of(plan.period, days.period.start)
        is_on = assignment.range.overlaps(DatedRange(days.period.start, days.period.end))
        yield _Frame(
            cell,
            terms,
            is_on,
            known.quotas(assignment, component, days.period),
            {
                counted.name: around if counted.period is None else known.period_of(counted.period, days.period.start)
                for counted in component.measures
                if counted.name == GATE or (counted.period is not None and counted.name != MAIN)
            },
            days.period.start == around.start,
            days.period.end == around.end,
            last is None or not _goes_on(last, component, is_first=days.period.start == days.version.effective_from),
            known.scores_of(cell),
            PoolShare(*known.pool_weights(cell)) if is_on and isinstance(component, Pool) else None,
            Fraction((days.period.end - days.period.start).days, (around.end - around.start).days),
        )
        last = component


def _goes_on(last: Component, component: Component, *, is_first: bool) -> bool:
    """Whether running totals go on over the seam between two cells."""
    rated = paid_by_rate(component)
    if rated is not None and rated.restart and is_first:
        return False
    units = [[counted.measure.unit for counted in each.measures if counted.name != GATE] for each in (last, component)]
    return type(last) is type(component) and units[0] == units[1]


def _running(component: Component, year: Mapping[str, Decimal], period: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    """What the running totals of a component begin a cell with."""
    rated = paid_by_rate(component)
    if rated is None:
        return period
    match rated.basis:
        case Basis.PER_DEAL:
            return {}
        case Basis.CUMULATIVE:
            return period
        case Basis.YEAR_TO_DATE:
            return year


def _added(totals: Mapping[str, Decimal], own: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: EXACT.add(totals.get(name, _ZERO), value) for name, value in own.items()}
