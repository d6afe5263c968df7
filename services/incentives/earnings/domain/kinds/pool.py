"""What a pool pays each: its share of the pot, so that the shares add up to the pot."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from services.incentives.earnings.domain.inputs import EXACT, PayInputs
from services.incentives.earnings.domain.steps import Step, StepKind, as_decimal
from services.incentives.plans.domain.kinds.pool import FixedPot, Pool
from services.incentives.plans.domain.parameters import MAIN
from shared.kernel.money import AMOUNT_DECIMALS_MAX, currency_minor_units, format_amount, round_to_minor_unit
from shared.kernel.reasons import Words
from shared.kernel.splitting import split

_ZERO: Final = Decimal(0)


def pot_of(component: Pool, inputs: PayInputs) -> Decimal:
    """What there is to share, exactly."""
    if isinstance(component.pot, FixedPot):
        return as_decimal(Fraction(component.pot.amount) * inputs.part)
    return EXACT.scaleb(EXACT.multiply(inputs.totals[MAIN], component.pot.percent), -2)


def shares(pot: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """The rounded pot by weight, in whole minor units that add up to it; nothing where nobody has a weight."""
    if not any(weights):
        return [_ZERO for _ in weights]
    decimals = currency_minor_units(currency)
    units = int(round_to_minor_unit(pot, currency).scaleb(decimals, context=EXACT))
    whole = [int(weight.scaleb(AMOUNT_DECIMALS_MAX, context=EXACT)) for weight in weights]
    return [Decimal(part).scaleb(-decimals, context=EXACT) for part in split(units, whole)]


def steps(component: Pool, inputs: PayInputs) -> tuple[Step, ...]:
    """The share of the pot, where there is one."""
    pool, pot = inputs.pool, pot_of(component, inputs)
    if pool is None:
        return ()
    share = shares(pot, pool.weights, inputs.currency)[pool.place]
    if not share:
        return ()
    own, total = format_amount(pool.weights[pool.place]), format_amount(sum(pool.weights, _ZERO))
    shown = format_amount(round_to_minor_unit(pot, inputs.currency))
    words = Words(
        f"{own} of {total} parts of the pot of {shown}, shared by {len(pool.weights)}.",
        f"奖金池 {shown}，共 {len(pool.weights)} 人分享，占 {total} 份中的 {own} 份。",
    )
    return (Step(StepKind.POOL, words, pot, None, share),)
