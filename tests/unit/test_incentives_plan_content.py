"""The JSON form of plan terms: every kind and every rule comes back as it was, and what is wrong is pointed at."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import JsonValue, ValidationError

from services.incentives.plans.content.components import COMPONENTS, components_content, components_of
from services.incentives.plans.content.rules import RULES, rules_json, rules_of
from services.incentives.plans.content.terms import TERMS, terms_schema
from services.incentives.plans.domain.rules import NO_RULES, check_rules
from services.incentives.plans.domain.warnings import warnings_of
from services.incentives.plans.domain.wording import MEMBERS, changes_in_words
from shared.kernel.errors import InvalidInput

Document = dict[str, Any]
UNITS: Document = {"aggregate": "sum", "value_field": "quantity"}
MONEY: Document = {"aggregate": "sum", "value_field": "amount", "currency": "USD"}
WON: Document = {"filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]}}
FLAT: Document = {"shape": "flat", "rate": "0.05"}
COMMISSION: Document = {"key": "bookings", "name": "Bookings", "measure": MONEY, "rate": FLAT}
COUNTED: Document = {"aggregate": "count", "filter": {"all": [{"field": "type", "op": "eq", "value": "new"}]}}
GATED: Document = {
    **COMMISSION,
    "restart": True,
    "rate": {
        "shape": "tiers",
        "mode": "retroactive",
        "by": "attainment",
        "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.08", "from_exclusive": True, "gate": True}],
        "marginal_from": "1",
    },
    "multipliers": [{"name": "Multi-year", "filter": WON["filter"], "factor": "1.2", "as": "pay"}],
    "gate": {"measure": COUNTED, "crediting": "split", "period": "year", "at_least": "3"},
    "threshold": {"attainment": "0.4", "pays": "only_above"},
    "caps": {"deal": "500", "period": "10000", "year": "50000", "carry_excess": True},
    "windfall": {"above": "1000000", "counts": "share", "percent": "25"},
}
POINTS: Document = {"shape": "points", "by": "attainment", "points": [{"at": "0.8", "target_percent": "50"}]}
POINTS["points"].append({"at": "1", "target_percent": "100"})
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
    GATED,
    {**COMMISSION, "rate": {**POINTS, "extrapolate": True}},
    {**COMMISSION, "basis": "year_to_date", "threshold": {"amount": "40000", "pays": "from_first"}},
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
        ({**GATED, "gate": {**GATED["gate"], "at_least_attainment": "1"}}, "/gate"),
        ({**GATED, "gate": {**GATED["gate"], "measure": {**MONEY, "currency": "EUR"}}}, "/gate/measure/currency"),
        ({**GATED, "gate": None}, "/rate/tiers/1/gate"),
        ({**GATED, "threshold": {"pays": "only_above"}}, "/threshold"),
        ({**GATED, "threshold": {"attainment": "40", "pays": "only_above"}}, "/threshold/attainment"),
        ({**GATED, "caps": {"year": "-1"}}, "/caps/year"),
        ({**GATED, "windfall": {"above": "1", "counts": "capped", "percent": "5"}}, "/windfall/percent"),
        ({**GATED, "multipliers": [{**GATED["multipliers"][0], "factor": "1"}]}, "/multipliers/0/factor"),
        ({**COMMISSION, "rate": {**POINTS, "points": [*POINTS["points"], {"at": "2", "rate": "1"}]}}, "/rate/points/2"),
        ({**COMMISSION, "basis": "year_to_date", "rate": POINTS}, "/basis"),
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


SCHEMA: Document = terms_schema()
PLAN: Document = {"name": "Reps", "currency": "USD", "period": "quarter"}


def document(*components: Document, **more: object) -> Document:
    return {"plan": PLAN, "effective_from": "2026-01-01", "components": list(components), **more}


def test_the_schema_of_terms_is_one_and_an_independent_validator_accepts_what_is_accepted() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    validator = Draft202012Validator(SCHEMA)
    for component in ALL:
        for rules in RULED:
            assert list(validator.iter_errors(document(component, rules=rules))) == []
        assert list(validator.iter_errors({**document(), "components": stored(component)})) == []


@pytest.mark.parametrize(
    "wrong",
    [
        document(),
        document({**COMMISSION, "kind": "gift"}),
        document({**COMMISSION, "rate": {"shape": "flat", "rate": 0.05}}),
        document({**BONUS, "condition": {**MILESTONE, "times": "once"}}),
        document({**MATRIX, "second": None}),
        document({**POOL, "pot": {"of": "amount"}}),
        document({**OVERRIDE, "depth": 0}),
        document(COMMISSION, rules={"draw": {"kind": "gift", "amount": "1"}}),
        document(COMMISSION, unknown=1),
        {**document(COMMISSION), "plan": {**PLAN, "currency": "dollar"}},
    ],
)
def test_the_schema_of_terms_refuses_what_is_refused(wrong: Document) -> None:
    assert list(Draft202012Validator(SCHEMA).iter_errors(wrong))
    with pytest.raises(ValidationError):
        TERMS.validate_python(wrong)


def test_every_member_of_terms_has_words() -> None:
    members = {name for each in [SCHEMA, *SCHEMA["$defs"].values()] for name in each.get("properties", {})}
    assert members - MEMBERS.keys() == {"form", "plan"}


def differing(*components: Document, **more: object) -> Document:
    written: list[JsonValue] = [each for component in components for each in stored(component)]
    return {"effective_from": "2026-01-01", "components": written, **more}


TIERED: Document = {
    **COMMISSION,
    "rate": {
        "shape": "tiers",
        "mode": "marginal",
        "by": "attainment",
        "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.06"}],
    },
}


def _with_tier(*tiers: tuple[str, str]) -> Document:
    rate = {**TIERED["rate"], "tiers": [{"from": start, "rate": rate} for start, rate in tiers]}
    return {**TIERED, "rate": rate}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (differing(TIERED), differing(TIERED), []),
        (
            differing(TIERED),
            differing(_with_tier(("0", "0.05"), ("1.25", "0.065"))),
            [
                (
                    "Component “Bookings”, rate, tier 2, from: 100 % became 125 %.",
                    "组成部分“Bookings”，费率，档位 2，起点：由 100 % 改为 125 %。",
                ),
                (
                    "Component “Bookings”, rate, tier 2, rate: 6 % became 6.5 %.",
                    "组成部分“Bookings”，费率，档位 2，费率：由 6 % 改为 6.5 %。",
                ),
            ],
        ),
        (
            differing(TIERED),
            differing(_with_tier(("0", "0.05"), ("1", "0.06"), ("1.5", "0.08"))),
            [
                (
                    "Component “Bookings”, rate, tier 3: from 150 %, rate 8 % is new.",
                    "组成部分“Bookings”，费率，档位 3：新增 起点 150 %、费率 8 %。",
                )
            ],
        ),
        (
            differing(TIERED),
            differing(TIERED, BONUS, rules={"guarantee": {"amount": "3000"}}),
            [
                (
                    "Component “Contest”: is new.",
                    "组成部分“Contest”：新增。",
                ),
                (
                    "Rules: guarantee amount 3000 is new.",
                    "规则：新增 保底 金额 3000。",
                ),
            ],
        ),
        (
            differing(TIERED, BONUS),
            differing(TIERED),
            [
                (
                    "Component “Contest”: is gone.",
                    "组成部分“Contest”：删除。",
                )
            ],
        ),
        (
            differing(COMMISSION),
            differing(
                {
                    **COMMISSION,
                    "measure": {**MONEY, "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]}},
                }
            ),
            [
                (
                    "Component “Bookings”, measure, which deals count: all deals became status is won.",
                    "组成部分“Bookings”，指标，计入的商机：由 所有商机 改为 状态为 won。",
                )
            ],
        ),
        (
            differing(BONUS),
            differing({**BONUS, "condition": {**BONUS["condition"], "times": "every", "from_exclusive": False}}),
            [
                (
                    "Component “Contest”, condition, only above it: yes became no.",
                    "组成部分“Contest”，条件，不含起点：由 是 改为 否。",
                ),
                (
                    "Component “Contest”, condition, how often: once became every time.",
                    "组成部分“Contest”，条件，次数：由 一次 改为 每次。",
                ),
            ],
        ),
        (
            differing(MATRIX),
            differing({**MATRIX, "cells": [["0", "20"], ["50", "85"], ["90", "120"]]}),
            [
                (
                    "Component “Matrix”, row 2: 50, 80 became 50, 85.",
                    "组成部分“Matrix”，行 2：由 50、80 改为 50、85。",
                )
            ],
        ),
    ],
)
def test_what_two_versions_differ_in_is_said_in_both_languages(
    before: Document, after: Document, says: list[tuple[str, str]]
) -> None:
    assert [tuple(words) for words in changes_in_words(before, after)] == says


def warned(*components: Document, **rules: object) -> list[str]:
    checked = components_of(COMPONENTS.validate_python(list(components)), "USD")
    found = warnings_of(checked, rules_of(RULES.validate_python(rules)))
    assert all(each.words.en and each.words.zh for each in found)
    return [each.pointer for each in found]


FINE: Document = {**TIERED, "measure": {**MONEY, **WON}}


def _rated(mode: str, by: str, *tiers: tuple[str, str]) -> Document:
    rates = [{"from": start, "rate": rate} for start, rate in tiers]
    return {**FINE, "rate": {"shape": "tiers", "mode": mode, "by": by, "tiers": rates}}


@pytest.mark.parametrize(
    ("component", "pointers"),
    [
        (FINE, []),
        (COMMISSION, ["/measure/filter"]),
        ({**FINE, "allocation_percent": "101"}, ["/allocation_percent"]),
        ({**FINE, "rate": {"shape": "flat", "rate": "0"}}, ["/rate/rate"]),
        ({**FINE, "rate": {"shape": "flat", "rate": "0.51"}}, ["/rate/rate"]),
        ({**FINE, "measure": {**UNITS, **WON}, "rate": FLAT}, ["/rate/rate"]),
        (_rated("marginal", "amount", ("0", "0"), ("500", "0")), ["/rate/tiers"]),
        (_rated("marginal", "amount", ("0", "0.05"), ("500", "0.04")), ["/rate/tiers/1/rate"]),
        (_rated("retroactive", "amount", ("0", "0.05"), ("500", "0.04")), ["/rate/tiers/1/rate"]),
        (_rated("marginal", "amount", ("0", "0.05"), ("1.25", "0.06")), ["/rate/by"]),
        ({**BONUS, "measure": {**UNITS, **WON}}, []),
        (
            {
                **BONUS,
                "measure": {**UNITS, **WON},
                "condition": {
                    **CURVE,
                    "extrapolate": False,
                    "points": [{"at": "0", "percent": "5"}, {"at": "1", "percent": "4"}],
                },
            },
            ["/condition/points/0", "/condition/points/1/percent"],
        ),
        ({**MATRIX, "measure": {**MONEY, **WON}}, ["/second/measure/filter"]),
        (
            {
                **MATRIX,
                "measure": {**MONEY, **WON},
                "second": {**MATRIX["second"], "measure": {**UNITS, **WON}},
                "cells": [["0", "20"], ["50", "40"], ["40", "50"]],
            },
            ["/cells/1/1", "/cells/2/0"],
        ),
        (OBJECTIVES, []),
        (
            {
                **FINE,
                "rate": {
                    "shape": "points",
                    "by": "attainment",
                    "points": [{"at": "0.8", "target_percent": "50"}, {"at": "1", "target_percent": "40"}],
                },
            },
            ["/rate/points/1"],
        ),
        ({**FINE, "caps": {"period": "100", "year": "99"}}, ["/caps/period"]),
        (
            {**FINE, "multipliers": [{"name": "Renewals", "filter": WON["filter"], "factor": "0", "as": "pay"}]},
            ["/multipliers/0/factor"],
        ),
    ],
)
def test_a_component_that_can_hardly_be_meant_is_warned_of(component: Document, pointers: list[str]) -> None:
    assert warned(component) == [f"/components/0{pointer}" for pointer in pointers]


def test_two_commissions_on_the_same_deals_are_warned_of() -> None:
    assert warned(FINE, {**FINE, "key": "again"}) == ["/components/1/measure"]


@pytest.mark.parametrize(
    ("rules", "pointers"),
    [
        ({"draw": {"kind": "recoverable", "amount": "2000"}, "guarantee": {"amount": "2000"}}, ["/draw"]),
        ({"draw": {"kind": "recoverable", "amount": "2000"}, "guarantee": {"amount": "2000", "periods": 1}}, []),
        ({"holdback": {"percent": "100", "release": "deal_paid"}}, ["/holdback/percent"]),
        ({"cap": {"period": "100", "year": "1200"}}, ["/cap/year"]),
        ({"cap": {"period": "100", "year": "1199"}}, []),
        ({"clawback": {"policy": "pro_rata", "months": 12, "within_months": 11}}, ["/clawback/within_months"]),
    ],
)
def test_rules_that_can_hardly_be_meant_are_warned_of(rules: Document, pointers: list[str]) -> None:
    assert warned(FINE, **rules) == [f"/rules{pointer}" for pointer in pointers]
