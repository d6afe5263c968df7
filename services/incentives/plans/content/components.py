"""The JSON form of plan terms: what is sent, stored, exported and compared.

Shapes are checked here, meaning by the domain; both say with a pointer what is wrong.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Final

from pydantic import Field, JsonValue, TypeAdapter

from services.incentives.plans.content.commission import CommissionContent, commission_content, commission_of
from services.incentives.plans.domain.components import COMPONENTS_MAX, Component, check_components

ComponentContent = CommissionContent
"""A component of any kind."""
ComponentsContent = Annotated[list[ComponentContent], Field(min_length=1, max_length=COMPONENTS_MAX)]

COMPONENTS: Final[TypeAdapter[list[ComponentContent]]] = TypeAdapter(ComponentsContent)


def components_of(
    content: Sequence[ComponentContent], currency: str, *, is_stored: bool = False
) -> tuple[Component, ...]:
    """The checked components of a plan in `currency`, or InvalidInput that points into `/components`.

    What `is_stored` is read as it is; where it has no rate policy, it is from before other currencies could count.
    """
    components = tuple(
        commission_of(item, f"/components/{index}", is_stored=is_stored) for index, item in enumerate(content)
    )
    check_components(components, currency)
    return components


def components_content(components: Iterable[Component]) -> list[ComponentContent]:
    """The content that `components_of` turns back into equal components."""
    return [component_content(component) for component in components]


def terms_content(effective_from: date, components: Iterable[Component], note: str | None) -> JsonValue:
    """Everything that is approved of a version, as one JSON document."""
    content: JsonValue = COMPONENTS.dump_python(components_content(components), mode="json", by_alias=True)
    return {"effective_from": str(effective_from), "components": content, "note": note}


def component_content(component: Component) -> ComponentContent:
    """The content that `components_of` turns back into an equal component."""
    return commission_content(component)
