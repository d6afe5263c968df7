"""Writes a workbook with one sheet, row by row.

Texts are texts and never formulas. Cells of text columns, empty ones too, have the format Text, so that what somebody
types into them keeps the zeros in front.
"""

import zipfile
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Final
from xml.sax.saxutils import escape

from shared.kernel.errors import Conflict
from shared.tables.cells import Filled
from shared.tables.columns import Column, Kind
from shared.tables.xlsx import CELL_CHARACTERS_MAX, EPOCH, FIRST_DAY, MEDIA_TYPE, ROWS_MAX, escaped, is_exact

_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPES: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_GENERAL, _TEXT, _DAY = range(3)
_PARTS: Final = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPES}.styles+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
    '<sheets><sheet name="Table" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">'
    '<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/></numFmts>'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}
_FORMATS: Final = {Kind.TEXT: _TEXT, Kind.WORD: _TEXT, Kind.ID: _TEXT, Kind.DOCUMENT: _TEXT, Kind.DAY: _DAY}


class TableDoesNotFit(Conflict):
    """A text is too long for a cell of a spreadsheet, or there are too many rows; CSV has room for them."""

    code = "table_does_not_fit"
    title = "Table does not fit"


class _Sink:
    """Takes what a workbook is made of, until it is fetched."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """What was written is there already."""

    def fetched(self) -> bytes:
        fetched = b"".join(self._pieces)
        self._pieces.clear()
        return fetched


class XlsxWriter:
    """Writes a table piece by piece, holding none of it; the same table is the same bytes."""

    media_type = MEDIA_TYPE

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._letters = [_letters(number) for number in range(len(columns))]
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)  # type: ignore[call-overload]
        self._number = 0

    def head(self) -> bytes:
        """What stands before the first row, and the row with the names of the columns."""
        for path, part in _PARTS.items():
            self._archive.writestr(_entry(path), _HEAD + part)
        self._sheet = self._archive.open(_entry("xl/worksheets/sheet1.xml"), "w")
        formats = "".join(
            f'<col min="{number}" max="{number}" width="20" style="{_FORMATS.get(column.kind, _GENERAL)}"/>'
            for number, column in enumerate(self._columns, 1)
        )
        self._sheet.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><cols>{formats}</cols><sheetData>'.encode())
        return self.rows([[column.name for column in self._columns]])

    def rows(self, rows: Iterable[Sequence[Filled | None]]) -> bytes:
        """The next rows. Raises TableDoesNotFit."""
        for row in rows:
            self._number += 1
            if self._number > ROWS_MAX:
                raise TableDoesNotFit(f"A spreadsheet has {ROWS_MAX} rows at most; take the table as CSV.")
            cells = "".join(
                self._cell(place, cell) for place, cell in enumerate(row) if cell is not None and cell != ""
            )
            self._sheet.write(f'<row r="{self._number}">{cells}</row>'.encode())
        return self._sink.fetched()

    def tail(self) -> bytes:
        """What follows the last row."""
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        self._archive.close()
        return self._sink.fetched()

    def _cell(self, place: int, cell: Filled) -> str:
        where = f'<c r="{self._letters[place]}{self._number}"'
        match cell:
            case bool():
                return f'{where} t="b"><v>{int(cell)}</v></c>'
            case Decimal() if is_exact(cell):
                return f"{where}><v>{cell:f}</v></c>"
            case date() if cell >= FIRST_DAY:
                return f'{where} s="{_DAY}"><v>{(cell - EPOCH).days}</v></c>'
            case Decimal():
                text = format(cell, "f")
            case _:
                text = str(cell)
        if len(text.encode("utf-16-le")) > 2 * CELL_CHARACTERS_MAX:
            name = self._columns[place].name
            raise TableDoesNotFit(
                f"Line {self._number}, column {name}: a cell of a spreadsheet has {CELL_CHARACTERS_MAX} characters at"
                " most; take the table as CSV."
            )
        return f'{where} s="{_TEXT}" t="inlineStr"><is><t xml:space="preserve">{escape(escaped(text))}</t></is></c>'


def _entry(path: str) -> zipfile.ZipInfo:
    """A part of the archive without the moment it was made at."""
    entry = zipfile.ZipInfo(path)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _letters(place: int) -> str:
    """The name that a spreadsheet has for a column: A for 0, AA for 26."""
    before, last = divmod(place, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + last)
