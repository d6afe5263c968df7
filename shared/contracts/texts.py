"""The texts that requests and definitions are made of: what they may contain. All are in NFC once they are read."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from shared.kernel.text import composed

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f]")


def _one_line(text: str) -> str:
    if _CONTROL_CHARACTERS.search(text):
        raise ValueError("one line without control characters")
    return text


COMPOSED: Final = AfterValidator(composed)
"""Puts a text into NFC."""

ONE_LINE: Final = AfterValidator(_one_line)
"""Refuses control characters, line breaks among them."""

NO_NUL: Final = StringConstraints(pattern=r"^[^\x00]*$")
"""For what comes in a query: a NUL in a body is refused before it is read."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200), ONE_LINE, COMPOSED]
"""A line of text as it was given, spaces at its ends too."""

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), ONE_LINE, COMPOSED]
"""A line of text, without the space around it."""

SearchText = Annotated[str, StringConstraints(max_length=200), NO_NUL, COMPOSED]
"""What is looked for, to the letter."""

Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), NO_NUL, COMPOSED]
"""Sentences, such as the reason of a change; whoever takes them limits their length."""
