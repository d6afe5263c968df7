"""What one currency is worth in another on a day, by a tenant's daily rates.

A rate is how many units of the home currency one unit of a currency is worth. The rate in force on a day is the latest
one stated for that day or before it, however old: a rate stays in force until the next one, also where a tenant states
rates by the month or has stopped. Rates are exact decimals; only a rate worked out of two others is rounded, once,
here.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple

from shared.kernel.errors import InvalidInput
from shared.kernel.money import format_amount, has_decimals_at_most
from shared.kernel.periods import Period
from shared.kernel.reading import read_decimal

RATE_DECIMALS_MAX: Final = 10
RATE_LIMIT: Final = Decimal(10) ** 9
CROSS_RATE_DECIMALS: Final = 16
"""To how many decimals a rate worked out of two others is rounded, half-up."""

_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_UP)
_CROSS_RATE_UNIT: Final = Decimal(1).scaleb(-CROSS_RATE_DECIMALS)
_ONE: Final = Decimal(1)
_ACCEPTED_RATE: Final = (
    f'a decimal above 0 in a string, below 10^9 and with at most {RATE_DECIMALS_MAX} decimals: "1.0845"'
)


class RateOrigin(StrEnum):
    """Where a rate comes from. The words are part of the public interface of every `explain`."""

    CRM = "crm"
    """The source itself converted the amount."""
    DAILY = "daily"
    """The tenant's rate in force on the deal's day."""
    FIXED = "fixed"
    """The rate that the metric or the plan fixes."""


def parse_rate(value: str | int | Decimal, *, pointer: str = "/rate") -> Decimal:
    """A decimal above 0, below 10^9, with at most ten decimals, or InvalidInput naming `pointer`."""
    rate = read_decimal(value)
    if rate is None:
        raise InvalidInput.field(pointer, f"{value!r} is not a number", _ACCEPTED_RATE)
    if not 0 < rate < RATE_LIMIT or not has_decimals_at_most(rate, RATE_DECIMALS_MAX):
        raise InvalidInput.field(pointer, f"{value!r} is out of range", _ACCEPTED_RATE)
    return rate


def converted(amount: Decimal, rate: Decimal) -> Decimal:
    """`amount` × `rate`, to the last digit."""
    return _EXACT.multiply(amount, rate)


def implied_rate(amount: Decimal, converted_amount: Decimal) -> Decimal | None:
    """What rate a conversion came down to, for people to read: rounded to ten decimals; None for an amount of 0."""
    if not amount:
        return None
    return _EXACT.quantize(_EXACT.divide(converted_amount, amount), Decimal(1).scaleb(-RATE_DECIMALS_MAX))


class Rate(NamedTuple):
    """A rate in force, and the day it was stated for: of a rate worked out of two others, the day of the older."""

    rate: Decimal
    stated_on: date


class RateSpan(NamedTuple):
    """From `start` up to, not including, `end`, a unit of `currency` is `rate` units of the target currency."""

    currency: str
    start: date
    end: date
    rate: Decimal
    stated_on: date


@dataclass(frozen=True, slots=True)
class RatesInto:
    """Every rate into one currency on the days of one period, by currency and day.

    Two are equal when on every day a unit of every currency is worth the same, whenever that was stated.
    """

    spans: tuple[RateSpan, ...] = field(default=(), compare=False)
    digest: bytes = b""


NO_RATES_INTO: Final = RatesInto()


class _Timeline(NamedTuple):
    """From each day of `starts` on the rate at the same place is in force; before the first there is none."""

    starts: Sequence[date]
    rates: Sequence[Rate | None]

    def on(self, day: date) -> Rate | None:
        place = bisect_right(self.starts, day)
        return self.rates[place - 1] if place else None


class ExchangeRates:
    """The daily rates of one tenant. Never changed: a change of a rate makes another one.

    Each rate goes with the home currency it was stated in, so that a change of the home currency misreads none. A
    conversion goes by way of the home currency of the day; where that has no rate for the day, by way of another one
    that rates were stated in, in the order of their names.
    """

    def __init__(
        self,
        home_currency: str | None = None,
        stated: Mapping[tuple[str, str], Mapping[date, Decimal]] | None = None,
        home_changes: Sequence[tuple[date, str]] = (),
    ) -> None:
        """`stated`: (home currency, currency) → day → rate. `home_changes`: from a day on another home, in order."""
        self._stated = {
            pair: _Timeline(days, [Rate(rates[day], day) for day in days])
            for pair, rates in (stated or {}).items()
            if (days := sorted(rates))
        }
        bases = {base for base, _ in self._stated}
        self._homes = [(date.min, home_currency), *home_changes]
        self._bases = sorted(bases)
        self._currencies = sorted(bases | {currency for _, currency in self._stated})
        self._worked_out: dict[tuple[str, str], _Timeline] = {}
        self._into: dict[tuple[str, Period], RatesInto] = {}

    def rate(self, currency: str, target: str, day: date) -> Rate | None:
        """How many units of `target` one unit of `currency` is on that day; None where there is no rate.

        A currency is worth itself, as of that day.
        """
        if currency == target:
            return Rate(_ONE, day)
        return self._timeline(currency, target).on(day) if self._stated else None

    def home_currency(self, day: date) -> str | None:
        """The currency that is the tenant's own on that day; None as long as no calendar names one."""
        return next(home for start, home in reversed(self._homes) if start <= day)

    def first_difference(self, other: "ExchangeRates") -> date | None:
        """The first day for which something is stated otherwise; on no day before it is anything worth another sum.

        None where all is stated alike.
        """
        return min((day for day, *_ in self._stated_facts() ^ other._stated_facts()), default=None)

    def into(self, target: str, period: Period) -> RatesInto:
        """The rates into `target` on the days of `period`."""
        if not self._stated:
            return NO_RATES_INTO
        key = target, period
        if key not in self._into:
            spans = tuple(
                span
                for currency in self._currencies
                if currency != target
                for span in _spans(currency, self._timeline(currency, target), period)
            )
            self._into[key] = RatesInto(spans, _digest(spans)) if spans else NO_RATES_INTO
        return self._into[key]

    def _timeline(self, currency: str, target: str) -> _Timeline:
        key = currency, target
        if key not in self._worked_out:
            self._worked_out[key] = self._work_out(currency, target)
        return self._worked_out[key]

    def _work_out(self, currency: str, target: str) -> _Timeline:
        days = {
            day
            for base in self._bases
            for pair in ((base, currency), (base, target))
            for day in (self._stated[pair].starts if pair in self._stated else ())
        }
        if days:
            days.update(day for day, _ in self._homes[1:])
        starts: list[date] = []
        rates: list[Rate | None] = []
        for day in sorted(days):
            found = self._by_way_of_any(currency, target, day)
            if not rates or rates[-1] != found:
                starts.append(day)
                rates.append(found)
        return _Timeline(starts, rates)

    def _by_way_of_any(self, currency: str, target: str, day: date) -> Rate | None:
        home = self.home_currency(day)
        for base in sorted(self._bases, key=lambda base: base != home):
            one, other = self._in_base(base, currency, day), self._in_base(base, target, day)
            if one is None or other is None:
                continue
            if target == base:
                return one
            rate = _EXACT.quantize(_EXACT.divide(one.rate, other.rate), _CROSS_RATE_UNIT)
            # Too little to be written in so many decimals is not nothing.
            if rate:
                return Rate(rate, min(one.stated_on, other.stated_on))
        return None

    def _stated_facts(self) -> set[tuple[date, str | None, str, Decimal]]:
        """Every rate and every home currency with the first day it is in force."""
        rates = {
            (start, base, currency, rate.rate)
            for (base, currency), timeline in self._stated.items()
            for start, rate in zip(timeline.starts, timeline.rates, strict=True)
            if rate is not None
        }
        return rates | {(start, home, "", _ONE) for start, home in self._homes}

    def _in_base(self, base: str, currency: str, day: date) -> Rate | None:
        if currency == base:
            return Rate(_ONE, date.max)
        timeline = self._stated.get((base, currency))
        return None if timeline is None else timeline.on(day)


NO_RATES: Final = ExchangeRates()


def _spans(currency: str, timeline: _Timeline, period: Period) -> Iterable[RateSpan]:
    first = max(0, bisect_right(timeline.starts, period.start) - 1)
    for place in range(first, len(timeline.starts)):
        start = max(timeline.starts[place], period.start)
        if start >= period.end:
            return
        ends = timeline.starts[place + 1] if place + 1 < len(timeline.starts) else period.end
        rate = timeline.rates[place]
        if rate is not None:
            yield RateSpan(currency, start, min(ends, period.end), rate.rate, rate.stated_on)


def _digest(spans: Sequence[RateSpan]) -> bytes:
    """The same for spans that give every currency the same worth on every day."""
    digest = blake2b(digest_size=16)
    before: RateSpan | None = None
    for span in spans:
        if before is None or (before.currency, before.rate, before.end) != (span.currency, span.rate, span.start):
            ended = "" if before is None else f"{before.end};"
            digest.update(f"{ended}{span.currency} {format_amount(span.rate)} {span.start} ".encode())
        before = span
    if before is not None:
        digest.update(f"{before.end};".encode())
    return digest.digest()
