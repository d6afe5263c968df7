"""The JSON form of plan terms: every kind and every rule comes back as it was, and what is wrong is pointed at."""

from typing import Any

import pytest
from pydantic import JsonValue

from services.incentives.plans.content.components import COMPONENTS, components_content, components_of
from services.incentives.plans.content.rules import RULES, rules_json, rules_of
from services.incentives.plans.domain.rules import NO_RULES, check_rules
from shared.kernel.errors import InvalidInput

Document = dict[str, Any]
UNITS: Document = {"aggregate": "sum", "value_field": "quantity"}
MONEY: Document = {"aggregate": "sum", "value_field": "amount", "currency": "USD"}
FLAT: Document = {"shape": "flat", "rate": "0.05"}
COMMISSION: Document = {"key": "bookings", "name": "Bookings", "measure": MONEY, "rate": FLAT}
BONUS: Document = {
    "kind": "bonus",
    "key": "spif",
    "name": "Contest",
    "measure": UNITS,
    "crediting": "split",
    "role": "closer",
    "allocation_percent": "50",
    "condition": {"when": "each_deal", "from": "10", "from_exclusive": True, "times": "once"},
    "pays": {"amount": "250"},
}
MILESTONE: Document = {"when": "milestone", "by": "attainment", "from": "1"}
PER_UNIT: Document = {"when": "per_unit", "unit": "10"}
CURVE: Document = {
    "when": "curve",
    "by": "attainment",
    "points": [{"at": "0.8", "percent": "50"}, {"at": "1", "percent": "100"}],
    "extrapolate": True,
}
OBJECTIVES: Document = {
    "kind": "objective",
    "key": "mbo",
    "name": "Objectives",
    "target": {"target_percent": "25"},
    "objectives": [{"key": "a", "name": "A", "weight": "60"}, {"key": "b", "name": "B", "weight": "40"}],
    "score_max": "150",
}
OVERRIDE: Document = {
    "kind": "override",
    "key": "override",
    "name": "Override",
    "measure": MONEY,
    "depth": 2,
    "rate": {
        "shape": "tiers",
        "mode": "marginal",
        "by": "attainment",
        "tiers": [{"from": "0", "rate": "0.01"}, {"from": "1", "rate": "0.02"}],
    },
}
POOL: Document = {"kind": "pool", "key": "pool", "name": "Pool", "pot": {"of": "amount", "amount": "900"}}
SHARED: Document = {"of": "result", "percent": "2", "measure": MONEY, "crediting": "split", "role": "closer"}
MATRIX: Document = {
    "kind": "matrix",
    "key": "matrix",
    "name": "Matrix",
    "measure": MONEY,
    "by": "attainment",
    "bounds": [{"from": "0"}, {"from": "0.8"}, {"from": "1", "from_exclusive": True}],
    "second": {"measure": UNITS, "crediting": "rollup", "by": "amount", "bounds": [{"from": "0"}, {"from": "90"}]},
    "pays": "target_percent",
    "cells": [["0", "20"], ["50", "80"], ["90", "120"]],
}
ALL: list[Document] = [
    COMMISSION,
    BONUS,
    *({**BONUS, "condition": condition} for condition in (MILESTONE, PER_UNIT, CURVE)),
    {**BONUS, "pays": {"target_percent": "10"}},
    OBJECTIVES,
    OVERRIDE,
    POOL,
    {**POOL, "pot": SHARED},
    MATRIX,
]


def stored(document: object) -> list[JsonValue]:
    """As it is stored."""
    content = components_content(components_of(COMPONENTS.validate_python([document]), "USD"))
    found: list[JsonValue] = COMPONENTS.dump_python(content, mode="json", by_alias=True)
    return found


@pytest.mark.parametrize("document", ALL)
def test_a_component_of_every_kind_comes_back_as_it_was_stored(document: Document) -> None:
    (written,) = stored(document)
    assert isinstance(written, dict)
    assert stored(written) == [written]
    assert _holds(written, document)
    again = components_of(COMPONENTS.validate_python([written]), "USD", is_stored=True)
    assert again == components_of(COMPONENTS.validate_python([document]), "USD")


