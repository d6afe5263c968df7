"""Whatever rates were stated: the day by day look-up, the spans of a period and what a measure adds agree."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.periods import Period
from shared.kernel.rates import CROSS_RATE_DECIMALS, ExchangeRates

START = date(2026, 1, 1)
DAYS = 10
CURRENCIES = ("CNY", "EUR", "JPY", "USD")
Stated = dict[tuple[str, str], dict[date, Decimal]]

rates = st.one_of(
    st.sampled_from(["0.0000000001", "999999999.9999999999", "1", "7.2", "0.3"]).map(Decimal),
    st.decimals("0.0001", "9999", places=4),
)
days = st.integers(-2, DAYS - 1).map(lambda number: START + timedelta(days=number))
pairs = st.sampled_from([(base, other) for base in ("CNY", "USD") for other in CURRENCIES if base != other])
stated_rates = st.dictionaries(pairs, st.dictionaries(days, rates, max_size=4), max_size=6)
homes = st.sampled_from([*CURRENCIES, None])


def leg(stated: Stated, base: str, currency: str, day: date) -> Fraction | None:
    if base == currency:
        return Fraction(1)
    known = {each: rate for each, rate in stated.get((base, currency), {}).items() if each <= day}
    return Fraction(known[max(known)]) if known else None


def expected(stated: Stated, home: str | None, currency: str, target: str, day: date) -> Fraction | None:
    if currency == target:
        return Fraction(1)
    for base in sorted(("CNY", "USD"), key=lambda name: (name != home, name)):
        one, other = leg(stated, base, currency, day), leg(stated, base, target, day)
        if one is not None and other is not None:
            unit = 10**CROSS_RATE_DECIMALS
            rate = one if target == base else Fraction((2 * one * unit / other + 1) // 2, unit)
            if rate:
                return rate
    return None


@given(stated_rates, homes, st.sampled_from(CURRENCIES), st.sampled_from(CURRENCIES), days)
def test_a_rate_is_what_plain_fractions_say(
    stated: Stated, home: str | None, currency: str, target: str, day: date
) -> None:
    found = ExchangeRates(home, stated).rate(currency, target, day)
    assert (None if found is None else Fraction(found.rate)) == expected(stated, home, currency, target, day)


@given(stated_rates, homes, st.sampled_from(CURRENCIES), st.integers(0, 4), st.integers(5, DAYS))
def test_the_spans_of_a_period_say_of_every_day_what_the_rate_is(
    stated: Stated, home: str | None, target: str, first: int, last: int
) -> None:
    known = ExchangeRates(home, stated)
    period = Period(START + timedelta(days=first), START + timedelta(days=last))
    spans = known.into(target, period).spans
    for number in range(first, last):
        day = START + timedelta(days=number)
        by_currency = {span.currency: span for span in spans if span.start <= day < span.end}
        assert len(by_currency) == sum(span.start <= day < span.end for span in spans)
        for currency in set(CURRENCIES) - {target}:
            rate, span = known.rate(currency, target, day), by_currency.get(currency)
            assert (None if span is None else (span.rate, span.stated_on)) == rate
    assert all(period.start <= span.start < span.end <= period.end for span in spans)


@given(stated_rates, stated_rates, homes, st.sampled_from(CURRENCIES))
def test_rates_of_a_period_are_equal_exactly_when_every_day_is(
    one: Stated, other: Stated, home: str | None, target: str
) -> None:
    period = Period(START, START + timedelta(days=DAYS))
    mine, yours = ExchangeRates(home, one), ExchangeRates(home, other)
    alike = all(
        expected(one, home, currency, target, START + timedelta(days=number))
        == expected(other, home, currency, target, START + timedelta(days=number))
        for currency in CURRENCIES
        for number in range(DAYS)
    )
    assert (mine.into(target, period) == yours.into(target, period)) == alike
