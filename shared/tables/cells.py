"""What the cells of a table are before anybody knows the column's type, and what no table may have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from shared.kernel.errors import FieldError, InvalidInput

COLUMNS_MAX: Final = 200
CELL_CHARACTERS_MAX: Final = 1_048_576
_FORMULA: Final = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")
_GUARDED: Final = re.compile(r"'+[=+\-@＝＋－＠\t\r\n]")


class InvalidTable(InvalidInput):
    """A file that cannot be read, or lines of it that cannot; nothing of it was stored."""

    code = "invalid_table"
    title = "Invalid table"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A cell that could be read in more than one way, or in none, whatever its column is."""

    message: str
    accepted: str


Filled = str | Decimal | date | bool
"""What stands in a cell. A text may spell a number, a day or a yes."""

Cell = Filled | Unreadable | None
"""None is an empty cell."""


class Row(NamedTuple):
    """A row with at least one cell that is not empty, and its number: of a CSV file, that of its last line."""

    number: int
    cells: Sequence[Cell]


def guarded(text: str) -> str:
    """The text as no spreadsheet takes it for a formula: with an apostrophe in front where it begins like one.

    So does a text that begins like a formula behind apostrophes, or taking one away again would not be exact.
    OWASP, CSV Injection.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given. An apostrophe before anything else is part of the text."""
    return text[1:] if _GUARDED.match(text) else text


def place(number: int, column: str | None = None) -> str:
    """The pointer to a line, or to a column of it."""
    return f"/line/{number}" if column is None else f"/line/{number}/{column}"


def refused(errors: Sequence[FieldError]) -> InvalidTable:
    """The error for the lines of a table that cannot be read, in words that name the first."""
    return InvalidTable(f"{_described(errors[0])}; nothing was stored.", fields=errors)


def _described(error: FieldError) -> str:
    _, _, line, *column = error.pointer.split("/", 3)
    where = f"line {line}, column {column[0]}" if column else f"line {line}"
    accepted = "" if error.accepted is None else f", accepted is {error.accepted}"
    return f"{where}: {error.message}{accepted}"
