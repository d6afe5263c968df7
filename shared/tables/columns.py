"""Typed columns: each value is spelt in one way on the way out, and what could be read two ways is refused."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final, NoReturn
from uuid import UUID

from pydantic import JsonValue

from shared.kernel.errors import FieldError, InvalidInput
from shared.kernel.rates import parse_rate
from shared.kernel.reading import is_text, read_day, read_whole_number
from shared.kernel.text import composed, composed_members
from shared.kernel.words import accepted_names, shown
from shared.tables.cells import Cell, Filled, InvalidTable, Row, Unreadable, place

Value = JsonValue | Decimal | date | UUID
"""What a cell means, by the type of its column; None where it is empty."""

ERRORS_MAX: Final = 50
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,60}(?:\.[0-9]{1,60})?")
_GROUPED: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SEPARATOR: Final = re.compile(r"[;\t|]")
_FLAGS: Final = {"true": True, "false": False}
_NUMBER: Final = "digits, with a point before decimals and nothing between thousands: 1200.50"


class Kind(StrEnum):
    """The types of columns."""

    TEXT = "text"
    WORD = "word"
    """A text without the spaces around it."""
    NUMBER = "number"
    """A decimal. 1.234 is refused where it is a text: half the world reads it as 1234. It is written 1.2340."""
    WHOLE = "whole number"
    RATE = "rate"
    """An exchange rate: small and with decimals by its nature, so that 7.241 is one."""
    DAY = "day"
    """YYYY-MM-DD."""
    ID = "id"
    """A UUID."""
    FLAG = "flag"
    """true or false."""
    DOCUMENT = "document"
    """JSON in which numbers are whole, or texts."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name; a `required` one stands in every file and is empty in no row.

    `pointer` is to its member of the body that a row is read as, where that is not the member of its name.
    """

    name: str
    kind: Kind
    required: bool = False
    pointer: str | None = None

    @property
    def member(self) -> tuple[str, ...]:
        """The steps to its member of the body."""
        return (self.name,) if self.pointer is None else tuple(self.pointer.split("/")[1:])


@dataclass(frozen=True, slots=True)
class ReadRow:
    """The values of a row by column, of the columns that the file has; what is wrong with others is in `errors`."""

    number: int
    values: Mapping[str, Value]
    errors: Sequence[FieldError] = ()


class _Refused(Exception):
    """A cell is no value of its column."""

    def __init__(self, message: str, accepted: str) -> None:
        super().__init__(message)
        self.message = message
        self.accepted = accepted


def read_rows(columns: Sequence[Column], rows: Iterator[Row]) -> Iterator[ReadRow]:
    """The rows below the first, which names the columns: in any order and case, those that are not required or not.

    Raises InvalidTable where the first row is not that, and what `rows` does.
    """
    header = _header(columns, next(rows, None))
    for row in rows:
        if len(row.cells) != len(header):
            message = f"has {len(row.cells)} values"
            accepted = f"{len(header)}: {', '.join(column.name for column in header)}"
            yield ReadRow(row.number, {}, [FieldError(place(row.number), message, accepted)])
        else:
            yield _read(header, row)


def _header(columns: Sequence[Column], row: Row | None) -> list[Column]:
    known = {column.name: column for column in columns}
    if row is None:
        raise InvalidTable.field(place(1), "has the columns of nothing", ",".join(known))
    names = [cell.strip().lower() if isinstance(cell, str) else "" for cell in row.cells]
    pointer = place(row.number)
    given = f"has the columns {', '.join(names)}"
    if len(names) == 1 and _SEPARATOR.search(names[0]):
        raise InvalidTable.field(pointer, given, f"a comma between the columns: {','.join(known)}")
    for name in names:
        if name not in known:
            raise InvalidTable.field(pointer, given, f"{shown(name)} is not known: {accepted_names(name, known)}")
        if names.count(name) > 1:
            raise InvalidTable.field(pointer, given, f"{name} once")
    missing = [column.name for column in columns if column.required and column.name not in names]
    if missing:
        raise InvalidTable.field(pointer, given, f"{', '.join(missing)} among them")
    return [known[name] for name in names]


def _read(header: Sequence[Column], row: Row) -> ReadRow:
    values: dict[str, Value] = {}
    errors: list[FieldError] = []
    for column, cell in zip(header, row.cells, strict=True):
        try:
            values[column.name] = _value(column, cell)
        except _Refused as refused:
            errors.append(FieldError(place(row.number, column.name), refused.message, refused.accepted))
    return ReadRow(row.number, values, errors)


def _value(column: Column, cell: Cell) -> Value:
    if isinstance(cell, Unreadable):
        raise _Refused(cell.message, cell.accepted)
    if cell is None:
        if column.required:
            raise _Refused("is empty", _ACCEPTED[column.kind])
        return None
    match column.kind:
        case Kind.TEXT:
            return _text(cell)
        case Kind.WORD:
            return _text(cell).strip()
        case Kind.NUMBER:
            return _number(cell)
        case Kind.WHOLE:
            return _whole(cell)
        case Kind.RATE:
            return _rate(cell)
        case Kind.DAY:
            return _day(cell)
        case Kind.ID:
            return _id(cell)
        case Kind.FLAG:
            return _flag(cell)
        case Kind.DOCUMENT:
            return _document(cell)


_ACCEPTED: Final[Mapping[Kind, str]] = {
    Kind.TEXT: "a text",
    Kind.WORD: "a text",
    Kind.NUMBER: _NUMBER,
    Kind.WHOLE: "a whole number in digits",
    Kind.RATE: _NUMBER,
    Kind.DAY: "a day of the calendar as YYYY-MM-DD",
    Kind.ID: "a UUID: 01935a00-0000-7000-8000-000000000011",
    Kind.FLAG: "true or false",
    Kind.DOCUMENT: "JSON",
}


def _text(cell: Filled) -> str:
    if not isinstance(cell, str):
        _refuse(cell, Kind.TEXT, "a text: give the cell the format Text, so that zeros in front stay")
    if not is_text(cell):
        raise _Refused("has a character that cannot be stored", "a text without it")
    return composed(cell)


def _number(cell: Filled) -> Decimal:
    if isinstance(cell, Decimal):
        return cell
    if not isinstance(cell, str) or not _DECIMAL.fullmatch(text := cell.strip()):
        _refuse(cell, Kind.NUMBER)
    if _GROUPED.fullmatch(text):
        whole, fraction = text.split(".")
        raise _Refused(f"{text!r} may be {whole}{fraction} or {text}0", f"{whole}{fraction} or {text}0")
    return Decimal(text)


def _whole(cell: Filled) -> int:
    text = cell.strip() if isinstance(cell, str) else format(cell, "f") if isinstance(cell, Decimal) else ""
    number = read_whole_number(text)
    return _refuse(cell, Kind.WHOLE) if number is None else number


def _rate(cell: Filled) -> Decimal:
    if not isinstance(cell, str | Decimal):
        _refuse(cell, Kind.RATE)
    try:
        return parse_rate(cell.strip() if isinstance(cell, str) else cell)
    except InvalidInput as error:
        raise _Refused(error.fields[0].message, error.fields[0].accepted or _NUMBER) from None


def _day(cell: Filled) -> date:
    if isinstance(cell, date):
        return cell
    day = read_day(cell.strip()) if isinstance(cell, str) else None
    return _refuse(cell, Kind.DAY) if day is None else day


def _id(cell: Filled) -> UUID:
    if not isinstance(cell, str) or not _UUID.fullmatch(cell.strip()):
        _refuse(cell, Kind.ID)
    return UUID(cell.strip())


def _flag(cell: Filled) -> bool:
    if isinstance(cell, bool):
        return cell
    flag = _FLAGS.get(cell.strip().lower()) if isinstance(cell, str) else None
    return _refuse(cell, Kind.FLAG) if flag is None else flag


def _document(cell: Filled) -> JsonValue:
    if not isinstance(cell, str):
        _refuse(cell, Kind.DOCUMENT)
    try:
        document = composed_members(
            json.loads(cell, parse_float=_no_number, parse_constant=_no_number, object_pairs_hook=_members)
        )
        if not _can_be_stored(document):
            raise ValueError("it has a character that cannot be stored")
    except (ValueError, RecursionError) as error:
        raise _Refused(f"is not JSON that can be read in one way: {error}", "JSON, decimals as texts") from None
    return document  # type: ignore[return-value]


def _can_be_stored(document: object) -> bool:
    match document:
        case str():
            return is_text(document)
        case dict():
            return all(is_text(name) and _can_be_stored(member) for name, member in document.items())
        case list():
            return all(map(_can_be_stored, document))
        case _:
            return True


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is a binary number")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is there twice")
    return members


def _refuse(cell: Filled, kind: Kind, accepted: str | None = None) -> NoReturn:
    spelt = repr(cell) if isinstance(cell, str) else str(cell)
    raise _Refused(f"{shortened(spelt)} is not a {kind}", accepted or _ACCEPTED[kind])


def shortened(text: str) -> str:
    """A text for people to recognise what they sent by."""
    return text if len(text) <= 100 else f"{text[:100]}…"


def write_row(columns: Sequence[Column], values: Mapping[str, Value]) -> list[Filled | None]:
    """The cells of a row, in the order of the columns; what is not among the values stays empty."""
    return [_cell(column.kind, values.get(column.name)) for column in columns]


def _cell(kind: Kind, value: Value) -> Filled | None:
    if value is None:
        return None
    match kind:
        case Kind.DOCUMENT:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        case Kind.NUMBER if isinstance(value, Decimal):
            return _plain(value)
        case Kind.WHOLE if isinstance(value, int):
            return Decimal(value)
    match value:
        case str() | Decimal() | date() | bool():
            return value
        case _:
            return str(value)


def _plain(value: Decimal) -> Decimal:
    """The same number in a spelling that nobody reads as thousands."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return Decimal(f"{text}0" if _GROUPED.fullmatch(text) else text)
