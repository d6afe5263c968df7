"""Reads the one sheet of a workbook, row by row, understanding just what a table needs.

What a cell works out is not what somebody wrote: a formula is refused, whatever its last result was. So is a number
of more digits than a spreadsheet keeps, and a day that programs disagree on.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from posixpath import dirname, join, normpath
from typing import BinaryIO, Final, Protocol
from xml.parsers import expat

from shared.kernel.reading import read_day, read_whole_number
from shared.tables.cells import COLUMNS_MAX, Cell, InvalidTable, Row, Unreadable, place
from shared.tables.xlsx import CELL_CHARACTERS_MAX, EPOCH, EPOCH_1904, FIRST_DAY, ROWS_MAX, is_exact, unescaped

INFLATED_BYTES_MAX: Final = 536_870_912
"""Of all that is read of a workbook."""
SHARED_BYTES_MAX: Final = 67_108_864
"""Of each part beside the sheet: of these alone something is held in memory, the texts that cells share."""

_CHUNK_BYTES: Final = 65_536
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
_NO_UNIT: Final = re.compile(r'"[^"]*"|\[[^\]]*\]|[\\_*].')
_DAYS: Final = frozenset({*range(14, 18), *range(27, 32), 36, *range(50, 55), 57, 58})
_TIMES: Final = frozenset({*range(18, 23), *range(32, 36), *range(45, 48), 55, 56})
"""Formats without a code of their own (ECMA-376 part 1, 18.8.30)."""
_NO_WORKBOOK: Final = "The file is not an XLSX workbook."


def read_xlsx(file: BinaryIO) -> Iterator[Row]:
    """The rows of the one sheet of a workbook, those without a value left out. Raises InvalidTable.

    All are as wide as the first, unless they have a value further right.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            yield from _Workbook(archive).rows()
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, RuntimeError) as error:
        raise InvalidTable(_NO_WORKBOOK) from error
    except (expat.ExpatError, ValueError) as error:
        raise InvalidTable(f"{_NO_WORKBOOK} A part of it is not XML as a workbook has it.") from error


class _Handler(Protocol):
    """What is done with the elements of a part."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None: ...

    def end(self, name: str) -> None: ...

    def text(self, data: str) -> None: ...


class _Workbook:
    """A workbook that is being read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left_bytes = INFLATED_BYTES_MAX

    def rows(self) -> Iterator[Row]:
        [workbook_path] = self._related("", "/officeDocument").values()
        workbook = _Elements()
        self._parse(workbook_path, workbook)
        sheets = workbook.named("sheet")
        if len(sheets) != 1:
            raise InvalidTable.field("", f"has {len(sheets)} sheets", "a workbook with one sheet")
        is_1904 = any(each.get("date1904") in ("1", "true") for each in workbook.named("workbookPr"))
        texts, styles = _Texts(), _Styles()
        for path in self._related(workbook_path, "/sharedStrings").values():
            self._parse(path, texts)
        for path in self._related(workbook_path, "/styles").values():
            self._parse(path, styles)
        sheet = _Sheet(texts.texts, styles.units, is_1904=is_1904)
        relation = next(value for name, value in sheets[0].items() if name.endswith("}id"))
        for _ in self._parsed(self._related(workbook_path, "/worksheet")[relation], sheet, INFLATED_BYTES_MAX):
            yield from sheet.rows
            sheet.rows.clear()

    def _related(self, part: str, kind: str) -> dict[str, str]:
        """The paths, by id, of the parts that one refers to as of this kind. The archive itself is the part ""."""
        folder, _, name = part.rpartition("/")
        relations = _Elements()
        self._parse(join(folder, "_rels", f"{name}.rels"), relations)
        return {
            each["Id"]: normpath(join("/", dirname(part), each["Target"])).lstrip("/")
            for each in relations.named("Relationship")
            if each["Type"].endswith(kind)
        }

    def _parse(self, path: str, handler: _Handler) -> None:
        for _ in self._parsed(path, handler, SHARED_BYTES_MAX):
            """Everything is in the handler."""

    def _parsed(self, path: str, handler: _Handler, bytes_max: int) -> Iterator[None]:
        """Parses a part; between two pieces of it the handler has what was found up to there."""
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_document_type
        parser.StartElementHandler = handler.start
        parser.EndElementHandler = handler.end
        parser.CharacterDataHandler = handler.text
        entry = self._archive.getinfo(path)
        if entry.compress_type not in _COMPRESSIONS:
            raise InvalidTable(f"{_NO_WORKBOOK} It is compressed in a way that none is.")
        with self._archive.open(entry) as part:
            while chunk := part.read(_CHUNK_BYTES):
                self._left_bytes -= len(chunk)
                bytes_max -= len(chunk)
                if min(self._left_bytes, bytes_max) < 0:
                    raise InvalidTable("The workbook is too large once it is unpacked; send the table as CSV.")
                parser.Parse(chunk, False)
                yield
        parser.Parse(b"", True)
        yield


