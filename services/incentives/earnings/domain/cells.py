"""Cells: what an assignment has earned on a component in a period, kept up to date credit by credit."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey, Credit, PayTerms
from services.incentives.credits.domain.plain import CreditTotal
from services.incentives.earnings.domain.inputs import EXACT, DealTotal, PayInputs, exact_sum
from services.incentives.earnings.domain.payout import pay
from services.incentives.earnings.domain.schedule import Schedule, schedule_of
from services.incentives.earnings.domain.years import WorkedCell, deal_totals
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import needs_deals, paid_by_rate
from services.incentives.plans.domain.kinds.commission import Basis
from services.incentives.plans.domain.parameters import MAIN
from shared.kernel.attainment import attainment, shown
from shared.kernel.money import round_to_minor_unit

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Cell:
    """The state of one cell. `payout` is exact; `earned` is it as rounded for the ledger, which sums to it.

    `before` is what the running total of its measure began with, where it goes on from earlier cells.
    """

    key: CellKey
    person_id: UUID
    plan_id: UUID
    plan_version: int
    currency: str
    quota: Decimal | None = None
    measure: Decimal = _ZERO
    before: Decimal = _ZERO
    payout: Decimal = _ZERO
    earned: Decimal = _ZERO
    credits: int = 0
    version: int = 0

    @property
    def id(self) -> UUID:
        return self.key.id

    @property
    def attainment(self) -> Decimal | None:
        """(before + measure) ÷ quota as it is shown, never clamped; None without a quota or with one of 0."""
        reached = EXACT.add(self.before, self.measure)
        return None if self.quota is None else shown(attainment(reached, target=self.quota))


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A cell, when it last changed, and how much that changed what is earned; None where a release before saved it."""

    tenant_id: UUID
    cell: Cell
    changed_at: datetime
    posted: Decimal | None


def opened(key: CellKey, terms: PayTerms, person_id: UUID) -> Cell:
    """A cell nothing has been credited to."""
    return Cell(key, person_id, terms.plan.id, terms.plan_version, terms.plan.currency, terms.quota_amount)


def recredited(cell: Cell, terms: PayTerms, *, before: Sequence[Credit], after: Sequence[Credit]) -> Cell:
    """The cell after its credits of one deal, all of them `before`, became those `after`.

    Its component is paid by a rate, and depends on no other cells.
    """
    rated = paid_by_rate(terms.component)
    if rated is None:
        raise ValueError(f"cell {cell.id} is paid by no rate")
    cap = rated.caps.deal
    schedule = schedule_of(rated, terms.quota, terms.target)
    measure = EXACT.add(cell.measure, EXACT.subtract(_credited(after), _credited(before)))
    if isinstance(schedule, Schedule) and schedule.basis is Basis.CUMULATIVE:
        paid = schedule.total(measure)
    else:
        change = EXACT.subtract(_deal_payout(schedule, cap, after), _deal_payout(schedule, cap, before))
        paid = EXACT.add(cell.payout, change)
    return _earned(cell, measure, _ZERO, paid, cell.credits + len(after) - len(before))


def rebuilt(cell: Cell, terms: PayTerms | None, credits: Collection[Credit]) -> Cell:
    """The cell worked out anew from all its credits. Without terms nothing pays it any more, and it has no credits."""
    if terms is None:
        return replace(
            cell,
            quota=None,
            measure=_ZERO,
            before=_ZERO,
            payout=_ZERO,
            earned=_ZERO,
            credits=0,
            version=cell.version + 1,
        )
    return _paid(cell, terms, inputs_of(terms, credits), len(credits))


def totalled(cell: Cell, terms: PayTerms, total: CreditTotal) -> Cell:
    """The cell worked out anew from what all its credits sum to; it is paid by that alone."""
    return _paid(cell, terms, _inputs(terms, total.value, ()), total.credits)


def worked(cell: Cell, found: WorkedCell) -> Cell:
    """The cell as it was worked out together with others."""
    before = found.inputs.before.get(MAIN, _ZERO)
    return _earned(_under(cell, found.terms), found.measure, before, found.pay.amount, found.credits)


def same_state(one: Cell, other: Cell) -> bool:
    """Whether two states differ in nothing but their version."""
    return replace(one, version=0) == replace(other, version=0)


def _under(cell: Cell, terms: PayTerms) -> Cell:
    return replace(cell, plan_version=terms.plan_version, quota=terms.quota_amount)


def _earned(cell: Cell, measure: Decimal, before: Decimal, paid: Decimal, count: int) -> Cell:
    return replace(
        cell,
        measure=measure,
        before=before,
        payout=paid,
        earned=round_to_minor_unit(paid, cell.currency),
        credits=count,
        version=cell.version + 1,
    )


def inputs_of(terms: PayTerms, credits: Collection[Credit]) -> PayInputs:
    """What a cell that depends on these credits alone is paid by."""
    return _inputs(terms, _credited(credits), deal_totals(credits) if needs_deals(terms.component) else ())


def _inputs(terms: PayTerms, total: Decimal, deals: Sequence[DealTotal]) -> PayInputs:
    return PayInputs({MAIN: terms.quota}, {MAIN: total}, deals, terms.plan.currency, terms.target)


def _paid(cell: Cell, terms: PayTerms, inputs: PayInputs, count: int) -> Cell:
    paid = pay(terms.component, inputs).amount
    return _earned(_under(cell, terms), inputs.totals[MAIN], _ZERO, paid, count)


def _credited(credits: Iterable[Credit]) -> Decimal:
    return exact_sum(credit.value for credit in credits)


def _deal_payout(schedule: Schedule | QuotaGap, cap: Decimal | None, credits: Sequence[Credit]) -> Decimal:
    """What a deal is paid by itself: for all that is credited of it in the period."""
    if isinstance(schedule, QuotaGap) or schedule.basis is Basis.CUMULATIVE or not credits:
        return _ZERO
    paid = schedule.deal(_credited(credits))
    return paid if cap is None else min(max(paid, -cap), cap)
