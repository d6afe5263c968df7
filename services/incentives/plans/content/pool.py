"""The JSON form of a pool."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from services.incentives.plans.content.base import Content, Key, Title
from services.incentives.plans.content.measures import MeasureContent, measure_content, measure_of
from services.incentives.plans.domain.kinds.pool import FixedPot, Pool, SharePot
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Crediting


class FixedPotContent(Content):
    """The same amount every period."""

    of: Literal["amount"]
    amount: Amount = Field(description="In the plan's currency.", examples=["20000"])


class SharePotContent(Content):
    """A percent of what everybody on the plan brings in together, each while on it."""

    of: Literal["result"]
    percent: Amount = Field(examples=["2"])
    measure: MeasureContent
    crediting: Literal[Crediting.OWNER, Crediting.SPLIT] = Crediting.OWNER
    role: str | None = Field(None, max_length=100, description="Only splits with this role count.")


PotContent = Annotated[FixedPotContent | SharePotContent, Field(discriminator="of")]


class PoolContent(Content):
    """A pool component: a pot that everybody on the plan in the period shares.

    Each share is by the assignment's `<key>.weight`, 1 where it states none, and by its days on the plan in the period.
    """

    kind: Literal["pool"]
    key: Key = Field(examples=["pool"])
    name: Title = Field(examples=["Team pool"])
    pot: PotContent


def pool_of(content: PoolContent, pointer: str, *, is_stored: bool) -> Pool:
    """The pool that is meant, or InvalidInput that points below `pointer`; `is_stored` as in `measure_of`."""
    at_pot = f"{pointer}/pot"
    try:
        if isinstance(content.pot, FixedPotContent):
            pot: FixedPot | SharePot = FixedPot(content.pot.amount)
        else:
            counted = measure_of(content.pot.measure, "/measure", is_stored=is_stored)
            measure = replace(counted, crediting=content.pot.crediting, role=content.pot.role)
            pot = SharePot(content.pot.percent, measure)
    except InvalidInput as error:
        raise error.under(at_pot) from None
    try:
        return Pool(content.key, content.name, pot)
    except InvalidInput as error:
        raise error.under(pointer) from None


def pool_content(component: Pool) -> PoolContent:
    """The content that `pool_of` turns back into an equal pool."""
    pot = component.pot
    if isinstance(pot, FixedPot):
        return PoolContent(
            kind="pool", key=component.key, name=component.name, pot=FixedPotContent(of="amount", amount=pot.amount)
        )
    return PoolContent.model_validate(
        {
            "kind": "pool",
            "key": component.key,
            "name": component.name,
            "pot": {
                "of": "result",
                "percent": pot.percent,
                "measure": measure_content(pot.measure),
                "crediting": pot.measure.crediting,
                "role": pot.measure.role,
            },
        }
    )
