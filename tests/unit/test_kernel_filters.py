from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest

from shared.kernel.errors import InvalidInput
from shared.kernel.filters import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    TEXT_LENGTH_MAX,
    VALUES_MAX,
    All,
    Catalogue,
    Condition,
    FieldType,
    Operator,
    Value,
    first_failing,
    parse_filter,
)

CATALOGUE = Catalogue(
    {"stage": FieldType.TEXT, "amount": FieldType.NUMBER, "due_on": FieldType.DATE}, text_families=("custom.",)
)
RECORD: Mapping[str, Value] = {
    "stage": "Won",
    "amount": Decimal("100.50"),
    "due_on": date(2026, 3, 31),
    "custom.tier": "gold",
}


def holds(data: object, record: Mapping[str, Value] = RECORD) -> bool:
    return first_failing(parse_filter(data, CATALOGUE), record.get) is None


def refusal(data: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(data, CATALOGUE)
    return refused.value


@pytest.mark.parametrize(
    ("field", "op", "value", "expected"),
    [
        ("stage", "eq", "Won", True),
        ("stage", "eq", "won", False),
        ("stage", "ne", "Lost", True),
        ("stage", "in", ["Lost", "Won"], True),
        ("stage", "not_in", ["Won"], False),
        ("stage", "contains", "oN", True),
        ("stage", "starts_with", "WO", True),
        ("stage", "starts_with", "on", False),
        ("amount", "eq", "100.5", True),
        ("amount", "gt", "100.50", False),
        ("amount", "gte", "100.50", True),
        ("amount", "lt", "100.500001", True),
        ("amount", "lt", "100.50", False),
        ("amount", "lte", "100.49", False),
        ("amount", "lte", "100.50", True),
        ("amount", "gte", "100.51", False),
        ("amount", "in", ["1", "100.500"], True),
        ("due_on", "gte", "2026-03-31", True),
        ("due_on", "lt", "2026-03-31", False),
        ("custom.tier", "eq", "gold", True),
        ("custom.other", "exists", False, True),
        ("custom.tier", "exists", True, True),
        ("custom.tier", "exists", False, False),
    ],
)
def test_a_condition_compares_by_the_type_of_its_field(field: str, op: str, value: object, expected: bool) -> None:
    assert holds({"field": field, "op": op, "value": value}) is expected


@pytest.mark.parametrize("op", ["eq", "in", "contains", "starts_with"])
def test_a_missing_value_satisfies_no_comparison(op: str) -> None:
    assert not holds({"field": "stage", "op": op, "value": ["x"] if op == "in" else "x"}, {})


@pytest.mark.parametrize(("op", "value"), [("ne", "x"), ("not_in", ["x"]), ("exists", False)])
def test_a_missing_value_is_unlike_every_value(op: str, value: object) -> None:
    assert holds({"field": "stage", "op": op, "value": value}, {})


def test_groups_nest_and_an_empty_all_holds_for_everything() -> None:
    won = {"field": "stage", "op": "eq", "value": "Won"}
    lost = {"field": "stage", "op": "eq", "value": "Lost"}
    assert holds({"all": []}, {})
    assert holds({"any": [lost, {"all": [won, {"field": "amount", "op": "gt", "value": "100"}]}]})
    assert not holds({"all": [won, lost]})


def test_the_first_part_that_fails_explains_the_whole() -> None:
    parsed = parse_filter(
        {
            "all": [
                {"field": "stage", "op": "eq", "value": "Won"},
                {"field": "amount", "op": "gt", "value": "1000"},
                {"field": "due_on", "op": "gt", "value": "2030-01-01"},
            ]
        },
        CATALOGUE,
    )
    assert first_failing(parsed, RECORD.get) == Condition("amount", Operator.GT, (Decimal(1000),))


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ("stage", "/filter"),
        ([], "/filter"),
        ({}, "/filter/field"),
        ({"all": {}}, "/filter/all"),
        ({"any": []}, "/filter/any"),
        ({"all": [], "any": []}, "/filter/all"),
        ({"all": [{"any": [1]}]}, "/filter/all/0/any/0"),
        ({"field": "nope", "op": "eq", "value": "x"}, "/filter/field"),
        ({"field": "custom.", "op": "eq", "value": "x"}, "/filter/field"),
        ({"field": "custom.a\0", "op": "eq", "value": "x"}, "/filter/field"),
        ({"field": ["stage"], "op": "eq", "value": "x"}, "/filter/field"),
        ({"field": "stage", "op": "gt", "value": "x"}, "/filter/op"),
        ({"field": "stage", "op": ["eq"], "value": "x"}, "/filter/op"),
        ({"field": "amount", "op": "contains", "value": "1"}, "/filter/op"),
        ({"field": "stage", "op": "eq", "value": 1}, "/filter/value"),
        ({"field": "stage", "op": "eq", "value": None}, "/filter/value"),
        ({"field": "stage", "op": "eq"}, "/filter/value"),
        ({"field": "stage", "op": "eq", "value": "a\0b"}, "/filter/value"),
        ({"field": "stage", "op": "eq", "value": "\ud800"}, "/filter/value"),
        ({"field": "stage", "op": "eq", "value": "x" * (TEXT_LENGTH_MAX + 1)}, "/filter/value"),
        ({"field": "amount", "op": "eq", "value": 1.5}, "/filter/value"),
        ({"field": "amount", "op": "eq", "value": True}, "/filter/value"),
        ({"field": "amount", "op": "eq", "value": "1e15"}, "/filter/value"),
        ({"field": "due_on", "op": "eq", "value": "31.3.2026"}, "/filter/value"),
        ({"field": "stage", "op": "in", "value": []}, "/filter/value"),
        ({"field": "stage", "op": "in", "value": "Won"}, "/filter/value"),
        ({"field": "stage", "op": "in", "value": ["x"] * (VALUES_MAX + 1)}, "/filter/value"),
        ({"field": "amount", "op": "in", "value": ["1", "x"]}, "/filter/value/1"),
        ({"field": "stage", "op": "exists", "value": "yes"}, "/filter/value"),
        ({"field": "stage", "op": "eq", "value": "x", "case": "no"}, "/filter/case"),
    ],
)
def test_what_is_no_filter_is_refused_where_it_is_wrong(data: object, pointer: str) -> None:
    error = refusal(data)
    assert [field.pointer for field in error.fields] == [pointer]
    assert error.fields[0].accepted


def test_a_filter_may_nest_so_deep_and_no_deeper() -> None:
    def nested(levels: int) -> object:
        return {"all": []} if levels == 1 else {"all": [nested(levels - 1)]}

    assert isinstance(parse_filter(nested(DEPTH_MAX), CATALOGUE), All)
    assert refusal(nested(DEPTH_MAX + 1)).fields[0].accepted == f"at most {DEPTH_MAX} levels"


def test_a_filter_may_have_so_many_conditions_and_no_more() -> None:
    won = {"field": "stage", "op": "eq", "value": "Won"}
    parse_filter({"all": [won] * CONDITIONS_MAX}, CATALOGUE)
    assert refusal({"all": [won] * (CONDITIONS_MAX + 1)}).fields[0].pointer == f"/filter/all/{CONDITIONS_MAX}"
