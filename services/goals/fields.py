"""The kinds of field that the requests of this service are made of."""

from datetime import date
from typing import Annotated

from pydantic import Field, StringConstraints

_WITHOUT_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"

Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_WITHOUT_CONTROL_CHARACTERS),
]
"""A line of text: a name, an id of somebody else's."""

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$"),
]

Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(3000, 1, 1))]
"""A calendar day; the limits keep every period a calendar can make of it a valid one."""
