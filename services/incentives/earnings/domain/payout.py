"""What a component pays: one pure function of what is known of a cell, for each kind of component."""

from dataclasses import replace
from decimal import Decimal
from typing import Final

from services.incentives.earnings.domain.inputs import CapState, PayInputs, exact_sum
from services.incentives.earnings.domain.kinds import bonus, commission, matrix, objective, pool
from services.incentives.earnings.domain.pay import Pay
from services.incentives.earnings.domain.steps import Step, before_step, once_step
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import Component, paid_by_rate
from services.incentives.plans.domain.kinds.bonus import Bonus
from services.incentives.plans.domain.kinds.matrix import Matrix
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.kinds.pool import Pool

_ZERO: Final = Decimal(0)


def pay(component: Component, inputs: PayInputs) -> Pay:
    """What a cell pays, exact and unrounded, and how that came about."""
    rated = paid_by_rate(component)
    if rated is not None:
        return commission.pay(rated, inputs)
    steps = steps_of(component, inputs)
    if isinstance(steps, QuotaGap):
        return Pay(gap=steps)
    if inputs.before:
        earlier = steps_of(component, replace(inputs, totals={**inputs.totals, **inputs.before}, deals=(), before={}))
        paid = exact_sum(() if isinstance(earlier, QuotaGap) else (step.amount for step in earlier))
        steps = (*steps, before_step(paid)) if paid else steps
    amount = exact_sum(step.amount for step in steps)
    if isinstance(component, Bonus) and component.pays_once and inputs.paid_before > 0 and amount > 0:
        steps, amount = (*steps, once_step(amount)), _ZERO
    return Pay(amount, steps=steps, due=amount, within_period=amount)


def steps_of(component: Component, inputs: PayInputs) -> tuple[Step, ...] | QuotaGap:
    """How the pay of a cell came about, or why nothing is paid; no step for what is paid by a rate."""
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


def next_caps(component: Component, known: CapState, paid: Pay, *, ends_period: bool) -> CapState:
    """What the next cell of the fiscal year begins with."""
    rated = paid_by_rate(component)
    return CapState() if rated is None else commission.next_caps(rated, known, paid, ends_period=ends_period)
