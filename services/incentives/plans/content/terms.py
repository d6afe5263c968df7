"""The JSON form of all the terms of a plan version: what is approved, exported, imported and compared."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

from services.incentives.plans.content.base import Content, Title
from services.incentives.plans.content.components import (
    COMPONENTS,
    AnyContent,
    ComponentsContent,
    components_content,
    components_of,
)
from services.incentives.plans.content.rules import RulesContent, rules_json, rules_of
from services.incentives.plans.domain.components import Component
from services.incentives.plans.domain.rules import NO_RULES, PeriodRules, check_rules
from services.incentives.plans.domain.versions import Plan, PlanVersion
from shared.contracts.base import Currency, Day
from shared.contracts.texts import COMPOSED
from shared.kernel.errors import InvalidInput
from shared.kernel.periods import PeriodKind

PlanPeriod = Literal[PeriodKind.MONTH, PeriodKind.QUARTER, PeriodKind.HALF, PeriodKind.YEAR]
Note = Annotated[str, Field(max_length=2000), COMPOSED]
Rules = Annotated[RulesContent, Field(default_factory=lambda: RulesContent())]
"""Left out, they say nothing."""


class PlanContent(Content):
    """The plan that terms are of. Its name is for those who read the document."""

    name: Title = Field(examples=["Account executives"])
    currency: Currency
    period: PlanPeriod = Field(description="How long the totals that tiers look at run.")


class TermsDocument(Content):
    """The terms of a version, to be stored elsewhere and to be drafted from: for a plan of that currency and period."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "form": "attain.plan-terms.v1",
                    "plan": {"name": "Account executives", "currency": "USD", "period": "quarter"},
                    "effective_from": "2026-01-01",
                    "components": [
                        {
                            "kind": "commission",
                            "key": "bookings",
                            "name": "New business",
                            "measure": {
                                "aggregate": "sum",
                                "value_field": "amount",
                                "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
                                "currency": "USD",
                            },
                            "rate": {"shape": "flat", "rate": "0.05"},
                        }
                    ],
                    "rules": {"draw": {"kind": "recoverable", "amount": "2000"}},
                    "note": "5 % of everything that is won",
                }
            ]
        }
    )

    form: Literal["attain.plan-terms.v1"] = "attain.plan-terms.v1"
    plan: PlanContent
    effective_from: Day = Field(description="The first day of one of the plan's periods.")
    components: ComponentsContent
    rules: Rules
    note: Note | None = Field(None, description="Why these terms.")


TERMS: Final[TypeAdapter[TermsDocument]] = TypeAdapter(TermsDocument)


def terms_of(
    components: Sequence[AnyContent], rules: RulesContent, currency: str
) -> tuple[tuple[Component, ...], PeriodRules]:
    """The checked components and rules of a plan in `currency`, or InvalidInput that points at the member."""
    checked, ruled = components_of(components, currency), rules_of(rules)
    check_rules(ruled, {component.key for component in checked}, currency)
    return checked, ruled


def terms_json(
    effective_from: date, components: Iterable[Component], rules: PeriodRules, note: str | None
) -> dict[str, JsonValue]:
    """Everything that is approved of a version, as one JSON document; rules that say nothing are left out."""
    content: JsonValue = COMPONENTS.dump_python(components_content(components), mode="json", by_alias=True)
    terms: dict[str, JsonValue] = {"effective_from": str(effective_from), "components": content, "note": note}
    return terms if rules == NO_RULES else {**terms, "rules": rules_json(rules)}


def terms_document(plan: Plan, version: PlanVersion) -> TermsDocument:
    """The terms of a version of a plan, to be stored elsewhere."""
    terms = terms_json(version.effective_from, version.components, version.rules, version.note)
    plan_json = {"name": plan.name, "currency": plan.currency, "period": plan.period}
    return TERMS.validate_python({"plan": plan_json, **terms})


def check_same_plan(document: TermsDocument, plan: Plan) -> None:
    """Raise InvalidInput for terms of a plan of another currency or period: their amounts and totals mean others."""
    for name, stated, own in (
        ("currency", document.plan.currency, plan.currency),
        ("period", document.plan.period, plan.period),
    ):
        if stated != own:
            raise InvalidInput.field(f"/plan/{name}", f"is {stated}, and the plan's is {own}", own)


def terms_schema() -> dict[str, JsonValue]:
    """The JSON Schema of a document of terms, in draft 2020-12."""
    schema: dict[str, JsonValue] = TERMS.json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Terms of a plan version"}