def _refuse_document_type(*_: object) -> None:
    raise InvalidTable(f"{_NO_WORKBOOK} A part of it declares a document type.")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


class _Elements:
    """The attributes of every element of a small part."""

    def __init__(self) -> None:
        self._found: list[tuple[str, Mapping[str, str]]] = []

    def named(self, name: str) -> list[Mapping[str, str]]:
        return [attributes for local, attributes in self._found if local == name]

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._found.append((_local(name), attributes))

    def end(self, name: str) -> None: ...

    def text(self, data: str) -> None: ...


class _Text:
    """The text of an element that may consist of runs, without how it is pronounced."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._is_text = False
        self._is_phonetic = False

    def start(self, local: str) -> None:
        if local == "rPh":
            self._is_phonetic = True
        elif local in ("t", "v"):
            self._is_text = not self._is_phonetic

    def end(self, local: str) -> None:
        if local == "rPh":
            self._is_phonetic = False
        elif local in ("t", "v"):
            self._is_text = False

    def add(self, data: str) -> None:
        if self._is_text:
            self._length += len(data)
            if self._length <= 7 * CELL_CHARACTERS_MAX:
                self._pieces.append(data)

    def taken(self) -> str | Unreadable:
        text = "".join(self._pieces)
        too_long = self._length > 7 * CELL_CHARACTERS_MAX
        self._pieces.clear()
        self._length = 0
        return Unreadable("is too long", f"at most {CELL_CHARACTERS_MAX} characters") if too_long else text


class _Texts:
    """The texts that cells share, in order."""

    def __init__(self) -> None:
        self.texts: list[str | Unreadable] = []
        self._text = _Text()

    def start(self, name: str, _: Mapping[str, str]) -> None:
        self._text.start(_local(name))

    def end(self, name: str) -> None:
        local = _local(name)
        self._text.end(local)
        if local == "si":
            text = self._text.taken()
            self.texts.append(unescaped(text) if isinstance(text, str) else text)

    def text(self, data: str) -> None:
        self._text.add(data)


class _Unit(Protocol):
    """What a number of a format is."""

    def __call__(self, number: Decimal, is_1904: bool) -> Cell: ...


class _Styles:
    """What the numbers of each style are, in order."""

    def __init__(self) -> None:
        self.units: list[_Unit] = []
        self._codes: dict[int, str] = {}
        self._in_cells = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        match _local(name):
            case "numFmt":
                self._codes[int(attributes["numFmtId"])] = attributes["formatCode"]
            case "cellXfs":
                self._in_cells = True
            case "xf" if self._in_cells:
                self.units.append(self._unit(int(attributes.get("numFmtId", 0))))

    def end(self, name: str) -> None:
        if _local(name) == "cellXfs":
            self._in_cells = False

    def text(self, data: str) -> None: ...

    def _unit(self, format_id: int) -> _Unit:
        code = self._codes.get(format_id)
        if code is None:
            return _day if format_id in _DAYS else _time if format_id in _TIMES else _number
        letters = set(_NO_UNIT.sub("", code).lower()) if code.lower() != "general" else set()
        if letters & set("hs"):
            return _time
        return _day if letters & set("ymd") else _number


def _number(number: Decimal, is_1904: bool) -> Cell:  # noqa: ARG001
    return number


def _time(number: Decimal, is_1904: bool) -> Cell:
    whole = number.to_integral_value()
    if number == whole:
        return _day(number, is_1904)
    return Unreadable("has a time of day", "a day without one, or the text of what is meant")


def _day(number: Decimal, is_1904: bool) -> Cell:
    epoch = EPOCH_1904 if is_1904 else EPOCH
    if number != number.to_integral_value():
        return Unreadable("is a day with a time", "a day without one")
    if not 0 <= number <= (date.max - epoch).days:
        return Unreadable(f"{number} is no day", "a day of the calendar as YYYY-MM-DD")
    day = epoch + timedelta(days=int(number))
    if day < FIRST_DAY:
        return Unreadable("is a day that programs disagree on", "the day as a text: YYYY-MM-DD")
    return day


class _Sheet:
    """The rows of a sheet that are complete; whoever reads them takes them away."""

    def __init__(self, texts: Sequence[str | Unreadable], units: Sequence[_Unit], *, is_1904: bool) -> None:
        self.rows: list[Row] = []
        self._texts = texts
        self._units = units
        self._is_1904 = is_1904
        self._width = 0
        self._number = 0
        self._cells: list[Cell] = []
        self._column = 0
        self._type = "n"
        self._style = 0
        self._is_formula = False
        self._text = _Text()

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = _local(name)
        if local == "c":
            self._begin_cell(attributes)
        elif local == "row":
            self._begin_row(int(attributes.get("r", self._number + 1)))
        elif local == "f":
            self._is_formula = True
        else:
            self._text.start(local)

    def end(self, name: str) -> None:
        local = _local(name)
        if local == "c":
            self._cells.append(self._cell())
        elif local == "row":
            self._end_row()
        else:
            self._text.end(local)

    def text(self, data: str) -> None:
        self._text.add(data)

    def _begin_row(self, number: int) -> None:
        if not self._number < number <= ROWS_MAX:
            raise InvalidTable.field(place(number), "stands behind a later row", "rows in their order")
        self._number = number
        self._cells = []

    def _begin_cell(self, attributes: Mapping[str, str]) -> None:
        column = len(self._cells)
        if "r" in attributes:
            reference = _REFERENCE.fullmatch(attributes["r"])
            if reference is None or int(reference[2]) != self._number:
                raise InvalidTable.field(place(self._number), f"has no cell {attributes['r']}", "cells of the row")
            column = _place(reference[1])
        if not len(self._cells) <= column < COLUMNS_MAX:
            raise InvalidTable.field(place(self._number), f"has a cell {attributes.get('r')}", f"{COLUMNS_MAX} columns")
        self._cells.extend([None] * (column - len(self._cells)))
        self._type = attributes.get("t", "n")
        self._style = int(attributes.get("s", 0))
        self._is_formula = False

    def _cell(self) -> Cell:
        text = self._text.taken()
        if self._is_formula:
            return Unreadable("is a formula", "the value itself: copy the cells and paste values")
        if isinstance(text, Unreadable):
            return text
        match self._type:
            case "s":
                number = read_whole_number(text)
                if number is None:
                    raise ValueError(f"no text {text}")
                shared = self._texts[number]
                return shared if isinstance(shared, Unreadable) else _filled(shared)
            case "inlineStr" | "str":
                return _filled(unescaped(text))
            case "e":
                return Unreadable(f"is the error {text}", "a value")
            case _ if not text:
                return None
            case "b":
                return text in ("1", "true")
            case "d":
                return read_day(text.removesuffix("T00:00:00")) or Unreadable(f"{text!r} is no day", "YYYY-MM-DD")
            case _:
                return self._value(text)

    def _value(self, text: str) -> Cell:
        if not _NUMBER.fullmatch(text):
            return Unreadable(f"{text!r} is not a number", "a number")
        number = (
            Decimal(repr(float(text)).removesuffix(".0")) if abs(Decimal(text)) < Decimal("1e300") else Decimal(text)
        )
        if not is_exact(number):
            return Unreadable(
                "has more digits than a spreadsheet keeps, which is 15", "the number as a text, or with fewer digits"
            )
        unit = self._units[self._style] if self._style < len(self._units) else _number
        return unit(number, self._is_1904)

    def _end_row(self) -> None:
        while self._cells and self._cells[-1] is None:
            self._cells.pop()
        if self._cells:
            self._width = self._width or len(self._cells)
            self._cells.extend([None] * (self._width - len(self._cells)))
            self.rows.append(Row(self._number, self._cells))


def _filled(text: str) -> str | None:
    return text if text.strip() else None


def _place(letters: str) -> int:
    """Which column this is, from 0."""
    place = 0
    for letter in letters:
        place = 26 * place + ord(letter) - ord("A") + 1
    return place - 1
