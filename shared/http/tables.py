"""Tables over HTTP: taken as CSV or XLSX, each row read as a body that a request could have; given as either."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from io import BytesIO
from itertools import islice
from typing import Annotated, BinaryIO, Final, Protocol, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, JsonValue, ValidationError
from starlette.responses import Response, StreamingResponse

from shared.http.problems import UnsupportedMediaType
from shared.http.refused import refused_field
from shared.kernel.errors import FieldError, InvalidInput
from shared.tables import comma_separated, xlsx
from shared.tables.cells import Filled, InvalidTable, Row, place, refused
from shared.tables.columns import ERRORS_MAX, Column, ReadRow, Value, read_rows, write_row
from shared.tables.comma_separated import CsvWriter, read_csv
from shared.tables.xlsx_reading import read_xlsx
from shared.tables.xlsx_writing import XlsxWriter

BodyT = TypeVar("BodyT", bound=BaseModel)
ReadT = TypeVar("ReadT")

_MEMORY_BYTES: Final = 1_048_576
_CHUNK_BYTES: Final = 65_536
_UTF8: Final = ("", "utf-8", "utf8")


class TableFormat(StrEnum):
    """What a table is given as."""

    CSV = "csv"
    XLSX = "xlsx"


MEDIA_TYPES: Final[Mapping[TableFormat, str]] = {
    TableFormat.CSV: comma_separated.MEDIA_TYPE,
    TableFormat.XLSX: xlsx.MEDIA_TYPE,
}


class _Writer(Protocol):
    media_type: str

    def head(self) -> bytes: ...

    def rows(self, rows: Sequence[Sequence[Filled | None]]) -> bytes: ...

    def tail(self) -> bytes: ...


def rows_of(content_type: str, file: BinaryIO) -> Iterator[Row]:
    """The rows of a file: a workbook where its type says so, CSV otherwise.

    Raises UnsupportedMediaType for another encoding than UTF-8 and InvalidTable for what is no such file.
    """
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media == xlsx.MEDIA_TYPE:
        return read_xlsx(file)
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in _UTF8:
            raise UnsupportedMediaType("Send CSV in UTF-8.")
    return read_csv(file)


class Upload:
    """The table in the body of a request."""

    def __init__(self, content_type: str, body: bytes) -> None:
        self._content_type = content_type
        self._body = body

    async def read(self, reading: Callable[[Iterator[Row]], ReadT]) -> ReadT:
        """What `reading` makes of the rows, in a thread: other requests are answered meanwhile."""
        return await asyncio.to_thread(lambda: reading(rows_of(self._content_type, BytesIO(self._body))))


async def uploaded(request: Request) -> Upload:
    """Dependency behind `Uploaded`."""
    return Upload(request.headers.get("content-type", ""), await request.body())


Uploaded = Annotated[Upload, Depends(uploaded)]


def described_file(columns: Sequence[Column]) -> dict[str, object]:
    """The answer of an operation that gives a table, for its OpenAPI."""
    binary = {"type": "string", "format": "binary"}
    return {
        "description": f"A table with the columns {_named(columns)}.",
        "content": {media: {"schema": binary} for media in (comma_separated.MEDIA_TYPE, xlsx.MEDIA_TYPE)},
    }


def described_upload(columns: Sequence[Column], example: str) -> dict[str, JsonValue]:
    """The body of an operation that takes a table, for its OpenAPI."""
    binary: JsonValue = {"type": "string", "format": "binary"}
    return {
        "requestBody": {
            "required": True,
            "description": f"CSV in UTF-8, or a workbook of one sheet. The first row names some of {_named(columns)}.",
            "content": {
                comma_separated.MEDIA_TYPE: {"schema": binary, "example": example},
                xlsx.MEDIA_TYPE: {"schema": binary},
            },
        }
    }


def _named(columns: Sequence[Column]) -> str:
    return ", ".join(f"`{column.name}` ({column.kind})" for column in columns)


def all_rows(columns: Sequence[Column], rows: Iterator[Row], *, rows_max: int) -> list[ReadRow]:
    """Every row of a table. Raises InvalidTable for one that has more of them."""
    found = list(islice(read_rows(columns, rows), rows_max + 1))
    if len(found) > rows_max:
        raise InvalidTable.field(place(found[-1].number), "is one row too many", f"at most {rows_max} rows")
    return found


def read_bodies(
    body_type: type[BodyT], columns: Sequence[Column], rows: Iterator[Row], *, rows_max: int
) -> list[tuple[int, BodyT]]:
    """Every row's number and body. Raises InvalidTable with what is wrong with the first rows that cannot be read."""
    found: list[tuple[int, BodyT]] = []
    errors: list[FieldError] = []
    for row in read_rows(columns, rows):
        if len(found) >= rows_max:
            raise InvalidTable.field(place(row.number), "is one row too many", f"at most {rows_max} rows")
        try:
            found.append((row.number, body_of(body_type, columns, row)))
        except InvalidInput as error:
            errors.extend(error.fields)
            if len(errors) >= ERRORS_MAX:
                break
    if errors:
        raise refused(errors)
    return found


