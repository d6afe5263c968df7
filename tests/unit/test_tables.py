"""Files that are tables: what is refused, by line and column, with what would be accepted."""

import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from io import BytesIO
from typing import BinaryIO

import pytest
from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from shared.tables import xlsx_reading
from shared.tables.cells import InvalidTable, Row, Unreadable
from shared.tables.columns import Column, Kind, ReadRow, read_rows, write_row
from shared.tables.comma_separated import CsvWriter, read_csv
from shared.tables.xlsx_reading import read_xlsx
from shared.tables.xlsx_writing import TableDoesNotFit, XlsxWriter

SHEET = "xl/worksheets/sheet1.xml"
COLUMNS = (Column("name", Kind.TEXT, required=True), Column("target", Kind.NUMBER), Column("start", Kind.DAY))


def of_csv(text: str | bytes) -> list[ReadRow]:
    body = text if isinstance(text, bytes) else text.encode()
    return list(read_rows(COLUMNS, read_csv(BytesIO(body))))


def workbook(fill: Callable[[Workbook, Worksheet], object], **options: object) -> BytesIO:
    file = BytesIO()
    book = Workbook(file, options)
    fill(book, book.add_worksheet("Table"))
    book.close()
    return BytesIO(file.getvalue())


def cells(file: BytesIO) -> list[list[object]]:
    return [list(row.cells) for row in read_xlsx(file)]


def replaced(file: BytesIO, part: str, old: str, new: str) -> BytesIO:
    """A workbook in which the text of a part is another one."""
    changed = BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            text = source.read(name).decode()
            if name == part:
                assert old in text
                text = text.replace(old, new)
            target.writestr(name, text)
    return changed


def test_what_a_file_leaves_out_is_not_among_the_values_and_an_empty_cell_is() -> None:
    [row] = of_csv("Start, NAME\n,Ada\n")
    assert (row.number, row.values, row.errors) == (2, {"start": None, "name": "Ada"}, [])


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", "name,target,start"),
        ("target,start", "name among them"),
        ("name,goal", '"goal" is not known: name, start, target'),
        ("name,targets", '"targets" is not known: target or start; known are name, start, target'),
        ("name,name", "name once"),
        ("name,", '"" is not known: name, start, target'),
        ("name;target", "a comma between the columns: name,target,start"),
    ],
)
def test_a_first_line_that_does_not_name_the_columns_is_refused(header: str, accepted: str) -> None:
    with pytest.raises(InvalidTable) as refused:
        of_csv(f"{header}\nAda,1,2026-01-01\n" if header else "")
    assert [(field.pointer, field.accepted) for field in refused.value.fields] == [("/line/1", accepted)]


@pytest.mark.parametrize(
    ("target", "accepted"),
    [
        ('"1,234"', "digits, with a point before decimals and nothing between thousands: 1200.50"),
        ("1.234", "1234 or 1.2340"),
        ("-250.000", "-250000 or -250.0000"),
        ("1 234", "nothing between thousands"),
        ("1'234", "nothing between thousands"),
        ("1_234", "nothing between thousands"),
        ("1.234.567", "nothing between thousands"),
        ("12e3", "digits"),
        ("１２", "digits"),
        ("$12", "digits"),
        ("12%", "digits"),
        (".5", "digits"),
        ("5.", "digits"),
        ("NaN", "digits"),
        ("(12)", "digits"),
    ],
)
def test_a_number_that_could_be_read_two_ways_is_refused(target: str, accepted: str) -> None:
    [_, row] = of_csv(f"name,target\nAda,12\nBob,{target}\n")
    [error] = row.errors
    assert error.pointer == "/line/3/target"
    assert accepted in (error.accepted or "")


@pytest.mark.parametrize("target", ["0.125", "12.34", "1.2340", "1234.567", "+5", "-5", "007", " 12 "])
def test_a_number_that_is_read_in_one_way_is_taken(target: str) -> None:
    [row] = of_csv(f"name,target\nAda,{target}\n")
    assert row.values["target"] == Decimal(target.strip())


@pytest.mark.parametrize(
    "day", ["01/02/2026", "1.2.2026", "2026-1-2", "20260102", "02-01-2026", "2026-02-30", "2026-01-02T00:00", "46024"]
)
def test_a_day_that_could_be_read_two_ways_is_refused(day: str) -> None:
    [row] = of_csv(f"name,start\nAda,{day}\n")
    [error] = row.errors
    assert (error.pointer, error.accepted) == ("/line/2/start", "a day of the calendar as YYYY-MM-DD")


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "cp1252", "big5", "shift-jis"])
def test_another_encoding_than_utf_8_is_refused_by_line(encoding: str) -> None:
    text = "name,target\nAda,1\n" + ("Zoë" if encoding == "cp1252" else "東京") + ",2\n"
    with pytest.raises(InvalidTable) as refused:
        of_csv(text.encode(encoding))
    [field] = refused.value.fields
    assert field.pointer == ("/line/1" if encoding == "utf-16" else "/line/3")
    assert field.accepted == "UTF-8, with or without a byte order mark"


