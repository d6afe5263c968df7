"""Exchange rates as they are stated: files of them, and what is refused."""

from datetime import date
from decimal import Decimal
from io import BytesIO

import pytest

from services.goals.rates.columns import LINES_MAX, InvalidRatesFile, rates_of
from services.goals.rates.domain import StatedRate, check_statement
from shared.kernel.errors import InvalidInput
from shared.tables.comma_separated import read_csv


def rates_of_csv(body: bytes) -> tuple[list[StatedRate], list[str]]:
    return rates_of(read_csv(BytesIO(body)))


USD = StatedRate("USD", date(2026, 3, 2), Decimal("7.2415"))


def test_a_file_of_rates_is_read_line_by_line() -> None:
    rates, pointers = rates_of_csv(b"date,currency,rate\n2026-03-02,USD,7.2415\n\n2026-03-03, EUR ,7.85\n")
    assert rates == [USD, StatedRate("EUR", date(2026, 3, 3), Decimal("7.85"))]
    assert pointers == ["/line/2", "/line/4"]


def test_the_columns_may_stand_in_any_order_behind_a_byte_order_mark_and_windows_line_ends() -> None:
    rates, _ = rates_of_csv("\ufeffRate,Currency,Date\r\n7.2415,USD,2026-03-02\r\n".encode())
    assert rates == [USD]


@pytest.mark.parametrize(
    ("line", "pointer", "told"),
    [
        ("2026-03-32,USD,7", "/line/3/date", "line 3, column date"),
        ("20260302,USD,7", "/line/3/date", "line 3, column date"),
        ("1066-10-14,USD,7", "/line/3/date", "accepted is greater than or equal to 1900-01-01"),
        ("2026-03-02,usd,7", "/line/3/currency", "line 3, column currency"),
        ("2026-03-02,USD,7;24", "/line/3/rate", "line 3, column rate"),
        ("2026-03-02,USD,0", "/line/3/rate", "above 0"),
        ("2026-03-02,USD,-1", "/line/3/rate", "above 0"),
        ("2026-03-02,USD,NaN", "/line/3/rate", "above 0"),
        ("2026-03-02,USD,1_0.5", "/line/3/rate", "line 3, column rate"),
        ("2026-03-02,USD,７.２", "/line/3/rate", "line 3, column rate"),
        ("2026-03-０２,USD,7", "/line/3/date", "line 3, column date"),
        ("2026-03-02,USD,1000000000", "/line/3/rate", "below 10"),
        ("2026-03-02,USD,0.00000000001", "/line/3/rate", "ten decimals|10 decimals"),
        ("2026-03-02,USD,7,24", "/line/3", "line 3: has 4 values"),
        ("2026-03-02,USD", "/line/3", "line 3: has 2 values"),
        ('2026-03-02,"USD,7', "/line/3", "not CSV"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_by_number_and_column(line: str, pointer: str, told: str) -> None:
    with pytest.raises(InvalidRatesFile, match=told) as refused:
        rates_of_csv(f"date,currency,rate\n2026-03-02,EUR,7.85\n{line}\n".encode())
    assert [field.pointer for field in refused.value.fields] == [pointer]


def test_every_wrong_line_is_told_at_once() -> None:
    with pytest.raises(InvalidRatesFile) as refused:
        rates_of_csv(b"date,currency,rate\nx,USD,7\n2026-03-02,USD,7\n2026-03-02,USD,y\n")
    assert [field.pointer for field in refused.value.fields] == ["/line/2/date", "/line/4/rate"]


@pytest.mark.parametrize("body", [b"", b"\n\n", b"day,currency,rate\n", b"date,currency,rate,note\n", b"\xff\xfe"])
def test_a_file_without_the_three_columns_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRatesFile):
        rates_of_csv(body)


def test_a_file_has_a_limit() -> None:
    line = "2026-03-02,USD,7\n"
    assert len(rates_of_csv(f"date,currency,rate\n{line * LINES_MAX}".encode())[0]) == LINES_MAX
    with pytest.raises(InvalidRatesFile, match="one row too many"):
        rates_of_csv(f"date,currency,rate\n{line * (LINES_MAX + 1)}".encode())


def test_the_home_currency_has_no_rate_and_a_day_has_one_rate_of_a_currency() -> None:
    check_statement([USD, USD], "CNY", pointers=["/0", "/1"])
    with pytest.raises(InvalidInput, match="/0/currency: USD is the home currency"):
        check_statement([USD], "USD", pointers=["/0"])
    with pytest.raises(InvalidInput, match="/1: USD has another rate on 2026-03-02"):
        check_statement([USD, StatedRate("USD", USD.day, Decimal(7))], "CNY", pointers=["/0", "/1"])
