"""Cells: what an assignment has earned on a component in a period, kept up to date credit by credit."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from services.incentives.credits.domain import CellKey, Credit, PayTerms
from services.incentives.earnings.domain.payout import EXACT, Schedule, exact_sum, schedule_of
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import Basis, Component
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
    schedule = _schedule(terms.component, terms.quota)
    measure = EXACT.add(cell.measure, EXACT.subtract(_credited(after), _credited(before)))
    payout = EXACT.add(cell.payout, EXACT.subtract(_deal_payout(schedule, after), _deal_payout(schedule, before)))
    return _earned(cell, schedule, measure, payout, cell.credits + len(after) - len(before))


def rebuilt(cell: Cell, terms: PayTerms | None, credits: Iterable[Credit]) -> Cell:
    """The cell worked out anew from all its credits. Without terms nothing pays it any more, and it has no credits."""
    if terms is None:
        return replace(cell, quota=None, measure=_ZERO, payout=_ZERO, earned=_ZERO, credits=0, version=cell.version + 1)
    schedule = _schedule(terms.component, terms.quota)
    by_deal: defaultdict[UUID, list[Credit]] = defaultdict(list)
    for credit in credits:
        by_deal[credit.deal_id].append(credit)
    measure, payout, count = _ZERO, _ZERO, 0
    for of_deal in by_deal.values():
        measure = EXACT.add(measure, _credited(of_deal))
        payout = EXACT.add(payout, _deal_payout(schedule, of_deal))
        count += len(of_deal)
    fresh = replace(cell, plan_version=terms.plan_version, quota=terms.quota_amount)
    return _earned(fresh, schedule, measure, payout, count)


def same_state(one: Cell, other: Cell) -> bool:
    """Whether two states differ in nothing but their version."""
    return replace(one, version=0) == replace(other, version=0)


def _earned(cell: Cell, schedule: Schedule | QuotaGap, measure: Decimal, payout: Decimal, count: int) -> Cell:
    if isinstance(schedule, Schedule) and schedule.basis is Basis.CUMULATIVE:
        payout = schedule.total(measure)
    return replace(
        cell,
        measure=measure,
        payout=payout,
        earned=round_to_minor_unit(payout, cell.currency),
        credits=count,
        version=cell.version + 1,
    )


def _credited(credits: Iterable[Credit]) -> Decimal:
    return exact_sum(credit.value for credit in credits)


def _deal_payout(schedule: Schedule | QuotaGap, credits: Sequence[Credit]) -> Decimal:
    """What a deal is paid by itself: for all that is credited of it in the period."""
    if isinstance(schedule, QuotaGap) or schedule.basis is Basis.CUMULATIVE or not credits:
        return _ZERO
    return schedule.deal(_credited(credits))


@lru_cache(maxsize=4096)
def _schedule(component: Component, quota: Decimal | QuotaGap) -> Schedule | QuotaGap:
    return schedule_of(component, quota)
