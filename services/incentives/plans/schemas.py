"""Requests and answers of plans."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from services.incentives.plans.content.components import ComponentContent, ComponentsContent, components_content
from services.incentives.plans.content.rules import RulesContent, rules_content
from services.incentives.plans.content.terms import Note, PlanPeriod, Rules
from services.incentives.plans.domain.history import VersionChange, differences
from services.incentives.plans.domain.versions import ChangeKind, Plan, PlanVersion, VersionStatus
from services.incentives.plans.domain.warnings import TermsWarning, warnings_of
from shared.contracts.base import Currency, Day
from shared.contracts.reasons import WordsAnswer
from shared.contracts.texts import COMPOSED
from shared.http.schemas import body_example
from shared.kernel.approvals import ActorKind

_PLAN = "01935a00-0000-7000-8000-000000000063"
_PERSON = "01935a00-0000-7000-8000-000000000011"
_GOAL = "01935a00-0000-7000-8000-000000000031"
_COMPONENT: JsonValue = {
    "kind": "commission",
    "key": "bookings",
    "name": "New business",
    "measure": {
        "aggregate": "sum",
        "value_field": "amount",
        "date_field": "closed",
        "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
        "currency": "USD",
    },
    "crediting": "owner",
    "rate": {
        "shape": "tiers",
        "mode": "marginal",
        "by": "attainment",
        "tiers": [{"from": "0", "rate": "0.05"}, {"from": "1", "rate": "0.06"}, {"from": "1.25", "rate": "0.07"}],
    },
}
_RULES: JsonValue = {
    "draw": {
        "kind": "recoverable",
        "amount": "2000",
        "minimum": None,
        "recovery_delay": 0,
        "recovery_share": "100",
        "forgiven_after": None,
        "periods": None,
    },
    "guarantee": None,
    "holdback": {"percent": "30", "release": "deal_paid", "periods": None, "components": ["bookings"]},
    "cap": None,
    "clawback": {"policy": "part", "percent": "50", "months": None, "term_field": None, "within_months": 12},
    "negative_balance": "carry",
    "rounding": None,
    "deductions": ["balance", "clawback", "cap", "holdback", "recovery"],
}
_VERSION: dict[str, JsonValue] = {
    "effective_from": "2026-01-01",
    "components": [_COMPONENT],
    "rules": _RULES,
    "note": "Accelerators above quota",
}
Name = Annotated[str, Field(min_length=1, max_length=200), COMPOSED]
Version = Annotated[int, Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")]


class PlanBody(BaseModel):
    """A new plan, without terms."""

    model_config = body_example(name="Account executives", currency="USD", period="quarter")

    name: Name
    currency: Currency
    period: PlanPeriod = Field(description="How long the totals that tiers look at run.")


class PlanChanges(BaseModel):
    """What can change of a plan itself; its terms change by versions."""

    model_config = body_example(name="Account executives, EMEA")

    name: Name


class PlanAnswer(PlanBody):
    """A plan."""

    model_config = body_example(id=_PLAN, version=1, name="Account executives", currency="USD", period="quarter")

    id: UUID
    version: Version

    @classmethod
    def of(cls, plan: Plan) -> Self:
        return cls.model_validate(plan, from_attributes=True)


class PlanVersionBody(BaseModel):
    """The terms of a plan from a day on."""

    model_config = body_example(**_VERSION)

    effective_from: Day = Field(description="Any day: a period that it lies within is paid in two parts.")
    components: ComponentsContent
    rules: Rules
    note: Note | None = Field(None, description="Why these terms.")


class TermsWarningAnswer(BaseModel):
    """Something that is accepted and can hardly be meant."""

    pointer: str = Field(description="JSON pointer to the member.", examples=["/components/0/rate/tiers/1/rate"])
    words: WordsAnswer

    @classmethod
    def of(cls, found: TermsWarning) -> Self:
        return cls(pointer=found.pointer, words=WordsAnswer.of(found.words))


class PlanVersionAnswer(BaseModel):
    """One version of a plan's terms. `number` names it; `version` counts its changes."""

    model_config = body_example(
        plan_id=_PLAN,
        number=1,
        status="active",
        effective_until=None,
        author_id=_PERSON,
        approver_id="01935a00-0000-7000-8000-000000000012",
        version=3,
        preview=f"/v1/plans/{_PLAN}/versions/1/preview",
        warnings=[
            {
                "pointer": "/components/0/rate/tiers/1/rate",
                "words": {"en": "This tier pays less than the one below it.", "zh": "此档的费率低于前一档。"},
            }
        ],
        **_VERSION,
    )

    plan_id: UUID
    number: int
    status: VersionStatus
    effective_from: date
    effective_until: date | None = Field(
        None, description="First day that a later active version is in force instead; in lists and single reads."
    )
    components: list[ComponentContent]
    rules: RulesContent
    note: str | None
    author_id: UUID | None = Field(description="Who drafted it; null for a service. Its history names all authors.")
    approver_id: UUID | None
    version: Version
    preview: str = Field(
        description="Where those who see the tenant read what activating it would post, and once it is active what is"
        " still to be posted."
    )
    warnings: list[TermsWarningAnswer] = Field(description="What of the terms can hardly be meant.")

    @classmethod
    def of(cls, version: PlanVersion, effective_until: date | None = None) -> Self:
        return cls(
            plan_id=version.plan_id,
            number=version.number,
            status=version.status,
            effective_from=version.effective_from,
            effective_until=effective_until,
            components=components_content(version.components),
            rules=rules_content(version.rules),
            note=version.note,
            author_id=version.author_id,
            approver_id=version.approver_id,
            version=version.revision,
            preview=f"/v1/plans/{version.plan_id}/versions/{version.number}/preview",
            warnings=[TermsWarningAnswer.of(found) for found in warnings_of(version.components, version.rules)],
        )