def _holds(written: object, sent: object) -> bool:
    """Whether all that was sent is in what is written."""
    if isinstance(sent, dict):
        return isinstance(written, dict) and all(_holds(written.get(name), value) for name, value in sent.items())
    if isinstance(sent, list):
        return isinstance(written, list) and all(map(_holds, written, sent))
    return written == sent


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({**BONUS, "measure": {**UNITS, "value_field": "size"}}, "/measure/value_field"),
        ({**BONUS, "crediting": "owner"}, "/role"),
        ({**BONUS, "condition": {**MILESTONE, "from": "80"}}, "/condition/from"),
        ({**BONUS, "condition": {**CURVE, "points": CURVE["points"][::-1]}}, "/condition/points/1/at"),
        ({**BONUS, "pays": {}}, "/pays"),
        ({**BONUS, "pays": {"amount": "0"}}, "/pays/amount"),
        ({**BONUS, "allocation_percent": "0"}, "/allocation_percent"),
        ({**BONUS, "measure": {**MONEY, "currency": "EUR"}}, "/measure/currency"),
        ({**OBJECTIVES, "target": {"amount": "-1"}}, "/target/amount"),
        ({**OBJECTIVES, "objectives": OBJECTIVES["objectives"][:1]}, "/objectives"),
        ({**OBJECTIVES, "objectives": [{"key": "a", "name": "A", "weight": "0"}]}, "/objectives/0/weight"),
        ({**OVERRIDE, "rate": {"shape": "flat", "rate": "2"}}, "/rate/rate"),
        ({**OVERRIDE, "measure": {**MONEY, "currency": "EUR"}}, "/measure/currency"),
        ({**POOL, "pot": {"of": "amount", "amount": "0"}}, "/pot/amount"),
        ({**POOL, "pot": {**SHARED, "percent": "200"}}, "/pot/percent"),
        ({**POOL, "pot": {**SHARED, "measure": UNITS}}, "/pot/measure"),
        ({**POOL, "pot": {**SHARED, "measure": {**MONEY, "currency": "EUR"}}}, "/pot/measure/currency"),
        ({**MATRIX, "bounds": [{"from": "0.8"}]}, "/bounds/0/from"),
        ({**MATRIX, "second": {**MATRIX["second"], "bounds": [{"from": "1"}]}}, "/second/bounds/0/from"),
        (
            {**MATRIX, "second": {**MATRIX["second"], "measure": {**MONEY, "currency": "EUR"}}},
            "/second/measure/currency",
        ),
        ({**MATRIX, "cells": MATRIX["cells"][:2]}, "/cells"),
    ],
)
def test_what_is_wrong_with_a_component_is_pointed_at(document: Document, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        components_of(COMPONENTS.validate_python([document]), "USD")
    assert [field.pointer for field in refused.value.fields] == [f"/components/0{pointer}"]


RULED: list[Document] = [
    {},
    {"draw": {"kind": "recoverable", "amount": "2000", "minimum": "2500", "recovery_delay": 1, "recovery_share": "50"}},
    {"draw": {"kind": "recoverable_then_forgiven", "amount": "2000", "forgiven_after": 6, "periods": 12}},
    {"guarantee": {"amount": "3000", "periods": 3}, "negative_balance": "forgive"},
    {"holdback": {"percent": "30", "release": "deal_paid", "components": ["bookings"]}},
    {"holdback": {"percent": "30", "release": "after_periods", "periods": 2}},
    {"cap": {"period": "10000", "year": "90000", "carry_excess": True}, "rounding": {"to": "10", "mode": "down"}},
    {"clawback": {"policy": "pro_rata", "term_field": "custom.term_months", "within_months": 12}},
    {"deductions": ["recovery", "holdback", "cap", "clawback", "balance"]},
]


@pytest.mark.parametrize("document", RULED)
def test_rules_come_back_as_they_were_stored(document: Document) -> None:
    rules = rules_of(RULES.validate_python(document))
    check_rules(rules, {"bookings"}, "USD")
    written = rules_json(rules)
    assert _holds(written, document)
    assert rules_of(RULES.validate_python(written)) == rules
    assert (rules == NO_RULES) is (not document)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"draw": {"kind": "recoverable", "amount": "0"}}, "/rules/draw/amount"),
        ({"guarantee": {"amount": "0"}}, "/rules/guarantee/amount"),
        ({"holdback": {"percent": "30", "release": "after_periods"}}, "/rules/holdback/periods"),
        ({"cap": {}}, "/rules/cap"),
        ({"clawback": {"policy": "part"}}, "/rules/clawback/percent"),
        ({"rounding": {"to": "0"}}, "/rules/rounding/to"),
        ({"deductions": ["cap"]}, "/rules/deductions"),
        ({"draw": {"kind": "recoverable", "amount": "2"}, "cap": {"period": "1"}}, "/rules/draw/amount"),
    ],
)
def test_what_is_wrong_with_a_rule_is_pointed_at(document: Document, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        rules_of(RULES.validate_python(document))
    assert [field.pointer for field in refused.value.fields] == [pointer]
