"""What one record adds to a number, all of it: `parts` decides who gets which part. Progress and pay share the rule.

A measure is `sum` of a number field, `count`, or `distinct` values of a text field, over the deals or the activities
that pass a filter, on the day a date field names. Two divide one sum by another: `average` the sum of a number field by
how many records have it, `ratio` what counts of the records that pass a second filter by what counts of all of them. A
record adds to both sides, so that parts, people and teams are added up on each before anything is divided.

Money has the measure's currency. A deal in another one counts by the measure's rate policy: not at all, at what the CRM
itself made of its amount or else the tenant's rate of the deal's day, or at rates fixed with the measure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from shared.kernel.deals import CUSTOM_FAMILY, DateField, DealFacts, Instalment
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import EVERYTHING, FieldType, Filter, Value, first_failing, predicate
from shared.kernel.money import parse_currency
from shared.kernel.periods import FiscalCalendar
from shared.kernel.rates import NO_RATES, ExchangeRates, RateOrigin, converted, implied_rate, parse_rate
from shared.kernel.records import RECORD_TYPES, RecordFacts, RecordKind, RecordType
from shared.kernel.text import composed
from shared.kernel.words import shown

CRM_CONVERTED_FIELD = "amount"
"""The one money field that a source may have converted itself, into `home_amount`."""

INSTALMENT_FIELDS: Mapping[DateField, str] = {DateField.PAID: "paid_amount", DateField.INVOICED: "invoiced_amount"}
"""The days of which a deal may have many, each with its own amount, and the sum of those amounts."""
_INSTALMENTS_OF = {name: day for day, name in INSTALMENT_FIELDS.items()}
_ONE_OF = {DateField.PAID: "payment", DateField.INVOICED: "invoice"}
MONEY_FIELDS = frozenset({CRM_CONVERTED_FIELD, *_INSTALMENTS_OF})

FIXED_RATES_MAX = 200
_ZERO = Decimal(0)
_ONE = Decimal(1)


class Crediting(StrEnum):
    """Who gets how much of a record."""

    OWNER = "owner"
    """All of it for the deal's owner, whatever its splits say."""
    SPLIT = "split"
    """To each what the deal's splits say; all of it for the owner of a deal without splits."""
    ROLLUP = "rollup"
    """For a manager, the shares of everyone who was in the subtree of a managed team on the deal's day."""
    TEAM = "team"
    """For a member, the shares of everyone who was, on the deal's day, in a team of the member or in one below it."""


class Aggregate(StrEnum):
    """How records become one number."""

    SUM = "sum"
    COUNT = "count"
    DISTINCT = "distinct"
    RATIO = "ratio"
    """In percent: what counts of the records that pass the numerator's filter too, of what counts of all."""
    AVERAGE = "average"
    CHILDREN = "children"
    """No records: the attainment of the goals that are its parts, each by its weight, in percent."""
    STATED = "stated"
    """No records: values that somebody states, since no CRM knows them."""

    @property
    def is_quotient(self) -> bool:
        """Whether records add to a numerator and a denominator, and the number is one by the other."""
        return self in (Aggregate.RATIO, Aggregate.AVERAGE)

    @property
    def counts_records(self) -> bool:
        """Whether deals or activities become the number."""
        return self not in (Aggregate.CHILDREN, Aggregate.STATED)


class Combine(StrEnum):
    """How the values that are stated of a goal become one number."""

    LATEST = "latest"
    """That of the last day; of several of one day the one that was stated last."""
    SUM = "sum"
    AVERAGE = "average"


class RatePolicy(StrEnum):
    """How money in another currency than the measure's counts."""

    NONE = "none"
    """Not at all."""
    DEAL_DATE = "deal_date"
    """At what the CRM made of the amount, where that is in the measure's currency, else at the rate of the day."""
    FIXED = "fixed"
    """At the rate the measure fixes for the currency, if it does."""


