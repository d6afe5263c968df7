"""Cells: what an assignment has earned on a component in a period, kept up to date credit by credit."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from services.incentives.credits.domain import CellKey, Credit, Terms
from services.incentives.earnings.domain.payout import EXACT, QuotaGap, Schedule, schedule_of
from services.incentives.plans.domain.components import Basis, Component
from shared.kernel.money import round_to_minor_unit

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Cell:
    """The state of one cell. `payout` is exact, `earned` is it in whole minor units and what the ledger must sum to."""

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


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A cell and when it last changed."""

    tenant_id: UUID
    cell: Cell
    changed_at: datetime


def opened(key: CellKey, terms: Terms, person_id: UUID) -> Cell:
    """A cell nothing has been credited to."""
    return Cell(key, person_id, terms.plan.id, terms.plan_version, terms.plan.currency, terms.quota)


def recredited(cell: Cell, terms: Terms, *, removed: Credit | None, added: Credit | None) -> Cell:
    """The cell after one of its credits was replaced, added (`removed` is None) or withdrawn (`added` is None)."""
    schedule = _schedule(terms.component, terms.quota)
    measure, payout, count = cell.measure, cell.payout, cell.credits
    for credit, sign in ((removed, -1), (added, 1)):
        if credit is not None:
            measure = EXACT.add(measure, EXACT.multiply(sign, credit.value))
            payout = EXACT.add(payout, EXACT.multiply(sign, _deal_payout(schedule, credit)))
            count += sign
    return _earned(cell, schedule, measure, payout, count)


def rebuilt(cell: Cell, terms: Terms | None, credits: Iterable[Credit]) -> Cell:
    """The cell worked out anew from all its credits. Without terms nothing pays it any more, and it has no credits."""
    if terms is None:
        return replace(cell, quota=None, measure=_ZERO, payout=_ZERO, earned=_ZERO, credits=0, version=cell.version + 1)
    schedule = _schedule(terms.component, terms.quota)
    measure, payout, count = _ZERO, _ZERO, 0
    for credit in credits:
        measure = EXACT.add(measure, credit.value)
        payout = EXACT.add(payout, _deal_payout(schedule, credit))
        count += 1
    fresh = replace(cell, plan_version=terms.plan_version, quota=terms.quota)
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


def _deal_payout(schedule: Schedule | QuotaGap, credit: Credit) -> Decimal:
    if isinstance(schedule, QuotaGap) or schedule.basis is Basis.CUMULATIVE:
        return _ZERO
    return schedule.deal(credit.value)


@lru_cache(maxsize=4096)
def _schedule(component: Component, quota: Decimal | None) -> Schedule | QuotaGap:
    return schedule_of(component, quota)
