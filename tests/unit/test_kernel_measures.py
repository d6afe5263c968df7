from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from shared.kernel.activities import (
    ACTIVITY_FIELDS,
    ActivityFacts,
    ActivityStatus,
    ActivityType,
)
from shared.kernel.deals import DEAL_FIELDS, DateField, DealFacts, DealKind, DealStatus, Instalment, RecordVersion
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import EVERYTHING, Condition, Filter, Operator, parse_filter
from shared.kernel.measures import Aggregate, Counted, Exclusion, Measure, NotCounted, Whole
from shared.kernel.parts import parts_of
from shared.kernel.periods import FiscalCalendar
from shared.kernel.records import RecordFacts, RecordKind

SHANGHAI = FiscalCalendar(time_zone="Asia/Shanghai")
WON = parse_filter({"field": "status", "op": "eq", "value": "won"}, DEAL_FIELDS)
DEAL = DealFacts(
    deal_id=UUID(int=1),
    source="pipedrive",
    external_id="746",
    version=RecordVersion(datetime(2026, 3, 31, tzinfo=UTC), 0, UUID(int=9)),
    kind=DealKind.UPSERTED,
    status=DealStatus.WON,
    amount=Decimal("60000.10"),
    currency="USD",
    quantity=Decimal(12),
    created_at=datetime(2026, 1, 5, 20, 0, tzinfo=UTC),
    expected_close_on=date(2026, 4, 15),
    closed_at=datetime(2026, 3, 31, 18, 40, tzinfo=UTC),
    account_id="2",
    custom={"tier": "gold"},
)
BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, WON, "USD")


def counted(measure: Measure, facts: RecordFacts, calendar: FiscalCalendar) -> Counted | NotCounted:
    """What becomes of a record of one part."""
    found = parts_of(measure, facts, calendar)
    if isinstance(found, NotCounted):
        return found
    (part,) = found
    return part.outcome


def test_a_sum_counts_the_amount_on_the_business_date_of_the_zone() -> None:
    assert counted(BOOKINGS, DEAL, SHANGHAI) == Counted(Decimal("60000.10"), date(2026, 4, 1))
    assert counted(BOOKINGS, DEAL, FiscalCalendar()) == Counted(Decimal("60000.10"), date(2026, 3, 31))


def test_a_date_the_source_states_as_such_is_taken_as_it_is() -> None:
    assert counted(BOOKINGS, DEAL._replace(closed_on=date(2026, 3, 31)), SHANGHAI) == Counted(
        Decimal("60000.10"), date(2026, 3, 31)
    )


def test_a_restored_deal_counts_again() -> None:
    assert isinstance(counted(BOOKINGS, DEAL._replace(kind=DealKind.RESTORED), SHANGHAI), Counted)


@pytest.mark.parametrize(
    ("date_field", "day"),
    [(DateField.CREATED, date(2026, 1, 6)), (DateField.EXPECTED_CLOSE, date(2026, 4, 15))],
)
def test_a_measure_counts_on_the_day_its_date_field_names(date_field: DateField, day: date) -> None:
    assert counted(Measure(Aggregate.COUNT, None, date_field), DEAL, SHANGHAI) == Counted(Decimal(1), day)


def test_distinct_names_the_value_that_makes_it_distinct() -> None:
    accounts = Measure(Aggregate.DISTINCT, "account_id", DateField.CLOSED)
    tiers = Measure(Aggregate.DISTINCT, "custom.tier", DateField.CLOSED)
    assert counted(accounts, DEAL, SHANGHAI) == Counted(Decimal(1), date(2026, 4, 1), "2")
    assert counted(tiers, DEAL, SHANGHAI) == Counted(Decimal(1), date(2026, 4, 1), "gold")
    assert counted(tiers, DEAL._replace(custom={}), SHANGHAI) == NotCounted(Exclusion.NO_VALUE)


@pytest.mark.parametrize(
    ("deal", "reason"),
    [
        (DEAL._replace(kind=DealKind.DELETED), Exclusion.DELETED),
        (DEAL._replace(kind=DealKind.MERGED), Exclusion.MERGED),
        (DEAL._replace(closed_at=None), Exclusion.NO_DATE),
        (DEAL._replace(amount=None), Exclusion.NO_VALUE),
        (DEAL._replace(currency="EUR"), Exclusion.CURRENCY_DIFFERS),
        (DEAL._replace(currency=None), Exclusion.NO_CURRENCY),
    ],
)
def test_a_deal_that_adds_nothing_says_why(deal: DealFacts, reason: Exclusion) -> None:
    assert counted(BOOKINGS, deal, SHANGHAI) == NotCounted(reason)


