"""Cells: what an assignment has earned on a component in a period, kept up to date credit by credit."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.incentives.credits.domain import CellKey, Credit, PayTerms
from services.incentives.earnings.domain.inputs import EXACT, DealTotal, PayInputs, exact_sum
from services.incentives.earnings.domain.kinds.commission import Schedule, schedule_of
from services.incentives.earnings.domain.payout import payout
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.commission import Basis
from services.incentives.plans.domain.parameters import MAIN
from shared.kernel.attainment import attainment, shown
from shared.kernel.money import round_to_minor_unit

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Cell:
    """The state of one cell. `payout` is exact; `earned` is it as rounded for the ledger, which sums to it."""

    key: CellKey
    person_id: UUID
    plan_id: UUID
    plan_version: int
    currency: str
    quota: Decimal | None = None
    measure: Decimal = _ZERO
    payout: Decimal = _ZERO
    earned: Decimal = _ZERO
    credits: int = 0
    version: int = 0

    @property
    def id(self) -> UUID:
        return self.key.id

    @property
    def attainment(self) -> Decimal | None:
        """measure ÷ quota as it is shown, never clamped; None without a quota or with one of 0."""
        return None if self.quota is None else shown(attainment(self.measure, target=self.quota))


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A cell and when it last changed."""

    tenant_id: UUID
    cell: Cell
    changed_at: datetime


def opened(key: CellKey, terms: PayTerms, person_id: UUID) -> Cell:
    """A cell nothing has been credited to."""
    return Cell(key, person_id, terms.plan.id, terms.plan_version, terms.plan.currency, terms.quota_amount)


def recredited(cell: Cell, terms: PayTerms, *, before: Sequence[Credit], after: Sequence[Credit]) -> Cell:
    """The cell after its credits of one deal, all of them `before`, became those `after`."""
    schedule = schedule_of(terms.component, terms.quota)
    measure = EXACT.add(cell.measure, EXACT.subtract(_credited(after), _credited(before)))
    paid = EXACT.add(cell.payout, EXACT.subtract(_deal_payout(schedule, after), _deal_payout(schedule, before)))
    if isinstance(schedule, Schedule) and schedule.basis is Basis.CUMULATIVE:
        paid = schedule.total(measure)
    return _earned(cell, measure, paid, cell.credits + len(after) - len(before))


def rebuilt(cell: Cell, terms: PayTerms | None, credits: Collection[Credit]) -> Cell:
    """The cell worked out anew from all its credits. Without terms nothing pays it any more, and it has no credits."""
    if terms is None:
        return replace(cell, quota=None, measure=_ZERO, payout=_ZERO, earned=_ZERO, credits=0, version=cell.version + 1)
    inputs = _inputs(terms, credits)
    fresh = replace(cell, plan_version=terms.plan_version, quota=terms.quota_amount)
    return _earned(fresh, inputs.totals[MAIN], payout(terms.component, inputs), len(credits))


def same_state(one: Cell, other: Cell) -> bool:
    """Whether two states differ in nothing but their version."""
    return replace(one, version=0) == replace(other, version=0)


def _earned(cell: Cell, measure: Decimal, paid: Decimal, count: int) -> Cell:
    return replace(
        cell,
        measure=measure,
        payout=paid,
        earned=round_to_minor_unit(paid, cell.currency),
        credits=count,
        version=cell.version + 1,
    )


def _inputs(terms: PayTerms, credits: Iterable[Credit]) -> PayInputs:
    """What a cell with these credits is paid by."""
    deals: dict[UUID, DealTotal] = {}
    for credit in sorted(credits, key=lambda each: each.order):
        known = deals.get(credit.deal_id)
        value = credit.value if known is None else EXACT.add(known.value, credit.value)
        day = credit.day if known is None else known.day
        deals[credit.deal_id] = DealTotal(credit.deal_id, day, value)
    total = exact_sum(deal.value for deal in deals.values())
    return PayInputs({MAIN: terms.quota}, {MAIN: total}, tuple(deals.values()), terms.plan.currency)


def _credited(credits: Iterable[Credit]) -> Decimal:
    return exact_sum(credit.value for credit in credits)


def _deal_payout(schedule: Schedule | QuotaGap, credits: Sequence[Credit]) -> Decimal:
    """What a deal is paid by itself: for all that is credited of it in the period."""
    if isinstance(schedule, QuotaGap) or schedule.basis is Basis.CUMULATIVE or not credits:
        return _ZERO
    return schedule.deal(_credited(credits))
