"""What a plan pays for: components of known kinds with typed parameters, each kind checked where it is made."""

from collections.abc import Sequence
from typing import Final

from services.incentives.plans.domain.kinds.bonus import Bonus
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.kinds.matrix import Matrix
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import Pool
from services.incentives.plans.domain.parameters import MAIN, check_currency
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Measure

COMPONENTS_MAX: Final = 20

Component = Commission | Bonus | Objectives | Override | Pool | Matrix
"""A component of any kind. Each has a `key`, a `name`, `measures` by name and `needs_quota`."""


def main_measure(component: Component) -> Measure | None:
    """What the component pays on, None where it pays on nothing that deals bring in."""
    return next((counted.measure for counted in component.measures if counted.name == MAIN), None)


def check_components(components: Sequence[Component], currency: str) -> None:
    """Raise InvalidInput unless these can be the components of one version of a plan in `currency`."""
    if not 1 <= len(components) <= COMPONENTS_MAX:
        raise InvalidInput.field("/components", f"has {len(components)} members", f"1 to {COMPONENTS_MAX} components")
    seen: set[str] = set()
    for index, component in enumerate(components):
        if component.key in seen:
            raise InvalidInput.field(f"/components/{index}/key", f"{component.key!r} is used twice", "a key of its own")
        seen.add(component.key)
        for counted in component.measures:
            check_currency(counted.measure, currency, f"/components/{index}{counted.pointer}")
