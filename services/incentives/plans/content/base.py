"""What every part of the JSON form of plan terms is: values that are never changed, without members nobody knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.texts import COMPOSED
from shared.kernel.errors import InvalidInput


class Content(BaseModel):
    """A part of the JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""How other places name a part of the terms."""
Title = Annotated[str, Field(min_length=1, max_length=200), COMPOSED]
"""What people read."""


@contextmanager
def below(pointer: str) -> Iterator[None]:
    """What is found wrong within is a member of `pointer`."""
    try:
        yield
    except InvalidInput as error:
        raise error.under(pointer) from None