class Exclusion(StrEnum):
    """Why a deal adds nothing. The words are part of the public interface of every `explain`."""

    DELETED = "deleted"
    MERGED = "merged"
    FILTER = "filter_not_met"
    NO_DATE = "no_date"
    NO_VALUE = "no_value"
    NO_CURRENCY = "no_currency"
    """It is an amount of nobody knows what."""
    CURRENCY_DIFFERS = "currency_differs"
    """The measure counts its own currency only."""
    NO_EXCHANGE_RATE = "no_exchange_rate"
    """The measure would convert, and there is no rate for it."""
    OWNER_MISSING = "owner_missing"
    """The source names no owner."""
    OWNER_UNMAPPED = "owner_unmapped"
    """No identity names the owner."""
    SPLIT_UNMAPPED = "split_user_unmapped"
    """No identity names the user of a share, and it may be the one that would count."""
    OWNER_NOT_MEMBER = "owner_not_member_on_date"
    OUTSIDE_PERIOD = "outside_period"
    OTHER_ROLE = "other_role"
    """Only splits with another role count."""
    NO_SHARE = "no_share"
    """The split is one of 0 %."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How an amount in another currency became one in the measure's.

    A daily or fixed `rate` is the exact one; what the CRM's own two amounts come down to is rounded to ten decimals,
    and None for an amount of 0. `stated_on` is the day a daily rate was stated for.
    """

    amount: Decimal
    currency: str | None
    rate: Decimal | None
    stated_on: date | None
    origin: RateOrigin


@dataclass(frozen=True, slots=True)
class Counted:
    """What a deal adds: `value` (1 for count and distinct), the day it counts on, the value that makes it distinct.

    Of a quotient `value` is what it adds to the numerator, and `denominator` to the other side.
    """

    value: Decimal
    day: date
    distinct_value: str | None = None
    conversion: Conversion | None = None
    """How money in another currency was converted."""
    denominator: Decimal | None = None
    failing: Filter | None = None
    """The part of a ratio's numerator filter that it does not pass: it adds to the denominator alone."""


class Unit(NamedTuple):
    """What a number counts: `money` of a currency, the `sum` or the `distinct` values of a field, or a `count`.

    A `ratio`, and an `average` of a currency's money or of a field, is none of these.
    """

    kind: str
    of: str | None

    def __str__(self) -> str:
        match self.kind:
            case "money":
                return f"money in {self.of}"
            case "count":
                return "a number of records"
            case "distinct":
                return f"different values of {self.of}"
            case "ratio":
                return "a ratio"
            case "average":
                return f"an average of {self.of}"
            case Aggregate.CHILDREN:
                return "the attainment of other goals"
            case Aggregate.STATED:
                return "stated values"
            case _:
                return f"a sum of {self.of}"


class Added(NamedTuple):
    """The part of `Counted` that does not depend on days."""

    value: Decimal
    distinct_value: str | None
    denominator: Decimal | None = None


_ONE_MORE = Added(_ONE, None)


@dataclass(frozen=True, slots=True)
class NotCounted:
    """Why a deal adds nothing; `failing` is the part of the filter it did not pass."""

    reason: Exclusion
    failing: Filter | None = None


class Whole(NamedTuple):
    """One payment or invoice, or all of a record that is not counted by these, before anybody takes a share."""

    instalment_on: date | None
    outcome: Counted | NotCounted


