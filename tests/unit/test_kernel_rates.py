"""Exchange rates: which is in force on a day, by way of what, and when two sets of them are the same."""

from datetime import date
from decimal import Decimal

import pytest

from shared.kernel.errors import InvalidInput
from shared.kernel.periods import Period
from shared.kernel.rates import ExchangeRates, Rate, RateSpan, converted, implied_rate, parse_rate

MARCH = Period(date(2026, 3, 1), date(2026, 4, 1))


def day(number: int) -> date:
    return date(2026, 3, number)


def stated(**rates: dict[int, str]) -> dict[tuple[str, str], dict[date, Decimal]]:
    """`CNY_USD={2: "7.2"}`: on 2 March a dollar is 7.2 yuan."""
    return {
        (pair[:3], pair[4:]): {day(number): Decimal(rate) for number, rate in by_day.items()}
        for pair, by_day in rates.items()
    }


RATES = ExchangeRates("CNY", stated(CNY_USD={2: "7.2", 10: "7.1"}, CNY_EUR={5: "7.8"}))


def test_the_rate_in_force_is_the_latest_one_on_or_before_the_day() -> None:
    assert RATES.rate("USD", "CNY", day(1)) is None
    assert RATES.rate("USD", "CNY", day(2)) == Rate(Decimal("7.2"), day(2))
    assert RATES.rate("USD", "CNY", day(9)) == Rate(Decimal("7.2"), day(2))
    assert RATES.rate("USD", "CNY", day(10)) == Rate(Decimal("7.1"), day(10))
    assert RATES.rate("USD", "CNY", date(2036, 1, 1)) == Rate(Decimal("7.1"), day(10))


def test_a_currency_is_worth_itself_whether_or_not_a_rate_is_known() -> None:
    assert RATES.rate("GBP", "GBP", day(1)) == Rate(Decimal(1), day(1))
    assert RATES.rate("GBP", "CNY", day(20)) is None
    assert RATES.rate("USD", "GBP", day(20)) is None


def test_other_currencies_convert_by_way_of_the_home_currency_half_up_to_sixteen_decimals() -> None:
    assert RATES.rate("EUR", "USD", day(4)) is None
    # 7.8 / 7.2 = 1.08333…, as old as the older of the two.
    assert RATES.rate("EUR", "USD", day(5)) == Rate(Decimal("1.0833333333333333"), day(2))
    # 7.8 / 7.1 = 1.098591549295774647…
    assert RATES.rate("EUR", "USD", day(10)) == Rate(Decimal("1.0985915492957746"), day(5))
    assert RATES.rate("CNY", "USD", day(10)) == Rate(Decimal("0.1408450704225352"), day(10))
    # 2 / 3 = 0.666…: the last digit is rounded up.
    thirds = ExchangeRates("CNY", stated(CNY_USD={1: "3"}, CNY_EUR={1: "2"}))
    assert thirds.rate("EUR", "USD", day(1)) == Rate(Decimal("0.6666666666666667"), day(1))
    # 5 in the seventeenth place.
    tie = ExchangeRates("CNY", stated(CNY_USD={1: "2000000"}, CNY_EUR={1: "0.0000000001"}))
    assert tie.rate("EUR", "USD", day(1)) == Rate(Decimal("0.0000000000000001"), day(1))


def test_a_rate_too_small_to_be_told_is_none() -> None:
    dust = ExchangeRates("CNY", stated(CNY_USD={1: "2", 2: "3000000", 3: "2"}, CNY_EUR={1: "0.0000000001"}))
    told = Decimal("0.00000000005")
    assert [dust.rate("EUR", "USD", day(number)) for number in (1, 2, 3)] == [
        Rate(told, day(1)),
        None,
        Rate(told, day(1)),
    ]
    assert [
        (span.start, span.end) for span in dust.into("USD", Period(day(1), day(5))).spans if span.currency == "EUR"
    ] == [
        (day(1), day(2)),
        (day(3), day(5)),
    ]
    without = ExchangeRates("CNY", stated(CNY_USD={1: "2"}, CNY_EUR={1: "0.0000000001"}))
    assert without.into("USD", MARCH) != dust.into("USD", MARCH)