class ChangeAnswer(BaseModel):
    """One place where two versions differ; null where there is nothing."""

    model_config = body_example(pointer="/components/bookings/rate/tiers/1/rate", before="0.06", after="0.065")

    pointer: str = Field(description="JSON pointer; components are named by their key.")
    before: JsonValue
    after: JsonValue


class PlanVersionDiffAnswer(BaseModel):
    """What one version changes against another."""

    model_config = body_example(
        plan_id=_PLAN,
        before=1,
        after=2,
        changes=[{"pointer": "/components/bookings/rate/tiers/1/rate", "before": "0.06", "after": "0.065"}],
        words=[
            {
                "en": "Component “New business”, rate, tier 2, rate: 6 % became 6.5 %.",
                "zh": "组成部分“New business”，费率，档位 2，费率：由 6 % 改为 6.5 %。",
            }
        ],
    )

    plan_id: UUID
    before: int
    after: int
    changes: list[ChangeAnswer]
    words: list[WordsAnswer] = Field(description="The same in sentences.")


class PlanVersionChangeAnswer(BaseModel):
    """One step in the life of a version: who did what when, and what it changed in the terms."""

    model_config = body_example(
        version=2,
        kind="edited",
        actor="person",
        person_id=_PERSON,
        person_name="Hana Kovač",
        at="2026-01-05T09:30:00Z",
        changes=[{"pointer": "/components/bookings/rate/tiers/1/rate", "before": "0.06", "after": "0.065"}],
    )

    version: Version
    kind: ChangeKind
    actor: ActorKind = Field(description="`unknown` of what happened before it was recorded.")
    person_id: UUID | None
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    at: AwareDatetime | None = Field(description="Null where the moment was not recorded.")
    changes: list[ChangeAnswer] = Field(description="The first has all the terms; approving changes none.")

    @classmethod
    def of(cls, change: VersionChange, names: Mapping[UUID, str]) -> Self:
        return cls(
            version=change.revision,
            kind=change.kind,
            actor=change.actor.kind,
            person_id=change.actor.person_id,
            person_name=None if change.actor.person_id is None else names.get(change.actor.person_id),
            at=change.at,
            changes=[
                ChangeAnswer(pointer=at, before=was, after=now)
                for at, was, now in differences(change.before, change.after)
            ],
        )