@dataclass(frozen=True, slots=True)
class Measure:
    """A checked definition. `currency` is set exactly when money is summed.

    A ratio has a `numerator_filter`, and counts records on both sides, or sums `value_field` where it has one.
    `fixed_rates`, by currency in order, are units of the measure's currency for one of each; only with policy `fixed`.
    `crediting` decides whose number a record moves, and `role` narrows the splits that count; both are of deals only.
    `combine` is of stated values alone. What counts no records has of all this nothing else.
    """

    aggregate: Aggregate
    value_field: str | None
    date_field: DateField
    filter: Filter = EVERYTHING
    currency: str | None = None
    rate_policy: RatePolicy = RatePolicy.NONE
    fixed_rates: tuple[tuple[str, Decimal], ...] = ()
    record: RecordKind = RecordKind.DEAL
    crediting: Crediting = Crediting.OWNER
    role: str | None = None
    numerator_filter: Filter | None = None
    combine: Combine | None = None

    def __post_init__(self) -> None:
        for name, text in (("value_field", self.value_field), ("role", self.role)):
            if text is not None:
                object.__setattr__(self, name, composed(text))
        self._check_without_records()
        record = self.record_type
        if self.date_field not in record.days:
            raise InvalidInput.field(
                "/date_field", f"{self.date_field} is not a day of a record {self.record}", ", ".join(record.days)
            )
        self._check_value_field(record)
        if self.sums_money and self.currency is None:
            raise InvalidInput.field("/currency", "is missing for a sum of money", "an ISO 4217 code such as USD")
        if not self.sums_money and self.currency is not None:
            raise InvalidInput.field("/currency", "is only for sums of money", "null")
        if self.currency is not None:
            parse_currency(self.currency)
        self._check_rates()
        self._check_crediting()
        if (self.numerator_filter is None) is (self.aggregate is Aggregate.RATIO):
            is_missing = self.numerator_filter is None
            raise InvalidInput.field(
                "/numerator_filter",
                "is missing for a ratio" if is_missing else "is only for a ratio",
                "the filter that the records of the numerator pass too" if is_missing else "null",
            )

    def _check_value_field(self, record: RecordType) -> None:
        sums = self.aggregate in (Aggregate.SUM, Aggregate.AVERAGE) or (
            self.aggregate is Aggregate.RATIO and self.value_field is not None
        )
        if sums and self.value_field not in record.fields.numbers:
            raise InvalidInput.field(
                "/value_field", f"{shown(self.value_field)} cannot be summed", ", ".join(record.fields.numbers)
            )
        if self.aggregate is Aggregate.DISTINCT and (
            self.value_field is None or record.fields.type_of(self.value_field) is not FieldType.TEXT
        ):
            raise InvalidInput.field(
                "/value_field",
                f"{shown(self.value_field)} has no distinct values",
                f"a text field or {CUSTOM_FAMILY}<name>",
            )
        if self.aggregate is Aggregate.COUNT and self.value_field is not None:
            raise InvalidInput.field("/value_field", "is not used by a count", "null")
        if self.aggregate is Aggregate.AVERAGE and self.by_instalment:
            raise InvalidInput.field(
                "/date_field",
                f"lets every {_ONE_OF[self.date_field]} count by itself, and an average is by deal",
                ", ".join(day for day in record.days if day not in INSTALMENT_FIELDS),
            )
        own_day = _INSTALMENTS_OF.get(self.value_field or "")
        if self.by_instalment and own_day is not None and own_day is not self.date_field:
            each, other = _ONE_OF[self.date_field], _ONE_OF[own_day]
            raise InvalidInput.field(
                "/date_field",
                f"lets every {each} count by itself, and {self.value_field} is the sum of every {other}",
                ", ".join(day for day in record.days if day not in INSTALMENT_FIELDS or day is own_day),
            )

    def _check_without_records(self) -> None:
        if (self.combine is None) is (self.aggregate is Aggregate.STATED):
            is_missing = self.combine is None
            raise InvalidInput.field(
                "/combine",
                "is missing for stated values" if is_missing else "is only for stated values",
                ", ".join(Combine) if is_missing else "null",
            )
        if self.aggregate.counts_records:
            return
        for name, value, only in (
            ("record", self.record, RecordKind.DEAL),
            ("value_field", self.value_field, None),
            ("date_field", self.date_field, DateField.CLOSED),
            ("filter", self.filter, EVERYTHING),
        ):
            if value != only:
                raise InvalidInput.field(f"/{name}", f"is not used by {self.aggregate}", "to be left out")
        if self.crediting is not Crediting.OWNER:
            raise InvalidInput.field("/crediting", f"is not used by {self.aggregate}", Crediting.OWNER)

    def _check_crediting(self) -> None:
        if self.crediting is not Crediting.OWNER and self.record is not RecordKind.DEAL:
            raise InvalidInput.field("/crediting", f"is not for a record {self.record}", Crediting.OWNER)
        if self.role is not None and self.crediting is Crediting.OWNER:
            raise InvalidInput.field("/role", "is only for splits", "null, or crediting split, rollup or team")

    def _check_rates(self) -> None:
        if not self.sums_money and self.rate_policy is not RatePolicy.NONE:
            raise InvalidInput.field("/rate_policy", "is only for sums of money", RatePolicy.NONE)
        if self.rate_policy is not RatePolicy.FIXED and self.fixed_rates:
            raise InvalidInput.field("/fixed_rates", "is only for the rate policy fixed", "null")
        if self.rate_policy is RatePolicy.FIXED and not 1 <= len(self.fixed_rates) <= FIXED_RATES_MAX:
            raise InvalidInput.field(
                "/fixed_rates", f"has {len(self.fixed_rates)} rates", f"the rates of 1 to {FIXED_RATES_MAX} currencies"
            )
        for currency, rate in self.fixed_rates:
            pointer = f"/fixed_rates/{currency}"
            parse_currency(currency, pointer=pointer)
            parse_rate(rate, pointer=pointer)
            if currency == self.currency:
                raise InvalidInput.field(pointer, "is the metric's own currency", "another one")

    @property
    def record_type(self) -> RecordType:
        """The kind of the records it counts."""
        return RECORD_TYPES[self.record]

    @property
    def sums_money(self) -> bool:
        """Whether what records add is money, whatever the number is."""
        return _sums_money(self.aggregate, self.value_field)

    @property
    def is_money(self) -> bool:
        """Whether the number is an amount of money: a ratio of two is none."""
        return self.sums_money and self.aggregate is not Aggregate.RATIO

    @property
    def adds_up(self) -> bool:
        """Whether the numbers of parts add up to that of the whole; those of rates do not."""
        return self.aggregate in (Aggregate.SUM, Aggregate.COUNT, Aggregate.DISTINCT) or self.combine is Combine.SUM

    @property
    def unit(self) -> Unit:
        """What the number counts. Only numbers of equal units can be measured against one another."""
        if self.aggregate is Aggregate.RATIO:
            return Unit(self.aggregate, None)
        if self.aggregate is Aggregate.AVERAGE:
            return Unit(self.aggregate, self.currency or self.value_field)
        if self.is_money:
            return Unit("money", self.currency)
        return Unit(self.aggregate, self.value_field)

    @property
    def by_instalment(self) -> bool:
        """Whether every payment or invoice counts by itself, on its own day."""
        return self.sums_money and self.date_field in INSTALMENT_FIELDS

    @property
    def instalments(self) -> DateField | None:
        """What it takes a deal apart by, also where all of that counts on one day: payments, invoices or nothing."""
        if not self.sums_money:
            return None
        if self.date_field in INSTALMENT_FIELDS:
            return self.date_field
        # An average counts a deal once, so all that was paid for it is one amount.
        return None if self.aggregate is Aggregate.AVERAGE else _INSTALMENTS_OF.get(self.value_field or "")

    def wholes(
        self, facts: RecordFacts, calendar: FiscalCalendar, rates: ExchangeRates = NO_RATES
    ) -> tuple[Whole, ...] | NotCounted:
        """What a record adds, whoever gets it and whatever the period: by payment or invoice where those are counted.

        What is paid for a deal is returned payment by payment also where all of them count on one day of the deal.
        """
        if facts.is_gone:
            return NotCounted(Exclusion.MERGED if facts.is_merged else Exclusion.DELETED)
        facts = facts.dated(calendar)
        failing = first_failing(self.filter, facts.value_of)
        if failing is not None:
            return NotCounted(Exclusion.FILTER, failing)
        day = facts.day(self.date_field, calendar)
        if day is None:
            return NotCounted(Exclusion.NO_DATE)
        found = self._instalments_of(facts)
        if found:
            return tuple(
                Whole(
                    each.on,
                    self._on_both_sides(
                        facts, self._count_money(facts, each.amount, each.on if self.by_instalment else day, rates)
                    ),
                )
                for each in found
            )
        return (Whole(None, self._on_both_sides(facts, self._count(facts, day, rates))),)

    def _on_both_sides(self, facts: RecordFacts, outcome: Counted | NotCounted) -> Counted | NotCounted:
        """What a quotient makes of what it would sum or count of a record; anything else is what it is."""
        if not self.aggregate.is_quotient or isinstance(outcome, NotCounted):
            return outcome
        if self.numerator_filter is None:
            return replace(outcome, denominator=_ONE)
        failing = first_failing(self.numerator_filter, facts.value_of)
        in_numerator = outcome.value if failing is None else _ZERO
        return replace(outcome, value=in_numerator, denominator=outcome.value, failing=failing)

    def counting_instalments(self, facts: RecordFacts, rates: ExchangeRates) -> Iterator[tuple[date, Added]]:
        """The payments or invoices that count and their days, of a record that is there and passes the filter.

        For a measure that counts by these; agrees with `wholes`.
        """
        on_both_sides = self._sides()
        for each in self._instalments_of(facts):
            outcome = self._count_money(facts, each.amount, each.on, rates)
            if isinstance(outcome, Counted):
                yield each.on, on_both_sides(facts, outcome.value)

    def _instalments_of(self, facts: RecordFacts) -> Sequence[Instalment]:
        match self.instalments:
            case DateField.PAID:
                return facts.payments
            case DateField.INVOICED:
                return facts.invoices
            case _:
                return ()

    def reader(self) -> Callable[[RecordFacts], Added | None]:
        """What a record that is there, passes the filter and has a day adds, prepared once for many records.

        None where it has no such value, or one in another currency: `converter` is for these. Together with those three
        they agree with the sum over `wholes`; of a measure that counts by payment or invoice, for a record with one.
        """
        if self.aggregate is Aggregate.COUNT:
            return lambda _: _ONE_MORE
        if self.aggregate.is_quotient:
            return self._quotient_reader()
        read = self.record_type.reader(self._read_field)
        if self.aggregate is Aggregate.DISTINCT:
            return lambda facts: None if (value := read(facts)) is None else Added(_ONE, str(value))
        if self.is_money:
            currency = self.currency
            return lambda facts: _added(read(facts)) if facts.currency == currency else None
        return lambda facts: _added(read(facts))

    def _quotient_reader(self) -> Callable[[RecordFacts], Added | None]:
        on_both_sides = self._sides()
        if self.value_field is None:
            return lambda facts: on_both_sides(facts, _ONE)
        read, currency = self.record_type.reader(self._read_field), self.currency

        def add(facts: RecordFacts) -> Added | None:
            value = read(facts)
            if not isinstance(value, Decimal) or (currency is not None and facts.currency != currency):
                return None
            return on_both_sides(facts, value)

        return add

    def _sides(self) -> Callable[[RecordFacts, Decimal], Added]:
        """What a value of a record adds, prepared once for many records; agrees with `_on_both_sides`."""
        if not self.aggregate.is_quotient:
            return lambda _, value: Added(value, None)
        if self.numerator_filter is None:
            return lambda _, value: Added(value, None, _ONE)
        is_in_numerator = predicate(self.numerator_filter, self.record_type.reader)
        return lambda facts, value: Added(value if is_in_numerator(facts) else _ZERO, None, value)

    def converter(self, rates: ExchangeRates) -> Callable[[RecordFacts, date], Added | None] | None:
        """What a deal in another currency adds on a day, prepared once for those that `reader` leaves out.

        None where the measure converts nothing.
        """
        if self.rate_policy is RatePolicy.NONE:
            return None
        currency, read = self.currency, self.record_type.reader(self._read_field)
        on_both_sides = self._sides()

        def convert(facts: RecordFacts, day: date) -> Added | None:
            value = read(facts)
            if facts.currency == currency or not isinstance(value, Decimal):
                return None
            outcome = self._count_money(facts, value, day, rates)
            return on_both_sides(facts, outcome.value) if isinstance(outcome, Counted) else None

        return convert

    @property
    def _read_field(self) -> str:
        return INSTALMENT_FIELDS[self.date_field] if self.by_instalment else self.value_field or ""

    def _count(self, facts: RecordFacts, day: date, rates: ExchangeRates) -> Counted | NotCounted:
        if self.value_field is None:
            return Counted(_ONE, day)
        value = facts.value_of(self.value_field)
        if value is None:
            return NotCounted(Exclusion.NO_VALUE)
        if isinstance(value, Decimal):
            return self._count_money(facts, value, day, rates) if self.sums_money else Counted(value, day)
        return Counted(_ONE, day, distinct_value=str(value))

    def _count_money(
        self, facts: RecordFacts, amount: Decimal, day: date, rates: ExchangeRates
    ) -> Counted | NotCounted:
        if facts.currency == self.currency or not isinstance(facts, DealFacts):
            return Counted(amount, day)
        return self._count_converted(facts, amount, day, rates)

    def _count_converted(
        self, deal: DealFacts, amount: Decimal, day: date, rates: ExchangeRates
    ) -> Counted | NotCounted:
        """What money in another currency adds."""
        home = deal.home_amount if self.counts_home_amount and deal.home_currency == self.currency else None
        if deal.currency is None and home is None:
            return NotCounted(Exclusion.NO_CURRENCY)
        if self.rate_policy is RatePolicy.NONE:
            return NotCounted(Exclusion.CURRENCY_DIFFERS)
        if self.rate_policy is RatePolicy.FIXED:
            rate = next((fixed for currency, fixed in self.fixed_rates if currency == deal.currency), None)
            return _counted_at(rate, amount, deal.currency, day, None, RateOrigin.FIXED)
        if home is not None:
            rate = implied_rate(amount, home)
            return Counted(home, day, None, Conversion(amount, deal.currency, rate, None, RateOrigin.CRM))
        if deal.currency is None or self.currency is None:
            return NotCounted(Exclusion.NO_EXCHANGE_RATE)
        daily = rates.rate(deal.currency, self.currency, day)
        if daily is None:
            return NotCounted(Exclusion.NO_EXCHANGE_RATE)
        return _counted_at(daily.rate, amount, deal.currency, day, daily.stated_on, RateOrigin.DAILY)

    @property
    def counts_home_amount(self) -> bool:
        """Whether the source's own conversion of a deal counts: it is stated for the whole amount, not for a part."""
        is_whole = self.value_field == CRM_CONVERTED_FIELD and not self.by_instalment
        return self.rate_policy is RatePolicy.DEAL_DATE and is_whole


