"""What a matrix pays: the cell that two measures have reached."""

from decimal import Decimal

from services.incentives.earnings.domain.inputs import EXACT, PayInputs
from services.incentives.earnings.domain.rewards import reached_part, unit_of
from services.incentives.earnings.domain.steps import Step, StepKind, percent
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.matrix import SECOND, Axis, Matrix, MatrixPays
from services.incentives.plans.domain.parameters import MAIN
from services.incentives.plans.domain.rates import TierScale
from shared.kernel.money import format_amount
from shared.kernel.reasons import Words


def steps(component: Matrix, inputs: PayInputs) -> tuple[Step, ...] | QuotaGap:
    """The cell, where it pays something. A gap pays nothing."""
    row = _part(component.rows, MAIN, inputs)
    if isinstance(row, QuotaGap):
        return row
    column = _part(component.columns, SECOND, inputs)
    if isinstance(column, QuotaGap):
        return column
    cell = component.cells[row][column]
    match component.pays:
        case MatrixPays.TARGET_PERCENT:
            if isinstance(inputs.target_variable, QuotaGap):
                return inputs.target_variable
            value, rate = inputs.target_variable, EXACT.scaleb(cell, -2)
        case MatrixPays.RATE:
            value, rate = inputs.totals[MAIN], cell
        case MatrixPays.AMOUNT:
            value, rate = Decimal(1), cell
    if not cell:
        return ()
    reached = _words(component.rows, row), _words(component.columns, column)
    words = Words(
        f"The first measure is {reached[0].en}, the second {reached[1].en}.",
        f"第一指标{reached[0].zh}，第二指标{reached[1].zh}。",
    )
    return (Step(StepKind.MATRIX, words, value, rate, EXACT.multiply(value, rate)),)


def _part(axis: Axis, measure: str, inputs: PayInputs) -> int | QuotaGap:
    unit = unit_of(axis.scale, inputs.quotas[measure])
    return unit if isinstance(unit, QuotaGap) else reached_part(axis.bounds, inputs.totals[measure], unit)


def _words(axis: Axis, part: int) -> Words:
    if part == 0:
        upper = axis.bounds[1] if len(axis.bounds) > 1 else None
        if upper is None:
            return Words("whatever", "不限")
        at = _shown(axis.scale, upper.start)
        return Words(f"at most {at}", f"不超过 {at}") if upper.is_exclusive else Words(f"below {at}", f"低于 {at}")
    bound = axis.bounds[part]
    at = _shown(axis.scale, bound.start)
    return Words(f"above {at}", f"超过 {at}") if bound.is_exclusive else Words(f"at least {at}", f"达到 {at}")


def _shown(scale: TierScale, value: Decimal) -> str:
    return f"{percent(value)} %" if scale is TierScale.ATTAINMENT else format_amount(value)