def test_another_home_currency_misreads_no_rate_and_forgets_none() -> None:
    both = stated(CNY_USD={2: "7.2"}, CNY_EUR={2: "7.8"}, USD_EUR={10: "1.09"})
    moved = ExchangeRates("USD", both)
    assert moved.rate("EUR", "USD", day(9)) == Rate(Decimal("1.0833333333333333"), day(2))
    assert moved.rate("EUR", "USD", day(10)) == Rate(Decimal("1.09"), day(10))
    stayed = ExchangeRates("CNY", both)
    assert stayed.rate("EUR", "USD", day(10)) == Rate(Decimal("1.0833333333333333"), day(2))


def test_the_rates_of_a_period_are_those_in_force_on_its_days() -> None:
    assert RATES.into("CNY", Period(day(4), day(12))).spans == (
        RateSpan("EUR", day(5), day(12), Decimal("7.8"), day(5)),
        RateSpan("USD", day(4), day(10), Decimal("7.2"), day(2)),
        RateSpan("USD", day(10), day(12), Decimal("7.1"), day(10)),
    )
    assert RATES.into("GBP", MARCH).spans == ()


def test_a_change_matters_to_the_periods_whose_days_it_touches() -> None:
    later = ExchangeRates("CNY", stated(CNY_USD={2: "7.2", 10: "7.1", 20: "7"}, CNY_EUR={5: "7.8"}))
    before_it, with_it = Period(day(1), day(20)), Period(day(1), day(21))
    assert later.into("CNY", before_it) == RATES.into("CNY", before_it)
    assert later.into("CNY", with_it) != RATES.into("CNY", with_it)
    # Not of dollars, yet told by way of them.
    assert later.into("USD", with_it) != RATES.into("USD", with_it)
    assert RATES.into("USD", MARCH) != RATES.into("CNY", MARCH)


def test_a_rate_that_is_stated_again_as_it_was_changes_nothing() -> None:
    again = ExchangeRates("CNY", stated(CNY_USD={2: "7.2", 7: "7.20", 10: "7.1"}, CNY_EUR={5: "7.8"}))
    assert again.into("CNY", MARCH) == RATES.into("CNY", MARCH)
    assert again.rate("USD", "CNY", day(8)) == Rate(Decimal("7.2"), day(7))


def test_a_gap_before_the_first_rate_is_a_difference() -> None:
    one = ExchangeRates("CNY", stated(CNY_USD={2: "7.2"}))
    other = ExchangeRates("CNY", stated(CNY_USD={3: "7.2"}))
    assert one.into("CNY", MARCH) != other.into("CNY", MARCH)
    assert ExchangeRates().into("CNY", MARCH) == ExchangeRates("USD").into("CNY", MARCH)


def test_a_conversion_loses_no_digit() -> None:
    amount, rate = Decimal("999999999999999.999999"), Decimal("999999999.9999999999")
    assert str(converted(amount, rate)) == "999999999999999999899000.0000000000000001"
    assert converted(Decimal("-0.01"), Decimal("0.0000000001")) == Decimal("-0.000000000001")


def test_what_the_crm_converted_at_is_told_to_ten_decimals() -> None:
    assert implied_rate(Decimal(3), Decimal(2)) == Decimal("0.6666666667")
    assert implied_rate(Decimal(0), Decimal(2)) is None


@pytest.mark.parametrize("text", ["0", "-1", "NaN", "Infinity", "seven", "", "1000000000", "0.00000000001", "1e-11"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="/rate"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["1", "0.0000000001", "999999999.9999999999", "7.2415000000000000"])
def test_what_is_a_rate_is_accepted(text: str) -> None:
    assert parse_rate(text) == Decimal(text)
