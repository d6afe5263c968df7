"""What a component pays: one pure function of what is known of a cell, for each kind of component."""

from decimal import Decimal

from services.incentives.earnings.domain.inputs import PayInputs
from services.incentives.earnings.domain.kinds import commission
from services.incentives.plans.domain.components import Component


def payout(component: Component, inputs: PayInputs) -> Decimal:
    """What a cell pays, exact and unrounded."""
    return commission.payout(component, inputs)
