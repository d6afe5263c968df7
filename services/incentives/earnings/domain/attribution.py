"""Which deal brought in which part of a cell's pay.

Credits reach the tiers in the order of business date, then deal id, whenever they arrived. A deal's amount is what the
rounded pay grew by when it was added, so that the amounts of a cell always sum to what it earned.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.incentives.credits.domain import Credit
from services.incentives.earnings.domain.payout import EXACT, QuotaGap, Schedule, Slice, exact_sum, reversed_slice
from services.incentives.plans.domain.components import Basis
from shared.kernel.money import round_to_minor_unit

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class AttributedCredit:
    """A credit and what it paid.

    `exact` = the amounts of `slices` + `rerated`; `rerated` is what a retroactive tier's change of rate made of
    everything credited before. `amount` is in whole minor units. `before` and `after` are the running totals.
    """

    credit: Credit
    before: Decimal
    after: Decimal
    slices: tuple[Slice, ...]
    rerated: Decimal
    exact: Decimal
    amount: Decimal


def attributed(schedule: Schedule | QuotaGap, credits: Iterable[Credit], currency: str) -> list[AttributedCredit]:
    """Every credit with its part of the pay, in order."""
    lines = []
    measure, payout, posted = _ZERO, _ZERO, _ZERO
    for credit in sorted(credits, key=lambda item: item.order):
        after = EXACT.add(measure, credit.value)
        slices, exact = _paid(schedule, measure, after, credit.value)
        rerated = EXACT.subtract(exact, exact_sum(part.amount for part in slices))
        payout = EXACT.add(payout, exact)
        total = round_to_minor_unit(payout, currency)
        lines.append(AttributedCredit(credit, measure, after, slices, rerated, exact, total - posted))
        measure, posted = after, total
    return lines


def _paid(
    schedule: Schedule | QuotaGap, before: Decimal, after: Decimal, value: Decimal
) -> tuple[tuple[Slice, ...], Decimal]:
    if isinstance(schedule, QuotaGap):
        return (), _ZERO
    if schedule.basis is Basis.PER_DEAL:
        slices = schedule.slices(_ZERO, abs(value))
        if value < 0:
            slices = tuple(reversed_slice(part) for part in slices)
        return slices, schedule.deal(value)
    return schedule.slices(before, after), EXACT.subtract(schedule.total(after), schedule.total(before))