def test_every_line_of_a_file_is_counted_also_within_a_text() -> None:
    rows = of_csv('\ufeffname,target\r\n"Ada\nLovelace",1\r\n\r\nBob,x\r\n')
    assert [row.number for row in rows] == [3, 5]
    assert rows[0].values["name"] == "Ada\nLovelace"
    assert [error.pointer for error in rows[1].errors] == ["/line/5/target"]


@pytest.mark.parametrize("line", ["Ada,1", "Ada,1,2026-01-01,x"])
def test_a_line_of_other_columns_is_refused_by_its_number(line: str) -> None:
    [row] = of_csv(f"name,target,start\n{line}\n")
    assert [(error.pointer, error.accepted) for error in row.errors] == [("/line/2", "3: name, target, start")]


@pytest.mark.parametrize("line", ['"Ada,1,', '"Ada"a,1,', "A\0a,1,", "Ada\ra,1,", f"{'x' * 1_048_577},1,"])
def test_a_line_that_is_not_csv_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(InvalidTable) as refused:
        of_csv(f"name,target,start\n{line}\n")
    assert [field.pointer for field in refused.value.fields] == ["/line/2"]


def test_documents_have_each_member_once_and_no_binary_fraction() -> None:
    columns = (Column("filter", Kind.DOCUMENT), Column("name", Kind.TEXT))
    for text in ('{"a": 1, "a": 2}', "1.5", "NaN", "{", '"\\u0000"', '"\\ud800"', "[" * 100_000):
        [row] = read_rows(columns, iter([Row(1, ["filter", "name"]), Row(2, [text, "Ada"])]))
        assert [error.pointer for error in row.errors] == ["/line/2/filter"], text
    [row] = read_rows(columns, iter([Row(1, ["filter", "name"]), Row(2, ['{"e\u0301": ["1.5", 2]}', "Ada"])]))
    assert row.values["filter"] == {"\u00e9": ["1.5", 2]}


def test_texts_that_look_like_formulas_stay_texts_in_every_file() -> None:
    row = write_row(COLUMNS, {"name": "=1+1", "target": Decimal("-5"), "start": date(2026, 1, 2)})
    csv_writer, xlsx_writer = CsvWriter(COLUMNS), XlsxWriter(COLUMNS)
    assert csv_writer.rows([row]) == b"'=1+1,-5,2026-01-02\r\n"
    file = BytesIO(xlsx_writer.head() + xlsx_writer.rows([row]) + xlsx_writer.tail())
    with zipfile.ZipFile(file) as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    assert cells(file)[1] == ["=1+1", Decimal(-5), date(2026, 1, 2)]


def test_a_workbook_is_the_same_bytes_each_time() -> None:
    def written() -> bytes:
        writer = XlsxWriter(COLUMNS)
        return writer.head() + writer.rows([["Ada", Decimal(1), None]]) + writer.tail()

    assert written() == written()


def test_what_does_not_fit_into_a_cell_is_refused_by_line_and_column() -> None:
    writer = XlsxWriter(COLUMNS)
    writer.head()
    writer.rows([["𠮷" * 16_383, None, None]])
    with pytest.raises(TableDoesNotFit, match="Line 3, column name"):
        writer.rows([["𠮷" * 16_384, None, None]])


def test_numbers_and_days_of_a_workbook_are_what_everybody_sees() -> None:
    def fill(book: Workbook, sheet: Worksheet) -> None:
        day, time = book.add_format({"num_format": "dd/mm/yy"}), book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        money = book.add_format({"num_format": '#,##0.00 "d";[Red]-#,##0.00\\ \\m'})
        sheet.write_number(0, 0, 1234.5, money)
        sheet.write_number(1, 0, 1.1)
        sheet.write_datetime(2, 0, date(2026, 2, 1), day)
        sheet.write_datetime(3, 0, date(2026, 2, 1), time)
        sheet.write_number(4, 0, 46054.5, time)
        sheet.write_number(5, 0, 60, day)
        sheet.write_number(6, 0, 12345678901234567, money)
        sheet.write_boolean(7, 0, True)

    found = [row[0] for row in cells(workbook(fill))]
    assert found[:4] == [Decimal("1234.5"), Decimal("1.1"), date(2026, 2, 1), date(2026, 2, 1)]
    assert [type(cell) for cell in found[4:7]] == [Unreadable] * 3
    assert found[7] is True


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("1.1000000000000001", Decimal("1.1")),
        ("1E-3", Decimal("0.001")),
        ("100", Decimal(100)),
        ("0.30000000000000004", None),
        ("1e15", None),
        ("1e999", None),
        ("0x10", None),
        ("nan", None),
    ],
)
def test_a_stored_number_is_the_shortest_one_that_is_stored_so_or_has_too_many_digits(
    stored: str, read: Decimal | None
) -> None:
    file = replaced(workbook(lambda _, sheet: sheet.write_number(0, 0, 7)), SHEET, "<v>7</v>", f"<v>{stored}</v>")
    [[cell]] = cells(file)
    assert isinstance(cell, Unreadable) if read is None else cell == read


