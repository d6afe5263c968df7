"""Which deal brought in which part of a cell's pay.

Credits reach the tiers in the order of business date, then deal id, whenever they arrived. A credit's amount is what
the rounded pay grew by when it was added, so that the amounts of a cell always sum to what it earned. Where each deal
is paid by itself, a deal that is credited on several days reaches the tiers by what it has come to.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from services.incentives.credits.domain import Credit
from services.incentives.earnings.domain.inputs import EXACT, exact_sum
from services.incentives.earnings.domain.kinds.commission import Schedule, Slice
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.commission import Basis
from shared.kernel.money import round_to_minor_unit

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class AttributedCredit:
    """A credit and what it paid.

    `exact` = the amounts of `slices` + `rerated`; `rerated` is what a retroactive tier's change of rate made of
    everything credited before. `amount` is rounded to the minor unit. `before` and `after` are the running totals.
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
    of_deals: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    for credit in sorted(credits, key=lambda item: item.order):
        after = EXACT.add(measure, credit.value)
        of_deal = of_deals[credit.deal_id]
        of_deals[credit.deal_id] = EXACT.add(of_deal, credit.value)
        slices, exact = _paid(schedule, (measure, after), (of_deal, of_deals[credit.deal_id]))
        rerated = EXACT.subtract(exact, exact_sum(part.amount for part in slices))
        payout = EXACT.add(payout, exact)
        total = round_to_minor_unit(payout, currency)
        lines.append(AttributedCredit(credit, measure, after, slices, rerated, exact, total - posted))
        measure, posted = after, total
    return lines


def _paid(
    schedule: Schedule | QuotaGap, of_period: tuple[Decimal, Decimal], of_deal: tuple[Decimal, Decimal]
) -> tuple[tuple[Slice, ...], Decimal]:
    """What a step from one total to the next pays, of the period or of the deal by itself."""
    if isinstance(schedule, QuotaGap):
        return (), _ZERO
    if schedule.basis is Basis.PER_DEAL:
        before, after = of_deal
        return schedule.deal_slices(before, after), EXACT.subtract(schedule.deal(after), schedule.deal(before))
    before, after = of_period
    return schedule.slices(before, after), EXACT.subtract(schedule.total(after), schedule.total(before))
