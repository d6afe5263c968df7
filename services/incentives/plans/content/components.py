"""The JSON form of plan terms: what is sent, stored, exported and compared.

Shapes are checked here, meaning by the domain; both say with a pointer what is wrong.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, TypeAdapter

from services.incentives.plans.content.bonus import BonusContent, bonus_content, bonus_of
from services.incentives.plans.content.commission import CommissionContent, commission_content, commission_of
from services.incentives.plans.content.matrix import MatrixContent, matrix_content, matrix_of
from services.incentives.plans.content.objective import ObjectivesContent, objectives_content, objectives_of
from services.incentives.plans.content.override import OverrideContent, override_content, override_of
from services.incentives.plans.content.pool import PoolContent, pool_content, pool_of
from services.incentives.plans.domain.components import COMPONENTS_MAX, Component, check_components
from services.incentives.plans.domain.kinds.bonus import Bonus
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.kinds.matrix import Matrix
from services.incentives.plans.domain.kinds.objective import Objectives
from services.incentives.plans.domain.kinds.override import Override
from services.incentives.plans.domain.kinds.pool import Pool

_KIND: Final = "kind"


def _with_kind(value: object) -> object:
    """What does not say its kind is a commission."""
    return {_KIND: "commission", **value} if isinstance(value, dict) and _KIND not in value else value


AnyContent = CommissionContent | BonusContent | ObjectivesContent | OverrideContent | PoolContent | MatrixContent
ComponentContent = Annotated[AnyContent, Field(discriminator=_KIND), BeforeValidator(_with_kind)]
"""A component of any kind."""
ComponentsContent = Annotated[list[ComponentContent], Field(min_length=1, max_length=COMPONENTS_MAX)]

COMPONENTS: Final[TypeAdapter[list[AnyContent]]] = TypeAdapter(ComponentsContent)


def components_of(content: Sequence[AnyContent], currency: str, *, is_stored: bool = False) -> tuple[Component, ...]:
    """The checked components of a plan in `currency`, or InvalidInput that points into `/components`.

    What `is_stored` is read as it is; where it has no rate policy, it is from before other currencies could count.
    """
    components = tuple(
        _component(item, f"/components/{index}", is_stored=is_stored) for index, item in enumerate(content)
    )
    check_components(components, currency)
    return components


def components_content(components: Iterable[Component]) -> list[AnyContent]:
    """The content that `components_of` turns back into equal components."""
    return [component_content(component) for component in components]


def component_content(component: Component) -> AnyContent:
    """The content that `components_of` turns back into an equal component."""
    match component:
        case Commission():
            return commission_content(component)
        case Bonus():
            return bonus_content(component)
        case Objectives():
            return objectives_content(component)
        case Override():
            return override_content(component)
        case Pool():
            return pool_content(component)
        case Matrix():
            return matrix_content(component)


def _component(content: AnyContent, pointer: str, *, is_stored: bool) -> Component:
    match content:
        case CommissionContent():
            return commission_of(content, pointer, is_stored=is_stored)
        case BonusContent():
            return bonus_of(content, pointer, is_stored=is_stored)
        case ObjectivesContent():
            return objectives_of(content, pointer)
        case OverrideContent():
            return override_of(content, pointer, is_stored=is_stored)
        case PoolContent():
            return pool_of(content, pointer, is_stored=is_stored)
        case MatrixContent():
            return matrix_of(content, pointer, is_stored=is_stored)
