"""CSV (RFC 4180) in UTF-8: a comma between cells, quotes around those that need them, CRLF behind lines.

Written without a byte order mark and read with or without one. Both ways go row by row.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import BinaryIO, Final

from shared.kernel.reading import is_text
from shared.tables.cells import CELL_CHARACTERS_MAX, COLUMNS_MAX, Filled, InvalidTable, Row, guarded, place, unguarded
from shared.tables.columns import Column

MEDIA_TYPE: Final = "text/csv"
_MARK: Final = b"\xef\xbb\xbf"
_LINE_BYTES_MAX: Final = 4 * CELL_CHARACTERS_MAX
_ENCODING: Final = "UTF-8, with or without a byte order mark"

csv.field_size_limit(CELL_CHARACTERS_MAX)


def read_csv(file: BinaryIO) -> Iterator[Row]:
    """The rows of a file, those without a value left out. Raises InvalidTable naming the line."""
    lines = csv.reader(_lines(file), strict=True)
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                if len(cells) > COLUMNS_MAX:
                    raise InvalidTable.field(
                        place(lines.line_num), f"has {len(cells)} values", f"at most {COLUMNS_MAX}"
                    )
                yield Row(lines.line_num, [unguarded(cell) if cell.strip() else None for cell in cells])
    except csv.Error as error:
        raise InvalidTable.field(
            place(lines.line_num),
            f"is not CSV: {error}",
            "a comma between values, quotes around those that have one",
        ) from None


def _lines(file: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := file.readline(_LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > _LINE_BYTES_MAX:
            raise InvalidTable.field(place(number), "is too long", f"at most {_LINE_BYTES_MAX} bytes")
        if number == 1:
            raw = raw.removeprefix(_MARK)
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            raise InvalidTable.field(place(number), "is not UTF-8 text", _ENCODING) from None
        if not is_text(line):
            raise InvalidTable.field(place(number), "has the character U+0000", "a text without it")
        yield line


class CsvWriter:
    """Writes a table piece by piece, holding none of it."""

    media_type = MEDIA_TYPE

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def head(self) -> bytes:
        """The line with the names of the columns."""
        return _written([[column.name for column in self._columns]])

    def rows(self, rows: Iterable[Iterable[Filled | None]]) -> bytes:
        """The next rows."""
        return _written([_spelt(cell) for cell in row] for row in rows)

    def tail(self) -> bytes:
        """What follows the last row."""
        return b""


def _written(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _spelt(cell: Filled | None) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case str():
            return guarded(cell)
        case Decimal():
            return format(cell, "f")
        case date():
            return cell.isoformat()