def body_of(
    body_type: type[BodyT], columns: Sequence[Column], row: ReadRow, stored: Mapping[str, Value] | None = None
) -> BodyT:
    """The body that a row states; what the file has no column for is as in `stored`. Raises InvalidTable.

    An empty cell is a member that is left out.
    """
    if row.errors:
        raise refused(row.errors)
    values = {**(stored or {}), **row.values}
    body: dict[str, object] = {}
    for column in columns:
        *outer, name = column.member
        if (value := values.get(column.name)) is not None and (outer or name in body_type.model_fields):
            inner = body
            for step in outer:
                inner = cast(dict[str, object], inner.setdefault(step, {}))
            inner[name] = value
    try:
        return body_type.model_validate(body)
    except ValidationError as error:
        found = (refused_field({**item, "loc": ("body", *item["loc"])}, body, body_type) for item in error.errors())
        errors = [FieldError(each.pointer, each.message, each.accepted) for each in found]
        raise refused([in_row(columns, row.number, each) for each in errors]) from None


def in_row(columns: Sequence[Column], number: int, error: FieldError) -> FieldError:
    """What is wrong with a member of the body, as wrong with the column of that row that it is read from."""
    steps = tuple(error.pointer.split("/")[1:])
    near = [column for column in columns if column.member == steps[: len(column.member)]]
    near += [column for column in columns if steps and column.member[: len(steps)] == steps]
    if not near:
        return FieldError(place(number), error.message, error.accepted)
    inside = "/".join(steps[len(near[0].member) :])
    message = f"{inside}: {error.message}" if inside else error.message
    return FieldError(place(number, near[0].name), message, error.accepted)


async def table_file(
    columns: Sequence[Column], table_format: TableFormat, pages: AsyncIterator[Sequence[Mapping[str, Value]]]
) -> tuple[BinaryIO, str]:
    """A table and its media type; all but a small one is on the disk. Raises TableDoesNotFit."""
    writer: _Writer = CsvWriter(columns) if table_format is TableFormat.CSV else XlsxWriter(columns)
    file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115
    try:
        file.write(writer.head())
        async for page in pages:
            file.write(await asyncio.to_thread(_page, writer, columns, page))
        file.write(writer.tail())
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, file), writer.media_type


def _page(writer: _Writer, columns: Sequence[Column], page: Sequence[Mapping[str, Value]]) -> bytes:
    return writer.rows([write_row(columns, values) for values in page])


def table_answer(file: BinaryIO, media_type: str, name: str) -> Response:
    """The answer that a browser stores as a file of this name; the file is closed behind it."""

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece

    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(pieces(), media_type=media_type, headers=headers)
