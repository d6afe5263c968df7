"""The kinds of field that the requests of this service are made of."""

import re
from datetime import date
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f]")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def _one_line(text: str) -> str:
    if _CONTROL_CHARACTERS.search(text):
        raise ValueError("one line without control characters")
    return text


def _address(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("an address such as ada@example.com")
    return text


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)]
"""A line of text: a name, an id of somebody else's."""

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_one_line),
    AfterValidator(_address),
]

Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(3000, 1, 1))]
"""A calendar day; the limits keep every period a calendar can make of it a valid one."""
