"""The kinds of field that the requests of this service are made of."""

import re
from datetime import date
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from shared.contracts.texts import COMPOSED, ONE_LINE

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def _address(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("an address such as ada@example.com")
    return text


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    ONE_LINE,
    COMPOSED,
]
"""A line of text in NFC."""

EmployeeNumber = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    ONE_LINE,
    COMPOSED,
]
"""What payroll knows a person by: digits or not, leading zeros count."""

Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    ONE_LINE,
    AfterValidator(_address),
    COMPOSED,
]

Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(3000, 1, 1))]
"""A calendar day; the limits keep every period a calendar can make of it a valid one."""
