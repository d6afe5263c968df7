"""What a record adds, part by part: each with its person, its day and its value."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.deals import DateField, DealFacts, DealKind, DealStatus, Instalment, RecordVersion, Split
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import (
    Aggregate,
    Counted,
    Crediting,
    Exclusion,
    Measure,
    NotCounted,
    RatePolicy,
)
from shared.kernel.org import CrmUser
from shared.kernel.parts import Part, parts_of, shares_of
from shared.kernel.periods import FiscalCalendar
from shared.kernel.rates import NO_RATES, ExchangeRates, RateOrigin
from shared.kernel.records import RecordKind

CALENDAR = FiscalCalendar()
CLOSED = date(2026, 3, 2)
MARCH, APRIL = date(2026, 3, 15), date(2026, 4, 10)
DEAL = DealFacts(
    deal_id=UUID(int=1),
    source="crm",
    external_id="1",
    version=RecordVersion(datetime(2026, 3, 2, tzinfo=UTC), 0, UUID(int=9)),
    kind=DealKind.UPSERTED,
    status=DealStatus.WON,
    owner_external_id="ann",
    amount=Decimal(1000),
    currency="USD",
    quantity=Decimal(3),
    account_id="Acme",
    closed_on=CLOSED,
)
SHARED = DEAL._replace(
    splits=(Split("ann", Decimal(50)), Split("ben", Decimal(30), "overlay"), Split("cid", Decimal(20)))
)
PAID = DEAL._replace(payments=(Instalment(MARCH, Decimal(200)), Instalment(APRIL, Decimal(100))))
BOOKED = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
BY_SPLIT = replace(BOOKED, crediting=Crediting.SPLIT)
CASH = Measure(Aggregate.SUM, "paid_amount", DateField.PAID, currency="USD")

Told = tuple[object, object, object]


def parts(measure: Measure, deal: DealFacts, rates: ExchangeRates = NO_RATES) -> list[Part]:
    found = parts_of(measure, deal, CALENDAR, rates)
    assert not isinstance(found, NotCounted), found
    return list(found)


def told(found: list[Part]) -> list[Told]:
    """User, day and value of each, or why it does not count."""
    return [
        (None if part.share.user is None else part.share.user.external_id, part.outcome.day, part.outcome.value)
        if isinstance(part.outcome, Counted)
        else (None if part.share.user is None else part.share.user.external_id, None, part.outcome.reason)
        for part in found
    ]


def test_a_deal_has_one_part_its_owners_whatever_its_splits_say_of_it() -> None:
    assert told(parts(BOOKED, DEAL)) == [("ann", CLOSED, Decimal(1000))]
    assert told(parts(BOOKED, SHARED)) == [("ann", CLOSED, Decimal(1000))]
    assert told(parts(BOOKED, DEAL._replace(owner_external_id=None))) == [(None, CLOSED, Decimal(1000))]


def test_a_deal_has_one_part_a_split_where_the_measure_credits_by_splits() -> None:
    assert told(parts(BY_SPLIT, SHARED)) == [("ann", CLOSED, 500), ("ben", CLOSED, 300), ("cid", CLOSED, 200)]
    assert shares_of(BY_SPLIT, SHARED)[1].user == CrmUser("crm", "ben")
    assert told(parts(BY_SPLIT, DEAL)) == [("ann", CLOSED, Decimal(1000))]


def test_a_role_narrows_the_splits_and_leaves_a_deal_without_splits_to_its_owner() -> None:
    overlay = replace(BY_SPLIT, role="overlay")
    other = Exclusion.OTHER_ROLE
    assert told(parts(overlay, SHARED)) == [("ann", None, other), ("ben", CLOSED, 300), ("cid", None, other)]
    assert told(parts(overlay, DEAL)) == [("ann", CLOSED, Decimal(1000))]
    nothing = DEAL._replace(splits=(Split("ann", Decimal(0)),))
    assert told(parts(BY_SPLIT, nothing)) == [("ann", None, Exclusion.NO_SHARE)]


def test_a_payment_counts_on_its_own_day_and_one_that_goes_back_takes_back_on_its_own() -> None:
    assert told(parts(CASH, PAID)) == [("ann", MARCH, 200), ("ann", APRIL, 100)]
    returned = PAID._replace(payments=(*PAID.payments, Instalment(date(2026, 5, 4), Decimal(-100))))
    assert told(parts(CASH, returned))[2] == ("ann", date(2026, 5, 4), -100)
    assert [part.paid_on for part in parts(CASH, returned)] == [MARCH, APRIL, date(2026, 5, 4)]


def test_of_the_amount_counts_what_was_paid_of_it_where_it_counts_when_it_is_paid() -> None:
    assert told(parts(replace(BOOKED, date_field=DateField.PAID), PAID)) == told(parts(CASH, PAID))


def test_what_was_paid_for_a_deal_counts_on_the_deals_day_where_the_measure_says_so() -> None:
    assert told(parts(replace(CASH, date_field=DateField.CLOSED), PAID)) == [("ann", CLOSED, 200), ("ann", CLOSED, 100)]


@pytest.mark.parametrize("aggregate", [Aggregate.COUNT, Aggregate.DISTINCT])
def test_a_deal_that_is_counted_when_it_is_paid_counts_once_on_the_day_of_its_first_payment(
    aggregate: Aggregate,
) -> None:
    measure = Measure(aggregate, "account_id" if aggregate is Aggregate.DISTINCT else None, DateField.PAID)
    assert told(parts(measure, PAID)) == [("ann", MARCH, 1)]
    assert parts_of(measure, DEAL, CALENDAR) == NotCounted(Exclusion.NO_DATE)


def test_a_deal_with_splits_and_payments_has_a_part_for_each_split_of_each_payment() -> None:
    both = SHARED._replace(payments=PAID.payments)
    assert told(parts(replace(CASH, crediting=Crediting.SPLIT), both)) == [
        ("ann", MARCH, 100),
        ("ben", MARCH, 60),
        ("cid", MARCH, 40),
        ("ann", APRIL, 50),
        ("ben", APRIL, 30),
        ("cid", APRIL, 20),
    ]


def test_a_count_is_shared_and_a_distinct_value_is_had() -> None:
    count = Measure(Aggregate.COUNT, None, DateField.CLOSED, crediting=Crediting.SPLIT)
    assert [value for _, _, value in told(parts(count, SHARED))] == [Decimal("0.5"), Decimal("0.3"), Decimal("0.2")]
    accounts = Measure(Aggregate.DISTINCT, "account_id", DateField.CLOSED, crediting=Crediting.SPLIT)
    assert [value for _, _, value in told(parts(accounts, SHARED))] == [1, 1, 1]


def test_a_payment_is_converted_at_the_rate_of_its_own_day() -> None:
    rates = ExchangeRates("USD", {("USD", "EUR"): {MARCH: Decimal("1.10"), APRIL: Decimal("1.25")}})
    euros = PAID._replace(currency="EUR", home_amount=Decimal(7), home_currency="USD")
    found = parts(replace(CASH, rate_policy=RatePolicy.DEAL_DATE), euros, rates)
    assert told(found) == [("ann", MARCH, 220), ("ann", APRIL, 125)]
    conversions = [part.outcome.conversion for part in found if isinstance(part.outcome, Counted)]
    assert [(each.amount, each.rate, each.origin) for each in conversions if each is not None] == [
        (Decimal(200), Decimal("1.10"), RateOrigin.DAILY),
        (Decimal(100), Decimal("1.25"), RateOrigin.DAILY),
    ]
    early = euros._replace(payments=(Instalment(CLOSED, Decimal(5)), *euros.payments))
    refused = told(parts(replace(CASH, rate_policy=RatePolicy.DEAL_DATE), early, rates))
    assert [value for _, _, value in refused] == [Exclusion.NO_EXCHANGE_RATE, 220, 125]


@pytest.mark.parametrize(
    ("deal", "reason"),
    [
        (SHARED._replace(kind=DealKind.DELETED), Exclusion.DELETED),
        (SHARED._replace(kind=DealKind.MERGED), Exclusion.MERGED),
        (SHARED._replace(closed_on=None), Exclusion.NO_DATE),
    ],
)
def test_a_deal_that_adds_nothing_whoever_has_it_has_no_parts(deal: DealFacts, reason: Exclusion) -> None:
    assert parts_of(BY_SPLIT, deal, CALENDAR) == NotCounted(reason)


@given(
    st.decimals(-(10**14), 10**14, places=6),
    st.lists(st.decimals(0, 100, places=6), min_size=1, max_size=6),
    st.lists(st.tuples(st.dates(date(2026, 1, 1), date(2026, 12, 31)), st.decimals(-(10**9), 10**9, places=6))),
)
def test_shares_that_total_the_whole_are_the_whole_to_the_last_digit(
    amount: Decimal, percents: list[Decimal], payments: list[tuple[date, Decimal]]
) -> None:
    total = sum(percents, Decimal(0))
    last = Split("zoe", max(Decimal(0), 100 - total))
    deal = DEAL._replace(
        amount=amount,
        splits=(*(Split(str(user), percent) for user, percent in enumerate(percents)), last),
        payments=tuple(Instalment(day, paid) for day, paid in payments),
    )
    share = Fraction(sum((split.percent for split in deal.splits), Decimal(0))) / 100
    assert _total(BY_SPLIT, deal) == Fraction(amount) * share
    if payments:
        paid = sum(Fraction(each) for _, each in payments)
        assert _total(replace(CASH, crediting=Crediting.SPLIT), deal) == paid * share


def _total(measure: Measure, deal: DealFacts) -> Fraction:
    return sum(
        (Fraction(part.outcome.value) for part in parts(measure, deal) if isinstance(part.outcome, Counted)),
        Fraction(0),
    )


def test_activities_are_their_owners_and_a_role_is_of_splits_only() -> None:
    with pytest.raises(InvalidInput) as refused:
        Measure(Aggregate.COUNT, None, DateField.OCCURRED, record=RecordKind.ACTIVITY, crediting=Crediting.SPLIT)
    assert refused.value.fields[0].pointer == "/crediting"
    with pytest.raises(InvalidInput) as refused:
        replace(BOOKED, role="overlay")
    assert refused.value.fields[0].pointer == "/role"
