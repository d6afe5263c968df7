"""Terms that can never be right are refused where they are stated."""

import pytest

from shared.kernel.deals import DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import parse_filter
from shared.kernel.measures import Aggregate, Measure, RatePolicy, fixed_rates_of
from shared.kernel.money import currency_minor_units, known_currency
from shared.kernel.records import RECORD_TYPES, RecordKind
from shared.kernel.vocabulary import check_terms_can_count


def counting(filter_json: object, record: RecordKind = RecordKind.DEAL) -> Measure:
    kind = RECORD_TYPES[record]
    checked = parse_filter(filter_json, kind.fields)
    return Measure(Aggregate.COUNT, None, kind.days[0], checked, record=record)


def condition(field: str, op: str, value: object) -> dict[str, object]:
    return {"field": field, "op": op, "value": value}


@pytest.mark.parametrize(
    ("filter_json", "pointer"),
    [
        (condition("status", "eq", "Won"), "/filter/value"),
        ({"all": [condition("amount", "gt", "1"), condition("status", "ne", "closed")]}, "/filter/all/1/value"),
        ({"any": [{"all": [condition("status", "in", ["won", "WON"])]}]}, "/filter/any/0/all/0/value/1"),
        (condition("status", "starts_with", "x"), "/filter/value"),
        (condition("currency", "eq", "XQX"), "/filter/value"),
    ],
)
def test_a_word_that_no_deal_can_have_is_refused_with_its_place_and_the_words_there_are(
    filter_json: object, pointer: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_terms_can_count(counting(filter_json))
    (field,) = refused.value.fields
    assert field.pointer == pointer
    assert field.accepted


@pytest.mark.parametrize(
    "filter_json",
    [
        condition("status", "eq", "won"),
        condition("status", "contains", "O"),
        condition("status", "exists", True),
        condition("stage", "eq", "Won"),
        condition("currency", "starts_with", "X"),
        condition("home_currency", "in", ["EUR", "HRK"]),
    ],
)
def test_words_that_deals_have_are_taken(filter_json: object) -> None:
    check_terms_can_count(counting(filter_json))


def test_activities_have_words_of_their_own() -> None:
    check_terms_can_count(counting(condition("status", "eq", "done"), RecordKind.ACTIVITY))
    with pytest.raises(InvalidInput, match="never the type"):
        check_terms_can_count(counting(condition("type", "eq", "phone"), RecordKind.ACTIVITY))


def test_money_in_what_is_no_currency_is_refused_and_what_looks_alike_is_named() -> None:
    def money(currency: str, rates: dict[str, str] | None = None) -> Measure:
        policy = RatePolicy.FIXED if rates else RatePolicy.NONE
        return Measure(
            Aggregate.SUM,
            "amount",
            DateField.CLOSED,
            currency=currency,
            rate_policy=policy,
            fixed_rates=fixed_rates_of(rates),
        )

    check_terms_can_count(money("CNY", {"HRK": "1.1"}))
    with pytest.raises(InvalidInput) as refused:
        check_terms_can_count(money("CNX"))
    assert refused.value.fields[0].pointer == "/currency"
    assert "CNY" in str(refused.value.fields[0].accepted)
    with pytest.raises(InvalidInput) as refused:
        check_terms_can_count(money("USD", {"XQX": "2"}))
    assert refused.value.fields[0].pointer == "/fixed_rates/XQX"


@pytest.mark.parametrize("code", ["XQX", "XAU", "XXX", "XTS"])
def test_codes_that_nobody_is_paid_in_are_no_currencies(code: str) -> None:
    with pytest.raises(InvalidInput):
        known_currency(code)


@pytest.mark.parametrize(("code", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0), ("HRK", 2)])
def test_minor_units_are_those_of_iso_4217(code: str, digits: int) -> None:
    assert currency_minor_units(code) == digits