def test_a_deal_that_fails_the_filter_says_which_part() -> None:
    assert counted(BOOKINGS, DEAL._replace(status=DealStatus.LOST), SHANGHAI) == NotCounted(
        Exclusion.FILTER, Condition("status", Operator.EQ, ("won",))
    )


def test_a_ratio_is_counted_on_both_sides_and_says_what_keeps_a_deal_out_of_the_numerator() -> None:
    large = Condition("amount", Operator.GTE, (Decimal(10**9),))
    (deal,) = (each.outcome for each in whole(ratio(None, large)))
    assert deal == Counted(Decimal(0), date(2026, 4, 1), denominator=Decimal(1), failing=large)
    (money,) = (each.outcome for each in whole(ratio("quantity", WON)))
    assert money == Counted(Decimal(12), date(2026, 4, 1), denominator=Decimal(12))


def test_an_average_is_by_how_many_deals_there_are() -> None:
    (deal,) = (each.outcome for each in whole(Measure(Aggregate.AVERAGE, "quantity", DateField.CLOSED)))
    assert deal == Counted(Decimal(12), date(2026, 4, 1), denominator=Decimal(1))


def test_an_average_of_what_was_paid_is_by_deal_and_not_by_payment() -> None:
    with pytest.raises(InvalidInput, match="/date_field"):
        Measure(Aggregate.AVERAGE, "paid_amount", DateField.PAID, currency="USD")
    paid = DEAL._replace(payments=(Instalment(date(2026, 3, 1), Decimal(1)), Instalment(date(2026, 3, 2), Decimal(2))))
    measure = Measure(Aggregate.AVERAGE, "paid_amount", DateField.CLOSED, currency=DEAL.currency)
    (all_of_it,) = (each.outcome for each in whole(measure, paid))
    assert all_of_it == Counted(Decimal(3), date(2026, 4, 1), denominator=Decimal(1))


def test_only_sums_of_money_and_counts_are_measured_in_money_and_records() -> None:
    average = Measure(Aggregate.AVERAGE, "amount", DateField.CLOSED, currency="USD")
    units = [BOOKINGS.unit, average.unit, ratio(None, WON).unit]
    assert [str(unit) for unit in units] == ["money in USD", "an average of USD", "a ratio"]
    assert len(set(units)) == 3


def ratio(value_field: str | None, numerator_filter: Filter) -> Measure:
    return Measure(Aggregate.RATIO, value_field, DateField.CLOSED, numerator_filter=numerator_filter)


def whole(measure: Measure, deal: DealFacts = DEAL) -> tuple[Whole, ...]:
    found = measure.wholes(deal, SHANGHAI)
    assert not isinstance(found, NotCounted)
    return found


def test_a_sum_of_quantities_asks_for_no_currency() -> None:
    units = Measure(Aggregate.SUM, "quantity", DateField.CLOSED)
    assert counted(units, DEAL._replace(currency="EUR"), SHANGHAI) == Counted(Decimal(12), date(2026, 4, 1))


