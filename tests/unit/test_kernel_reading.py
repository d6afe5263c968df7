"""What comes from outside is read for what it is, or not at all."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from shared.kernel.reading import (
    INTEGER_MAX,
    is_instant,
    is_text,
    read_day,
    read_decimal,
    read_http_date,
    read_instant,
    read_retry_after,
    read_unix_milliseconds,
    read_unix_seconds,
    read_whole_number,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("99999999999999999999999999", 86_400),
        ("9" * 100_000, 86_400),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 12:02:00 GMT", 120),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 14:02:00 +0200", 120),
        ("Mon, 99 Nov 2026 12:02:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 -1400", None),
        ("Fri, 31 Dec 99999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_longer_than_the_limit(header: str, seconds: int | None) -> None:
    pause = None if seconds is None else timedelta(seconds=seconds)
    assert read_retry_after(header, now=NOW, maximum=DAY) == pause


def test_a_date_asks_for_nothing_where_it_is_not_known_what_time_it_is() -> None:
    assert read_retry_after("Mon, 23 Nov 2026 12:02:00 GMT", now=None, maximum=DAY) is None
    assert read_retry_after("120", now=None, maximum=DAY) == timedelta(minutes=2)


@pytest.mark.parametrize(
    "text",
    [
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "2026-11-23", ""),
        *(
            "2026-11-23T12:00:00",
            "99999-01-01T00:00:00Z",
            "２０２６-11-23T12:00:00Z",
            "2026-11-23T12:00:00Z" + " " * 99,
        ),
    ],
)
def test_what_is_no_moment_in_utc_is_none(text: str) -> None:
    assert read_instant(text) is None


def test_a_moment_keeps_its_offset_and_may_lie_at_the_edge_of_time() -> None:
    moment = read_instant("2026-11-23T14:00:00+02:00")
    assert moment == NOW
    assert moment is not None
    assert moment.utcoffset() == timedelta(hours=2)
    assert read_instant("0001-01-01T00:00:00Z") == datetime.min.replace(tzinfo=UTC)
    assert read_instant("9999-12-31T23:59:59.999999Z") == datetime.max.replace(tzinfo=UTC)
    assert read_instant("2026-11-23T12:00:00", assume_utc=True) == NOW
    assert not is_instant(datetime(2026, 11, 23, 12))  # noqa: DTZ001


@pytest.mark.parametrize(
    "text", ["1_0.5", "１２", "1,5", "1 000", "NaN", "Infinity", "-inf", "0x10", "", ".", "1e99999"]
)
def test_what_is_no_number_in_plain_digits_is_none(text: str) -> None:
    assert read_decimal(text) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [("1200.50", "1200.50"), (" -3 ", "-3"), ("+.5", "0.5"), ("1.", "1"), ("1E+3", "1E+3"), (7, "7")],
)
def test_a_number_is_read_exactly(value: str | int, number: str) -> None:
    assert read_decimal(value) == Decimal(number)


def test_a_truth_value_and_a_binary_fraction_are_no_numbers() -> None:
    assert read_decimal(True) is None
    assert read_decimal(0.5) is None
    assert read_decimal(Decimal("NaN")) is None
    assert read_whole_number(True) is None


def test_a_whole_number_fits_a_column() -> None:
    assert read_whole_number(str(INTEGER_MAX)) == read_whole_number(INTEGER_MAX) == INTEGER_MAX
    assert read_whole_number(str(INTEGER_MAX + 1)) is None
    assert read_whole_number(INTEGER_MAX + 1) is None
    assert read_whole_number("9" * 10_000) is None
    assert [read_whole_number(each) for each in ("-1", "1_0", "１", "1.0", "", None)] == [None] * 6


def test_a_day_is_written_in_one_way_only() -> None:
    assert read_day("2026-02-28") == date(2026, 2, 28)
    assert [read_day(each) for each in ("2026-02-30", "20260228", "2026-W09-6", "２０２６-02-28", "2026-2-28")] == [
        None
    ] * 5


def test_unix_time_is_read_up_to_the_last_year() -> None:
    assert read_unix_seconds("1795435200") == read_unix_milliseconds(1_795_435_200_000) == NOW
    assert read_unix_seconds(10**12) is None
    assert read_unix_milliseconds("9" * 18) is None


def test_a_date_of_a_header_is_in_utc() -> None:
    assert read_http_date("Mon, 23 Nov 2026 14:00:00 +0200") == NOW
    assert read_http_date("Mon, 23 Nov 2026 12:00:00") == NOW
    assert read_http_date("Mon, 01 Jan 10000 00:00:00 GMT") is None


def test_a_text_has_only_characters_that_can_be_stored() -> None:
    assert is_text("Zoë 纷享\n")
    assert not is_text("a\0b")
    assert not is_text("\ud800")
