"""What reading and writing XLSX (ECMA-376, Office Open XML) have in common.

A number in a workbook is a binary fraction, of which 15 digits can be relied on, and a day is such a number with a
format. The type of every other cell is stated in it.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Final

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ROWS_MAX: Final = 1_048_576
CELL_CHARACTERS_MAX: Final = 32_767
EPOCH: Final = date(1899, 12, 30)
EPOCH_1904: Final = date(1904, 1, 1)
FIRST_DAY: Final = date(1900, 3, 1)
"""Before it programs differ on which day a number is: for some of them 1900 has a 29 February, as Lotus had it."""

_DIGITS_MAX: Final = 15
_LIMIT: Final = Decimal(10) ** _DIGITS_MAX
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_TO_ESCAPE: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")


def is_exact(number: Decimal) -> bool:
    """Whether a workbook keeps every digit of a number, whoever stores it again."""
    digits = format(number.copy_abs(), "f").replace(".", "").strip("0")
    return len(digits) <= _DIGITS_MAX and number.copy_abs() < _LIMIT


def escaped(text: str) -> str:
    """The text with what XML has no characters for as `_xHHHH_`, and what looks like that escaped likewise."""
    return _TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def unescaped(text: str) -> str:
    """The text that `escaped` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text