def test_days_are_counted_from_where_the_workbook_says() -> None:
    def fill(book: Workbook, sheet: Worksheet) -> None:
        sheet.write_datetime(0, 0, date(2026, 2, 1), book.add_format({"num_format": 14}))

    assert cells(workbook(fill, date_1904=True)) == [[date(2026, 2, 1)]]


@pytest.mark.parametrize("formula", ["=1+1", "=A9"])
def test_a_formula_is_refused_whatever_it_came_to(formula: str) -> None:
    file = workbook(lambda _, sheet: (sheet.write_string(0, 0, "name"), sheet.write_formula(1, 0, formula, None, 2)))
    [row] = read_rows(COLUMNS, read_xlsx(file))
    [error] = row.errors
    assert (error.pointer, error.message) == ("/line/2/name", "is a formula")


def test_a_number_where_a_text_belongs_is_refused_as_zeros_in_front_may_be_lost() -> None:
    file = workbook(lambda _, sheet: (sheet.write_string(0, 0, "name"), sheet.write_number(1, 0, 1042)))
    [row] = read_rows(COLUMNS, read_xlsx(file))
    [error] = row.errors
    assert (error.pointer, error.message) == ("/line/2/name", "1042 is not a text")
    assert "format Text" in (error.accepted or "")


def test_texts_in_runs_and_with_readings_are_their_text() -> None:
    shared = (
        '<si><r><t>东</t></r><r><t xml:space="preserve"> 京_x000A_</t></r><rPh sb="0" eb="1"><t>dong</t></rPh></si>'
    )
    file = workbook(lambda _, sheet: sheet.write_string(0, 0, "x"))
    assert cells(replaced(file, "xl/sharedStrings.xml", "<si><t>x</t></si>", shared)) == [["东 京\n"]]


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        (SHEET, 'r="A1"', 'r="XFD1"'),
        (SHEET, 'r="A1"', 'r="A2"'),
        (SHEET, 'row r="1"', 'row r="1048577"'),
        (SHEET, "<v>0</v>", "<v>7</v>"),
        (SHEET, "<v>0</v>", "<v>-1</v>"),
        (SHEET, "<sheetData>", "<sheetData"),
        (SHEET, "<worksheet", '<!DOCTYPE x [<!ENTITY a "b">]><worksheet'),
        ("xl/workbook.xml", "</sheets>", '<sheet name="Other" sheetId="2" r:id="rId1"/></sheets>'),
        ("xl/workbook.xml", 'r:id="rId1"', 'r:id="rId9"'),
        ("_rels/.rels", "officeDocument", "nothing"),
        ("xl/_rels/workbook.xml.rels", "worksheets/sheet1.xml", "worksheets/sheet9.xml"),
        ("xl/styles.xml", 'numFmtId="0"', 'numFmtId="x"'),
    ],
)
def test_a_workbook_that_is_none_or_has_more_than_a_table_is_refused(part: str, old: str, new: str) -> None:
    file = workbook(lambda _, sheet: sheet.write_string(0, 0, "x"))
    with pytest.raises(InvalidTable):
        cells(replaced(file, part, old, new))


@pytest.mark.parametrize("body", [b"", b"PK", b"name,target\n", b"PK\x03\x04" + bytes(200)])
def test_what_is_no_archive_is_no_workbook(body: bytes) -> None:
    with pytest.raises(InvalidTable, match="not an XLSX workbook"):
        cells(BytesIO(body))


def test_a_workbook_that_unpacks_to_too_much_is_refused_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_reading, "INFLATED_BYTES_MAX", 1_000_000)
    file = workbook(lambda _, sheet: sheet.write_string(0, 0, "x"))
    bomb = replaced(file, SHEET, "<sheetData>", f"<sheetData><!--{' ' * 2_000_000}-->")
    assert len(bomb.getvalue()) < 20_000
    with pytest.raises(InvalidTable, match="too large once it is unpacked"):
        cells(bomb)


def peak_bytes(rows: int, write: type[CsvWriter] | type[XlsxWriter], read: Callable[[BinaryIO], Iterator[Row]]) -> int:
    """What a table of so many rows takes of memory, beside the file, while it is written and read."""
    writer = write(COLUMNS)
    file = BytesIO()
    tracemalloc.start()
    file.write(writer.head())
    for number in range(0, rows, 500):
        file.write(writer.rows([[f"Ada {number + each}", Decimal(each), date(2026, 1, 1)] for each in range(500)]))
    file.write(writer.tail())
    size = len(file.getvalue())
    file.seek(0)
    count = sum(1 for _ in read_rows(COLUMNS, read(file)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == rows
    return peak - 2 * size


@pytest.mark.parametrize(("write", "read"), [(CsvWriter, read_csv), (XlsxWriter, read_xlsx)])
def test_a_table_four_times_as_long_takes_no_more_memory(
    write: type[CsvWriter] | type[XlsxWriter], read: Callable[[BinaryIO], Iterator[Row]]
) -> None:
    short, long = peak_bytes(1_000, write, read), peak_bytes(4_000, write, read)
    assert long < short + 100_000
