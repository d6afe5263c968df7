"""What scored objectives pay: weight × target × score."""

from fractions import Fraction

from services.incentives.earnings.domain.inputs import EXACT, PayInputs
from services.incentives.earnings.domain.rewards import reward
from services.incentives.earnings.domain.steps import Step, StepKind, as_decimal
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.kinds.objective import Objectives
from shared.kernel.money import format_amount
from shared.kernel.reasons import Words


def steps(component: Objectives, inputs: PayInputs) -> tuple[Step, ...] | QuotaGap:
    """A step for each objective that is scored. A gap pays nothing."""
    target = reward(component.target, inputs.target_variable)
    if isinstance(target, QuotaGap):
        return target
    target = as_decimal(Fraction(target) * inputs.part)
    found = []
    for objective in component.objectives:
        score = inputs.scores.get(objective.key)
        if score is not None:
            rate = EXACT.scaleb(EXACT.multiply(objective.weight, score), -4)
            weight, shown = format_amount(objective.weight), format_amount(score)
            words = Words(
                f"{objective.name}: weight {weight} %, scored {shown} %.",
                f"{objective.name}：权重 {weight}%，评分 {shown}%。",
            )
            found.append(Step(StepKind.OBJECTIVE, words, target, rate, EXACT.multiply(target, rate)))
    return tuple(found)
