"""How the pay of a cell came about: the rate, each credit with its part, and what became of all of them together."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.incentives.credits.domain.credit import Credit, PayTerms
from services.incentives.earnings.domain.attribution import (
    AttributedCredit,
    AttributedStep,
    attributed,
    attributed_steps,
    units_of,
)
from services.incentives.earnings.domain.cells import inputs_of
from services.incentives.earnings.domain.inputs import PayInputs
from services.incentives.earnings.domain.kinds.commission import schedule_for
from services.incentives.earnings.domain.pay import Pay
from services.incentives.earnings.domain.payout import pay
from services.incentives.earnings.domain.schedule import Schedule
from services.incentives.earnings.domain.years import WorkedCell, YearCredits
from services.incentives.plans.domain.assignments import QuotaGap
from services.incentives.plans.domain.components import paid_by_rate
from services.incentives.plans.domain.kinds.commission import QUANTITY
from services.incentives.plans.domain.parameters import MAIN

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The amounts of `lines` and `steps` add up to what the cell earned. What no rate pays has no schedule."""

    terms: PayTerms
    inputs: PayInputs
    schedule: Schedule | QuotaGap | None
    lines: tuple[AttributedCredit, ...]
    steps: tuple[AttributedStep, ...]


def explained(terms: PayTerms, credits: Collection[Credit], currency: str) -> Explanation:
    """Of a cell that depends on these credits alone."""
    inputs = inputs_of(terms, credits)
    return _explained(terms, inputs, pay(terms.component, inputs), credits, (), currency)


def explained_in_year(found: WorkedCell, of_year: YearCredits, currency: str) -> Explanation:
    """Of a cell that was worked out together with others."""
    start = found.key.period.start
    credits = of_year.of_cell(MAIN, start)
    return _explained(found.terms, found.inputs, found.pay, credits, of_year.of_cell(QUANTITY, start), currency)


def _explained(
    terms: PayTerms,
    inputs: PayInputs,
    paid: Pay,
    credits: Collection[Credit],
    sold: Collection[Credit],
    currency: str,
) -> Explanation:
    rated = paid_by_rate(terms.component)
    schedule = paid.gap if rated is None else schedule_for(rated, inputs)
    units = None
    if rated is not None and rated.counts_units_beside_money:
        units = units_of(inputs.before.get(QUANTITY, _ZERO), sold)
    before = inputs.before.get(MAIN, _ZERO)
    lines = attributed(schedule, credits, currency, before=before, units=units, extras=paid.extras)
    steps = attributed_steps(paid.steps, lines, currency)
    return Explanation(terms, inputs, schedule, tuple(lines), steps)
