"""What a plan pays for: components of known kinds with typed parameters, each kind checked where it is made."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from services.incentives.plans.domain.kinds.bonus import Bonus
from services.incentives.plans.domain.kinds.commission import GATE, Basis, Commission
from services.incentives.plans.domain.kinds.matrix import SECOND, Matrix, MatrixPays
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import WEIGHT, Pool
from services.incentives.plans.domain.parameters import MAIN, ComponentMeasure, check_currency, quota_key
from services.incentives.plans.domain.rates import PointsPay, PointsRate, TierScale
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Measure
from shared.kernel.periods import PeriodKind

COMPONENTS_MAX: Final = 20
_LENGTH: Final[Mapping[PeriodKind, int]] = {
    PeriodKind.MONTH: 1,
    PeriodKind.QUARTER: 3,
    PeriodKind.HALF: 6,
    PeriodKind.YEAR: 12,
}
"""In months."""

Component = Commission | Bonus | Objectives | Override | Pool | Matrix
"""A component of any kind. Each has a `key`, a `name`, `measures` by name, `needs_quota` and `is_linked`."""


def main_counted(component: Component) -> ComponentMeasure | None:
    """What the component pays on, None where it pays on nothing that deals bring in."""
    return next((counted for counted in component.measures if counted.name == MAIN), None)


def main_measure(component: Component) -> Measure | None:
    """The measure of what the component pays on."""
    counted = main_counted(component)
    return None if counted is None else counted.measure


def quota_keys(component: Component) -> set[str]:
    """The keys of what an assignment may state for a component: a quota for each measure, a weight in a pool."""
    names = {counted.name for counted in component.measures}
    if isinstance(component, Pool):
        names = {WEIGHT}
    return {quota_key(component.key, name) for name in names}


def quota_measures(component: Component) -> set[str]:
    """The names of the measures whose quota decides what the component pays."""
    match component:
        case Objectives() | Pool():
            return set()
        case Bonus():
            return {MAIN} if component.needs_quota else set()
        case Matrix():
            axes = {MAIN: component.rows, SECOND: component.columns}
            return {name for name, axis in axes.items() if axis.scale is TierScale.ATTAINMENT}
        case Override():
            return quota_measures(_paid_as(component))
        case Commission():
            found = {MAIN} if component.needs_quota else set()
            return found | {GATE} if component.gate and component.gate.at_least_attainment is not None else found


def pays_from_target(component: Component) -> bool:
    """Whether what it pays depends on the target variable."""
    match component:
        case Bonus():
            return component.pays.target_percent is not None
        case Objectives():
            return component.target.target_percent is not None
        case Matrix():
            return component.pays is MatrixPays.TARGET_PERCENT
        case Pool():
            return False
        case _:
            return isinstance(component.rate, PointsRate) and component.rate.pays is PointsPay.TARGET_PERCENT


def paid_by_rate(component: Component) -> Commission | None:
    """The commission that a component is, or is paid as; None for what no rate pays."""
    match component:
        case Commission():
            return component
        case Override():
            return _paid_as(component)
        case _:
            return None


def needs_deals(component: Component) -> bool:
    """Whether what a cell pays depends on its deals one by one."""
    rated = paid_by_rate(component)
    return rated is None or rated.basis is Basis.PER_DEAL or rated.multiplies_pay or rated.caps.deal is not None


@lru_cache(maxsize=1024)
def _paid_as(component: Override) -> Commission:
    return component.paid_as()


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


def check_periods(components: Sequence[Component], period: PeriodKind) -> None:
    """Raise InvalidInput for a further measure whose totals run shorter than a period of the plan."""
    for index, component in enumerate(components):
        for counted in component.measures:
            if counted.period is not None and _LENGTH[counted.period] < _LENGTH[period]:
                raise InvalidInput.field(
                    f"/components/{index}{counted.pointer.removesuffix('/measure')}/period",
                    f"a {counted.period} is shorter than the plan's period",
                    ", ".join(kind for kind in _LENGTH if _LENGTH[kind] >= _LENGTH[period]),
                )