def default_rate_policy(aggregate: Aggregate, value_field: str | None) -> RatePolicy:
    """What a metric that is made without saying how other currencies count means by that."""
    return RatePolicy.DEAL_DATE if _sums_money(aggregate, value_field) else RatePolicy.NONE


def _sums_money(aggregate: Aggregate, value_field: str | None) -> bool:
    return value_field in MONEY_FIELDS and aggregate in (Aggregate.SUM, Aggregate.RATIO, Aggregate.AVERAGE)


def fixed_rates_of(rates: Mapping[str, str | Decimal] | None) -> tuple[tuple[str, Decimal], ...]:
    """Fixed rates in the order of their currencies, or InvalidInput below /fixed_rates."""
    return tuple(
        (currency, parse_rate(rate, pointer=f"/fixed_rates/{currency}"))
        for currency, rate in sorted((rates or {}).items())
    )


def _counted_at(
    rate: Decimal | None, amount: Decimal, currency: str | None, day: date, stated_on: date | None, origin: RateOrigin
) -> Counted | NotCounted:
    if rate is None:
        return NotCounted(Exclusion.NO_EXCHANGE_RATE)
    return Counted(converted(amount, rate), day, None, Conversion(amount, currency, rate, stated_on, origin))


def _added(value: Value | None) -> Added | None:
    return Added(value, None) if isinstance(value, Decimal) else None
