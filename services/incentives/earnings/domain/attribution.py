"""Which deal brought in which part of a cell's pay.

Credits reach the tiers in the order of business date, then deal id, whenever they arrived. A credit's amount is what
the rounded pay grew by when it was added, so that the amounts of a cell, with those of its steps, always sum to what it
earned. Where each deal is paid by itself, a deal that is credited on several days reaches the tiers by what it has come
to. What a deal is paid beside the rate is in the last of its credits.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import Credit
from services.incentives.earnings.domain.inputs import EXACT, exact_sum
from services.incentives.earnings.domain.pay import DealExtra
from services.incentives.earnings.domain.schedule import Schedule, Slice
from services.incentives.earnings.domain.steps import Step
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.commission import Basis
from shared.kernel.money import round_to_minor_unit

_ZERO: Final = Decimal(0)
_PLAIN: Final = DealExtra(_ZERO, _ZERO)


@dataclass(frozen=True, slots=True)
class AttributedCredit:
    """A credit and what it paid.

    `exact` = the amounts of `slices` + `rerated` + `multiplied` − `withheld`; `rerated` is what a retroactive tier's
    change of rate made of everything credited before, `multiplied` what multipliers made of the deal's pay, and
    `withheld` what the cap of a deal took. `amount` is rounded to the minor unit. `before` and `after` are the running
    totals.
    """

    credit: Credit
    before: Decimal
    after: Decimal
    slices: tuple[Slice, ...]
    rerated: Decimal
    multiplied: Decimal
    withheld: Decimal
    exact: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class AttributedStep:
    """A step, and what the rounded pay grew by with it."""

    step: Step
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Units:
    """The units that decide on the rate of money: those sold before, and those of each deal of the cell."""

    before: Decimal
    of_deals: Mapping[UUID, Decimal]


def attributed(
    schedule: Schedule | QuotaGap | None,
    credits: Iterable[Credit],
    currency: str,
    *,
    before: Decimal = _ZERO,
    units: Units | None = None,
    extras: Mapping[UUID, DealExtra] | None = None,
) -> list[AttributedCredit]:
    """Every credit with its part of the pay, in order; the running total begins with `before`.

    Without a schedule no credit has a part of its own.
    """
    lines = []
    measure, payout, posted = before, _ZERO, _ZERO
    sold = None if units is None else units.before
    of_deals: dict[UUID, Decimal] = {}
    ordered = sorted(credits, key=lambda item: item.order)
    last = {credit.deal_id: number for number, credit in enumerate(ordered)}
    for number, credit in enumerate(ordered):
        after = EXACT.add(measure, credit.value)
        of_deal = of_deals.get(credit.deal_id, _ZERO)
        units_of_deal = None if units is None else units.of_deals.get(credit.deal_id, _ZERO)
        sold_after = sold
        if sold is not None and units_of_deal is not None and credit.deal_id not in of_deals:
            sold_after = EXACT.add(sold, units_of_deal)
        of_deals[credit.deal_id] = EXACT.add(of_deal, credit.value)
        slices: tuple[Slice, ...] = ()
        by_rate = _ZERO
        if isinstance(schedule, Schedule) and schedule.basis is Basis.PER_DEAL:
            slices, by_rate = _of_deal(schedule, of_deal, of_deals[credit.deal_id], units_of_deal)
        elif isinstance(schedule, Schedule):
            slices = schedule.slices(measure, after, sold_after)
            by_rate = EXACT.subtract(schedule.total(after, sold_after), schedule.total(measure, sold))
        extra = (extras or {}).get(credit.deal_id, _PLAIN) if last[credit.deal_id] == number else _PLAIN
        exact = EXACT.add(by_rate, EXACT.subtract(extra.multiplied, extra.withheld))
        rerated = EXACT.subtract(by_rate, exact_sum(part.amount for part in slices))
        payout = EXACT.add(payout, exact)
        total = round_to_minor_unit(payout, currency)
        lines.append(
            AttributedCredit(
                credit, measure, after, slices, rerated, extra.multiplied, extra.withheld, exact, total - posted
            )
        )
        measure, posted, sold = after, total, sold_after
    return lines


def attributed_steps(
    steps: Iterable[Step], lines: Sequence[AttributedCredit], currency: str
) -> tuple[AttributedStep, ...]:
    """Every step with its part of the pay, after the lines."""
    payout = exact_sum(line.exact for line in lines)
    posted = exact_sum(line.amount for line in lines)
    found = []
    for step in steps:
        payout = EXACT.add(payout, step.amount)
        total = round_to_minor_unit(payout, currency)
        found.append(AttributedStep(step, total - posted))
        posted = total
    return tuple(found)


def units_of(before: Decimal, credits: Iterable[Credit]) -> Units:
    """The units that credits of a cell have, by deal."""
    found: dict[UUID, Decimal] = defaultdict(Decimal)
    for credit in credits:
        found[credit.deal_id] = EXACT.add(found[credit.deal_id], credit.value)
    return Units(before, found)


def _of_deal(
    schedule: Schedule, before: Decimal, after: Decimal, units: Decimal | None
) -> tuple[tuple[Slice, ...], Decimal]:
    """What a step from one total of a deal to the next pays, where the deal is paid by itself."""
    reached = None if units is None else units.copy_abs()
    paid = EXACT.subtract(schedule.deal(after, units), schedule.deal(before, units))
    return schedule.deal_slices(before, after, reached), paid
