"""Many statements in one file: a ZIP with a document for each person and an index, written while it is read.

Each is made and sent before the next is begun, so memory is that of one. The same statements are the same bytes.
"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from services.incentives.statements.columns import COLUMNS, rows_of
from services.incentives.statements.domain.statement import (
    DocumentTooLong,
    Payee,
    PersonStatement,
    statement_document,
    totals,
)
from services.incentives.statements.domain.texts import Texts
from services.incentives.statements.rendering import DocumentFormat, Renderer
from shared.tables.columns import Column, Kind, Value, write_row
from shared.tables.comma_separated import CsvWriter

INDEX: Final = "index.csv"
_INDEX_COLUMNS: Final = (
    Column("person_id", Kind.ID),
    Column("employee_number", Kind.TEXT),
    Column("person_name", Kind.TEXT),
    Column("file", Kind.TEXT),
    Column("earned", Kind.NUMBER),
    Column("ledger_balance", Kind.NUMBER),
    Column("currency", Kind.WORD),
)
_UNSAFE: Final = re.compile(r"[^\w.-]+")
_NAME_CHARACTERS_MAX: Final = 80


class _Pieces:
    """A file that can be written to and nothing else, and what was written since it was last taken."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


def file_name(payee: Payee) -> str:
    """A name of letters, digits, points, dashes and underscores, which no other person's file has."""
    words = [payee.employee_number or "", payee.name or "", "" if payee.employee_number else str(payee.person_id)]
    return "_".join(_UNSAFE.sub("_", word)[:_NAME_CHARACTERS_MAX].strip("._") for word in words if word)


async def archive(
    statements: AsyncIterator[PersonStatement], renderer: Renderer, document_format: DocumentFormat, texts: Texts
) -> AsyncIterator[bytes]:
    """The ZIP in pieces. Somebody's statement that is too long to be read is a table in it."""
    pieces = _Pieces()
    index: list[Mapping[str, Value]] = []
    with ZipFile(pieces, "w", ZIP_DEFLATED) as file:
        async for statement in statements:
            payee = statement.payee
            whose: Mapping[str, Value] = {
                "person_id": payee.person_id,
                "employee_number": payee.employee_number,
                "person_name": payee.name,
            }
            try:
                statement.check_length()
                name, content = (
                    f"{file_name(payee)}.{document_format}",
                    await renderer.render(statement_document(statement, texts), document_format),
                )
            except DocumentTooLong:
                name, content = f"{file_name(payee)}.csv", _table(COLUMNS, list(rows_of(statement)))
            index += [
                {
                    **whose,
                    "file": name,
                    "earned": earned,
                    "ledger_balance": owed,
                    "currency": currency,
                }
                for currency, (earned, owed) in totals(statement.earnings).items()
            ] or [{**whose, "file": name}]
            _write(file, name, content)
            yield pieces.take()
        _write(file, INDEX, _table(_INDEX_COLUMNS, index))
    yield pieces.take()


def _write(file: ZipFile, name: str, content: bytes) -> None:
    info = ZipInfo(name)
    info.compress_type = ZIP_STORED if name.endswith(".pdf") else ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    file.writestr(info, content)


def _table(columns: tuple[Column, ...], rows: list[Mapping[str, Value]]) -> bytes:
    writer = CsvWriter(columns)
    return writer.head() + writer.rows([write_row(columns, row) for row in rows]) + writer.tail()
