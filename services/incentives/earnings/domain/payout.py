"""What a component pays: one pure function of what is known of a cell, for each kind of component."""

from decimal import Decimal

from services.incentives.earnings.domain.inputs import PayInputs, exact_sum
from services.incentives.earnings.domain.kinds import bonus, commission, matrix, objective, pool
from services.incentives.earnings.domain.steps import Step
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.kinds.bonus import Bonus
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.kinds.matrix import Matrix
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import Pool


def payout(component: Component, inputs: PayInputs) -> Decimal:
    """What a cell pays, exact and unrounded."""
    match component:
        case Commission():
            return commission.payout(component, inputs)
        case Override():
            return commission.payout(component.paid_as(), inputs)
        case _:
            steps = steps_of(component, inputs)
            return Decimal(0) if isinstance(steps, QuotaGap) else exact_sum(step.amount for step in steps)


def steps_of(component: Component, inputs: PayInputs) -> tuple[Step, ...] | QuotaGap:
    """How the pay of a cell came about, or why nothing is paid; no step for what is paid by tiers."""
    match component:
        case Bonus():
            return bonus.steps(component, inputs)
        case Matrix():
            return matrix.steps(component, inputs)
        case Objectives():
            return objective.steps(component, inputs)
        case Pool():
            return pool.steps(component, inputs)
        case _:
            return ()
