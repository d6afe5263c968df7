"""Worked examples of components and the words of plan documents, held against numbers worked out by hand."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import JsonValue

from services.incentives.plans.content.components import COMPONENTS, components_of
from services.incentives.plans.content.rules import RULES, rules_of
from services.incentives.plans.content.terms import terms_json
from services.incentives.plans.domain.rules import NO_RULES, PeriodRules
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from services.incentives.statements.domain.chinese import CHINESE
from services.incentives.statements.domain.english import ENGLISH
from services.incentives.statements.domain.examples import examples_of
from services.incentives.statements.domain.layout import Document
from services.incentives.statements.domain.plan_document import PlanTerms, plan_document
from services.incentives.statements.domain.texts import Texts
from shared.kernel.periods import PeriodKind

MONEY: dict[str, JsonValue] = {"aggregate": "sum", "value_field": "amount", "date_field": "closed", "currency": "USD"}
COUNT: dict[str, JsonValue] = {"aggregate": "count", "date_field": "closed"}
KEYED: dict[str, JsonValue] = {"key": "a", "name": "A"}


def pays(component: dict[str, JsonValue]) -> list[tuple[Decimal | None, Decimal]]:
    [checked] = components_of(COMPONENTS.validate_python([{**KEYED, **component}]), "USD")
    return [(row.credited, row.pays) for row in examples_of(checked, "USD").rows]


def tiers(by: str, mode: str, *steps: tuple[str, str]) -> dict[str, JsonValue]:
    return {"shape": "tiers", "by": by, "mode": mode, "tiers": [{"from": start, "rate": rate} for start, rate in steps]}


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (
            {"measure": MONEY, "rate": tiers("amount", "retroactive", ("0", "0.01"), ("10000", "0.02"))},
            [("5000", "50"), ("9999.99", "99.9999"), ("10000", "200"), ("12200", "244")],
        ),
        (
            {"measure": MONEY, "rate": tiers("attainment", "marginal", ("0", "0.05"), ("1", "0.06"), ("1.25", "0.07"))},
            [
                ("50000", "2500"),
                ("99999.99", "4999.9995"),
                ("100000", "5000"),
                ("112500", "5750"),
                ("124999.99", "6499.9994"),
                ("125000", "6500"),
                ("152500", "8425"),
            ],
        ),
        ({"measure": COUNT, "rate": {"shape": "flat", "rate": "250"}}, [("5", "1250"), ("10", "2500")]),
        (
            {
                "measure": MONEY,
                "rate": {"shape": "flat", "rate": "0.05"},
                "threshold": {"attainment": "0.4", "pays": "only_above"},
            },
            [("20000", "0"), ("39999.99", "0"), ("40000", "0"), ("48800", "440")],
        ),
        (
            {"measure": MONEY, "rate": {"shape": "flat", "rate": "0.1"}, "caps": {"period": "20000"}},
            [("50000", "5000"), ("100000", "10000"), ("1000000", "20000")],
        ),
    ],
)
def test_examples_stand_around_the_bounds_and_are_paid_as_by_hand(
    component: dict[str, JsonValue], expected: list[tuple[str, str]]
) -> None:
    assert pays({"kind": "commission", **component}) == [(Decimal(each), Decimal(paid)) for each, paid in expected]


def test_a_gate_is_shown_met_and_not_met() -> None:
    gate: JsonValue = {"measure": COUNT, "at_least": "3"}
    found = pays({"kind": "commission", "measure": MONEY, "rate": {"shape": "flat", "rate": "0.05"}, "gate": gate})
    assert found[-2:] == [(Decimal(100_000), Decimal(5000)), (Decimal(100_000), Decimal(0))]


def test_a_bonus_objectives_and_a_pool_are_shown_too() -> None:
    bonus: dict[str, JsonValue] = {
        "kind": "bonus",
        "measure": COUNT,
        "condition": {"when": "milestone", "from": "10", "by": "amount"},
        "pays": {"amount": "500"},
    }
    assert pays(bonus) == [(Decimal(5), Decimal(0)), (Decimal(9), Decimal(0)), (Decimal(10), 500), (Decimal(12), 500)]
    parts: JsonValue = [{"key": "a", "name": "A", "weight": "60"}, {"key": "b", "name": "B", "weight": "40"}]
    objectives: dict[str, JsonValue] = {"kind": "objective", "target": {"amount": "5000"}, "objectives": parts}
    assert [paid for _, paid in pays(objectives)] == [Decimal(5000), Decimal(2500), Decimal(0)]
    pool: dict[str, JsonValue] = {"kind": "pool", "pot": {"of": "amount", "amount": "20000"}}
    assert [paid for _, paid in pays(pool)] == [Decimal(10000), Decimal("6666.67"), Decimal("3333.33")]


def document(texts: Texts, rules: PeriodRules = NO_RULES) -> Document:
    rate = tiers("attainment", "marginal", ("0", "0.05"), ("1", "0.06"))
    content: list[JsonValue] = [{**KEYED, "kind": "commission", "measure": MONEY, "rate": rate}]
    plan = Plan(UUID(int=1), "Reps", "USD", PeriodKind.QUARTER)
    components = components_of(COMPONENTS.validate_python(content), "USD")
    first = date(2026, 1, 1)
    version = PlanVersion(plan.id, 2, VersionStatus.ACTIVE, first, components, None, None, rules=rules)
    terms = terms_json(first, components, rules, None)
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return plan_document(PlanTerms(plan, version, date(2026, 7, 1), terms, "0" * 64, None, moment), texts)


def test_every_rule_between_earned_and_paid_is_said() -> None:
    content: JsonValue = {
        "draw": {"kind": "recoverable", "amount": "2000", "recovery_delay": 2, "recovery_share": "50", "periods": 6},
        "holdback": {"percent": "30", "release": "after_periods", "periods": 3},
        "cap": {"period": "50000", "carry_excess": True},
        "clawback": {"policy": "pro_rata", "months": 12, "within_months": 18},
        "negative_balance": "forgive",
        "rounding": {"to": "10"},
    }
    rules = rules_of(RULES.validate_python(content))
    english, chinese = (
        next(each for each in document(texts, rules).sections if each.heading == texts.rules).paragraphs
        for texts in (ENGLISH, CHINESE)
    )
    assert len(english) == len(chinese) == 7
    said = " ".join(english)
    for words in (
        "At least USD 2,000.00 is paid",
        "at most 50%",
        "after 2 further pay periods",
        "for the first 6 pay periods",
        "30% of what is earned is held back and paid 3 pay periods later",
        "At most USD 50,000.00 is paid in a pay period",
        "paid later, when there is room",
        "the share of its 12 months",
        "later than 18 months",
        "is not owed",
        "a multiple of USD 10.00",
    ):
        assert words in said
    assert not any("{" in each for each in (*english, *chinese))


def test_a_version_that_another_one_replaced_says_until_when() -> None:
    assert document(ENGLISH).aside == "2026-01-01 to 2026-06-30"
    assert document(CHINESE).aside == "2026-01-01 至 2026-06-30"