@pytest.mark.parametrize(
    ("aggregate", "value_field", "currency", "pointer"),
    [
        (Aggregate.SUM, None, "USD", "/value_field"),
        (Aggregate.SUM, "stage", "USD", "/value_field"),
        (Aggregate.SUM, "custom.amount", "USD", "/value_field"),
        (Aggregate.SUM, "amount", None, "/currency"),
        (Aggregate.SUM, "amount", "dollars", "/currency"),
        (Aggregate.SUM, "quantity", "USD", "/currency"),
        (Aggregate.COUNT, "amount", None, "/value_field"),
        (Aggregate.COUNT, None, "USD", "/currency"),
        (Aggregate.DISTINCT, None, None, "/value_field"),
        (Aggregate.DISTINCT, "amount", None, "/value_field"),
        (Aggregate.DISTINCT, "custom.", None, "/value_field"),
        (Aggregate.DISTINCT, "custom.a\0", None, "/value_field"),
        (Aggregate.RATIO, None, None, "/numerator_filter"),
        (Aggregate.RATIO, "stage", None, "/value_field"),
        (Aggregate.RATIO, "amount", None, "/currency"),
        (Aggregate.AVERAGE, None, None, "/value_field"),
        (Aggregate.AVERAGE, "amount", None, "/currency"),
        (Aggregate.AVERAGE, "quantity", "USD", "/currency"),
    ],
)
def test_a_measure_that_cannot_be_worked_out_is_refused_by_name(
    aggregate: Aggregate, value_field: str | None, currency: str | None, pointer: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        Measure(aggregate, value_field, DateField.CLOSED, currency=currency)
    assert refused.value.fields[0].pointer == pointer


def test_every_field_a_filter_may_name_can_be_read_from_a_deal() -> None:
    for name in DEAL_FIELDS.described.removesuffix(", custom.<name>").split(", "):
        DEAL.value_of(name)
    assert DEAL.value_of("type") is None
    assert DEAL.value_of("custom.tier") == "gold"


def test_a_deals_version_orders_by_modified_time_then_sequence_then_delivery() -> None:
    earlier, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    ordered = [
        RecordVersion(earlier, 5, UUID(int=9)),
        RecordVersion(later, 0, UUID(int=3)),
        RecordVersion(later, 1, UUID(int=1)),
        RecordVersion(later, 1, UUID(int=2)),
    ]
    assert sorted([*ordered[2:], *ordered[:2]]) == ordered


CALL = ActivityFacts(
    activity_id=UUID(int=2),
    source="pipedrive",
    external_id="9031",
    version=RecordVersion(datetime(2026, 3, 31, tzinfo=UTC), 0, UUID(int=9)),
    is_deleted=False,
    type=ActivityType.CALL,
    status=ActivityStatus.DONE,
    occurred_at=datetime(2026, 3, 31, 18, 40, tzinfo=UTC),
    duration_seconds=Decimal(660),
    account_id="2",
    custom={"direction": "outbound"},
)
DONE_CALLS = parse_filter(
    {"all": [{"field": "type", "op": "in", "value": ["call"]}, {"field": "status", "op": "eq", "value": "done"}]},
    ACTIVITY_FIELDS,
)


def of_activities(aggregate: Aggregate, value_field: str | None = None, filter: Filter = EVERYTHING) -> Measure:
    return Measure(aggregate, value_field, DateField.OCCURRED, filter, record=RecordKind.ACTIVITY)


def test_an_activity_counts_on_the_day_it_took_place_in_the_zone() -> None:
    calls = of_activities(Aggregate.COUNT, filter=DONE_CALLS)
    assert counted(calls, CALL, SHANGHAI) == Counted(Decimal(1), date(2026, 4, 1))
    assert counted(calls, CALL, FiscalCalendar()) == Counted(Decimal(1), date(2026, 3, 31))
    assert counted(of_activities(Aggregate.SUM, "duration_seconds"), CALL, SHANGHAI) == Counted(
        Decimal(660), date(2026, 4, 1)
    )
    assert counted(of_activities(Aggregate.DISTINCT, "custom.direction"), CALL, SHANGHAI) == Counted(
        Decimal(1), date(2026, 4, 1), "outbound"
    )


@pytest.mark.parametrize(
    ("activity", "reason"),
    [
        (CALL._replace(is_deleted=True), Exclusion.DELETED),
        (CALL._replace(status=ActivityStatus.PLANNED), Exclusion.FILTER),
        (CALL._replace(type=ActivityType.MEETING), Exclusion.FILTER),
        (CALL._replace(occurred_at=None), Exclusion.NO_DATE),
        (CALL._replace(duration_seconds=None), Exclusion.NO_VALUE),
    ],
)
def test_an_activity_that_does_not_count_says_why(activity: ActivityFacts, reason: Exclusion) -> None:
    outcome = counted(of_activities(Aggregate.SUM, "duration_seconds", DONE_CALLS), activity, SHANGHAI)
    assert isinstance(outcome, NotCounted)
    assert outcome.reason is reason


def test_the_filter_alone_says_which_activities_count() -> None:
    planned = CALL._replace(status=ActivityStatus.PLANNED)
    assert counted(of_activities(Aggregate.COUNT), planned, SHANGHAI) == Counted(Decimal(1), date(2026, 4, 1))
