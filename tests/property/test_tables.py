"""Tables that are written are read again as they were, by this reader and by others, whatever is in them."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from io import BytesIO
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from python_calamine import load_workbook
from xlsxwriter import Workbook

from shared.tables.cells import Row, Unreadable, guarded, unguarded
from shared.tables.columns import Column, Kind, ReadRow, Value, read_rows, write_row
from shared.tables.comma_separated import CsvWriter, read_csv
from shared.tables.xlsx_reading import read_xlsx
from shared.tables.xlsx_writing import XlsxWriter

COLUMNS = (
    Column("id", Kind.ID, required=True),
    Column("text", Kind.TEXT),
    Column("number", Kind.NUMBER),
    Column("day", Kind.DAY),
    Column("flag", Kind.FLAG),
    Column("document", Kind.DOCUMENT),
)
FORMATS = (CsvWriter, XlsxWriter)
NASTY = [
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "'",
    '"',
    ",",
    ";",
    "＝",
    "＠",
    "_x0041_",
    "_",
    "<r>",
    "</r>",
    "&amp;",
    "é",
    "é",
]

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.one_of(
    st.text(characters, max_size=30), st.lists(st.sampled_from([*NASTY, "a", "张", " "]), max_size=8).map("".join)
).filter(lambda text: text.strip() != "")
numbers = st.one_of(
    st.decimals(-(10**15), 10**15, places=6).filter(lambda number: abs(number) < 10**15),
    st.integers(-2000, 2000).map(lambda number: Decimal(number) / 1000),
    st.sampled_from(["0.1", "1.234", "250.000", "-0.000001", "999999999999999.999999"]).map(Decimal),
)
days = st.one_of(st.dates(date(1900, 1, 1), date(3000, 1, 1)), st.dates(date(1900, 2, 20), date(1900, 3, 10)))
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), texts.map(lambda text: normalize("NFC", text))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=5,
).filter(lambda document: document is not None)
rows = st.fixed_dictionaries(
    {"id": st.uuids()},
    optional={"text": texts, "number": numbers, "day": days, "flag": st.booleans(), "document": documents},
)


def written(kind: type[CsvWriter] | type[XlsxWriter], table: list[Mapping[str, Value]]) -> bytes:
    writer = kind(COLUMNS)
    return b"".join([writer.head(), *(writer.rows([write_row(COLUMNS, row)]) for row in table), writer.tail()])


def read(kind: type[CsvWriter] | type[XlsxWriter], file: bytes) -> Iterator[Row]:
    return read_csv(BytesIO(file)) if kind is CsvWriter else read_xlsx(BytesIO(file))


@pytest.mark.parametrize("kind", FORMATS)
@given(table=st.lists(rows, max_size=5))
@example(table=[{"id": "00000000-0000-0000-0000-000000000001", "text": "=cmd|' /C calc'!A0"}])
@example(table=[{"id": "00000000-0000-0000-0000-000000000001", "text": "<r>a</r>"}])
def test_what_is_written_is_read_again(
    kind: type[CsvWriter] | type[XlsxWriter], table: list[Mapping[str, Value]]
) -> None:
    found = list(read_rows(COLUMNS, read(kind, written(kind, table))))
    assert [list(row.errors) for row in found] == [[]] * len(table)
    for row, expected in zip(found, table, strict=True):
        told = {name: value for name, value in row.values.items() if value is not None}
        text = expected.get("text")
        assert {**told, "id": str(told["id"])} == {
            **expected,
            "id": str(expected["id"]),
            **({"text": normalize("NFC", text)} if isinstance(text, str) else {}),
        }


@given(st.lists(rows, min_size=1, max_size=3))
def test_a_workbook_is_the_same_to_another_reader(table: list[Mapping[str, Value]]) -> None:
    found = load_workbook(BytesIO(written(XlsxWriter, table))).get_sheet_by_index(0).to_python()
    assert found[0] == [column.name for column in COLUMNS]
    for cells, row in zip(found[1:], table, strict=True):
        told = dict(zip(found[0], cells, strict=True))
        assert told["id"] == str(row["id"])
        assert told["text"] == row.get("text", "")
        number, day = row.get("number"), row.get("day")
        if isinstance(number, Decimal):
            assert Decimal(str(told["number"])) == number
        if isinstance(day, date):
            assert told["day"] == (day if day >= date(1900, 3, 1) else day.isoformat())


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), texts, st.decimals(-(10**9), 10**9, places=4)), min_size=1, max_size=6))
def test_a_workbook_of_another_writer_is_read_as_it_was_written(cells: list[str | Decimal | None]) -> None:
    file = BytesIO()
    book = Workbook(file)
    sheet = book.add_worksheet("Table")
    for place, cell in enumerate(cells):
        if isinstance(cell, str):
            sheet.write_string(0, place, cell)
        elif cell is not None:
            sheet.write_number(0, place, float(cell))
    book.close()
    expected = list(cells)
    while expected and expected[-1] is None:
        expected.pop()
    assert [list(row.cells) for row in read_xlsx(BytesIO(file.getvalue()))] == ([expected] if expected else [])


@example("'=1")
@example("''-1")
@example("'s-Hertogenbosch")
@given(st.one_of(texts, st.text("'=+-@\t\r\n＝ a", max_size=6)))
def test_the_apostrophe_before_what_looks_like_a_formula_is_taken_away_again(text: str) -> None:
    safe = guarded(text)
    assert unguarded(safe) == text
    assert safe[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠") or safe == ""
    assert safe == text or safe == f"'{text}"


SPELLINGS: Mapping[Kind, tuple[Callable[[str], bool], st.SearchStrategy[str]]] = {
    Kind.NUMBER: (
        lambda text: text.lstrip("+-").replace(".", "", 1).isdigit(),
        st.from_regex(r"\A[+-]?[0-9]{1,4}([.,' _\u00a0][0-9]{1,3}){0,2}[%€]?\Z"),
    ),
    Kind.DAY: (lambda text: len(text) == 10, st.from_regex(r"\A[0-9]{1,4}[-/. ][0-9]{1,2}[-/. ][0-9]{1,4}\Z")),
}


@given(SPELLINGS[Kind.NUMBER][1])
def test_a_number_is_taken_in_one_spelling_alone(text: str) -> None:
    [row] = column_of(Kind.NUMBER, text)
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.lstrip("+-").partition(".")
    plain = all(part.isascii() and part.isdigit() for part in (whole, fraction or "0"))
    grouped = "." in text and len(fraction) == 3 and len(whole) <= 3 and whole[0] != "0"
    if plain and not grouped and not text.endswith("."):
        assert row.values["cell"] == Decimal(f"{sign}{whole}.{fraction or 0}")
    else:
        [error] = row.errors
        assert (error.pointer, bool(error.accepted)) == ("/line/2/cell", True)


@given(SPELLINGS[Kind.DAY][1])
def test_a_day_is_taken_in_one_spelling_alone(text: str) -> None:
    [row] = column_of(Kind.DAY, text)
    parts = text.split("-")
    if [len(part) for part in parts] == [4, 2, 2] and not row.errors:
        assert row.values["cell"] == date(*(int(part) for part in parts))
    else:
        [error] = row.errors
        assert (error.pointer, error.accepted) == ("/line/2/cell", "a day of the calendar as YYYY-MM-DD")


def column_of(kind: Kind, text: str) -> list[ReadRow]:
    columns = (Column("cell", kind), Column("other", Kind.TEXT))
    return list(read_rows(columns, iter([Row(1, ["cell", "other"]), Row(2, [text, "x"])])))


@settings(max_examples=40)
@given(st.decimals(-(10**30), 10**30, places=12))
def test_a_number_of_a_workbook_has_its_digits_or_is_refused(number: Decimal) -> None:
    file = BytesIO()
    book = Workbook(file)
    book.add_worksheet().write_number(0, 0, float(number))
    book.close()
    [row] = read_xlsx(BytesIO(file.getvalue()))
    [cell] = row.cells
    digits = f"{abs(number):f}".replace(".", "").strip("0")
    if len(digits) <= 15 and abs(number) < 10**15:
        assert cell == number
    else:
        assert isinstance(cell, Unreadable) or Decimal(repr(float(number))) == cell
