"""No text from outside is too odd for the reader of its type, and what a reader returns can be worked with."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.reading import (
    INTEGER_MAX,
    read_day,
    read_decimal,
    read_http_date,
    read_instant,
    read_retry_after,
    read_unix_milliseconds,
    read_unix_seconds,
    read_whole_number,
)

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)

_DIGITS: Final = st.integers(0, 10**30).map(str)
_OFFSETS: Final = st.sampled_from(["Z", "+00:00", "+14:00", "-14:00", "+23:59", "-2359", "GMT", ""])
_ODD: Final = st.one_of(
    st.text(max_size=80),
    _DIGITS,
    st.builds("{}-{}-{}T{}:00{}".format, _DIGITS, _DIGITS, _DIGITS, _DIGITS, _OFFSETS),
    st.builds("{:%Y-%m-%dT%H:%M:%S}{}".format, st.datetimes(), _OFFSETS),
    st.builds("Mon, {} Jan {} 00:00:00 {}".format, _DIGITS, _DIGITS, _OFFSETS),
)


@pytest.mark.parametrize("read", [read_instant, read_http_date, read_unix_seconds, read_unix_milliseconds])
@given(text=_ODD)
def test_every_moment_that_is_read_can_be_told_in_utc(read: Callable[[str], datetime | None], text: str) -> None:
    moment = read(text)
    assert moment is None or moment.astimezone(UTC) == moment


@given(text=_ODD)
def test_every_pause_that_is_read_is_bounded(text: str) -> None:
    pause = read_retry_after(text, now=NOW, maximum=DAY)
    assert pause is None or timedelta(0) <= pause <= DAY


@given(text=st.one_of(_ODD, st.decimals(allow_nan=True).map(str), st.integers().map(str)))
def test_every_number_that_is_read_is_what_its_ascii_digits_say(text: str) -> None:
    number = read_decimal(text)
    if number is not None:
        assert number.is_finite()
        assert number == Decimal(text)
        assert text.strip().isascii()
        assert "_" not in text
    whole = read_whole_number(text)
    assert whole is None or (0 <= whole <= INTEGER_MAX and whole == int(text))


@given(text=_ODD)
def test_every_day_that_is_read_is_written_back_the_same(text: str) -> None:
    day = read_day(text)
    assert day is None or day.isoformat() == text
