"""Answers about progress."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Annotated, Literal, Self, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from services.tracking.measure.progress.contributions import Day
from services.tracking.measure.progress.domain import EXACT, PartVerdict, Verdict
from shared.contracts.base import Currency, Exact, Instant
from shared.contracts.conversion import ConversionAnswer
from shared.contracts.goals import Direction, GoalStatus, StretchLevel, Subject
from shared.contracts.progress import Progress
from shared.contracts.reasons import ReasonAnswer
from shared.http.schemas import example
from shared.kernel.activities import ActivityFacts
from shared.kernel.attainment import SHOWN_DECIMALS, actual
from shared.kernel.deals import DealFacts
from shared.kernel.filters import filter_to_json
from shared.kernel.measures import Aggregate, Counted, Exclusion
from shared.kernel.reasons import Reason
from shared.kernel.records import RecordKind

_GOAL = "01935a00-0000-7000-8000-000000000031"
_PERSON = "01935a00-0000-7000-8000-000000000011"
_DEAL = "6f1a2c94-40c5-5a7e-9b7e-0c9d3f0e2b11"
_ACTIVITY = "0cc9b437-6736-5450-a36d-0d8011675a4c"
_DELIVERY = "01935a00-0000-7000-8000-000000000051"


def _examples_of(model: type[BaseModel]) -> list[JsonValue]:
    extra = model.model_config["json_schema_extra"]
    return cast("dict[str, list[JsonValue]]", extra)["examples"]


class GoalProgress(BaseModel):
    """Where a goal stands, now or as of a past moment."""

    model_config = example(
        goal_id=_GOAL,
        version=412,
        goal_version=3,
        status="active",
        name="Darcel's bookings, Q1",
        owner={"kind": "person", "id": _PERSON},
        value="187320.5",
        target="250000",
        baseline="0",
        attainment="0.749282",
        direction="higher",
        unit="USD",
        currency="USD",
        start="2027-01-01",
        end="2027-04-01",
        deals=41,
        changed_at="2027-03-01T12:00:00Z",
        received_at="2027-03-01T11:59:59.6Z",
        aggregate="sum",
        numerator=None,
        denominator=None,
        stretch_reached=None,
        stale=False,
        as_of=None,
    )

    goal_id: UUID
    version: int | None = Field(description="Grows with every change; null for a past moment.")
    goal_version: int
    status: GoalStatus
    name: str
    owner: Subject
    value: Exact = Field(
        description="Of a ratio, in percent, and of an average six decimals, rounded half-up; 0 as long as its "
        "`denominator` is 0, when there is none."
    )
    target: Exact
    baseline: Exact
    attainment: Exact | None = Field(
        description="value ÷ target, unclamped; (baseline - value) ÷ (baseline - target) where lower is better; null "
        "when that divides by zero. Six decimals, rounded down: it reads 1 when the target is reached, and not before."
    )
    direction: Direction
    unit: str
    currency: Currency | None
    start: date
    end: date = Field(description="First day after the period.")
    deals: int = Field(description="How many deals, or activities, count.")
    changed_at: Instant | None = Field(description="Null for a past moment.")
    received_at: Instant | None = Field(description="When the newest delivery that counts was accepted.")
    aggregate: str = Field(
        description="How records become the value: `sum`, `count`, `distinct`, `ratio` or `average`; others may follow."
    )
    numerator: Exact | None = Field(description="Of a ratio or an average: what is divided by the denominator.")
    denominator: Exact | None = Field(
        description="The sum or the number of what a ratio is a part of, or how many records an average is over."
    )
    stretch_reached: StretchLevel | None = Field(description="The highest of the stretch levels that is reached.")
    stale: bool = Field(
        description="True for the moment after the goal or the organisation changed and before the deals are counted "
        "again: the value is still the one from before."
    )
    as_of: Instant | None = Field(description="The past moment asked for; null for now.")

    @classmethod
    def now(cls, event: Progress, *, stale: bool) -> Self:
        """Where the goal stands."""
        return cls(**event.model_dump(exclude={"tenant_id"}), stale=stale, as_of=None)

    @classmethod
    def past(cls, event: Progress, as_of: Instant) -> Self:
        """Where it stood."""
        fields = event.model_dump(exclude={"tenant_id", "version", "changed_at"})
        return cls(**fields, version=None, changed_at=None, stale=False, as_of=as_of)


class SeriesDay(BaseModel):
    """One day with deals, or activities, that count."""

    date: Annotated[date, Field(description="In the tenant's time zone.")]
    added: Exact = Field(description="Of a ratio or an average what the day adds to the numerator.")
    added_denominator: Exact | None = Field(description="What it adds to the denominator of a ratio or an average.")
    cumulative: Exact = Field(description="Where the goal stands by all days up to this one, as its `value` is stated.")
    deals: int


class ProgressSeries(BaseModel):
    """How a goal got where it is, day by day; days without any that count are left out."""

    model_config = example(
        goal_id=_GOAL,
        start="2027-01-01",
        end="2027-04-01",
        target="250000",
        unit="USD",
        days=[
            {
                "date": "2027-01-04",
                "added": "1200.5",
                "added_denominator": None,
                "cumulative": "1200.5",
                "deals": 1,
            }
        ],
    )

    goal_id: UUID
    start: date
    end: date = Field(description="First day after the period.")
    target: Exact
    unit: str
    days: list[SeriesDay]

    @staticmethod
    def cumulated(aggregate: Aggregate, days: list[Day]) -> list[SeriesDay]:
        """The days with what all up to each come to."""
        total, denominator = Decimal(0), Decimal(0)
        cumulated = []
        for day in days:
            total = EXACT.add(total, day.added)
            denominator = EXACT.add(denominator, day.denominator or Decimal(0))
            cumulated.append(
                SeriesDay(
                    date=day.day,
                    added=day.added,
                    added_denominator=day.denominator,
                    cumulative=actual(aggregate, total, denominator).shown or Decimal(0),
                    deals=day.deals,
                )
            )
        return cumulated


class ExplainedPart(BaseModel):
    """One part of a deal: one share of a payment, an invoice or the whole deal, and whether it counts."""

    external_id: str | None = Field(
        description="The source's user who has this share; null for a deal without an owner."
    )
    person_id: UUID | None = Field(description="The person that user is; null while no identity names them.")
    role: str = Field(description="On the splits; `owner` for a deal that nobody shares in.")
    percent: Exact = Field(description="Share of the deal.")
    paid_on: date | None = Field(description="The day of the payment this is a share of, where payments count.")
    invoiced_on: date | None = Field(
        default=None, description="The day of the invoice this is a share of, where invoices count."
    )
    counts: bool
    value: Exact | None = Field(description="What it adds; 1 for a distinct value. To a quotient, to the numerator.")
    denominator: Exact | None = Field(description="What it adds to the denominator of a ratio or an average.")
    day: Annotated[date | None, Field(description="The day it counts on, in the tenant's time zone.")]
    conversion: ConversionAnswer | None = Field(
        description="For money in another currency that counts; the share is taken after that."
    )
    reason: Exclusion | None = Field(description="Why it does not count.")

    @classmethod
    def of(cls, verdict: PartVerdict) -> Self:
        share, outcome = verdict.part.share, verdict.outcome
        counted = outcome if isinstance(outcome, Counted) else None
        return cls(
            external_id=None if share.user is None else share.user.external_id,
            person_id=verdict.person_id,
            role=share.role,
            percent=share.percent,
            paid_on=verdict.part.paid_on,
            invoiced_on=verdict.part.invoiced_on,
            counts=counted is not None,
            value=None if counted is None else counted.value,
            denominator=None if counted is None else counted.denominator,
            day=None if counted is None else counted.day,
            conversion=None if counted is None else ConversionAnswer.of(counted.conversion),
            reason=None if isinstance(outcome, Counted) else outcome.reason,
        )


class ExplainedDeal(BaseModel):
    """Whether one deal counts for a goal, how much, and the version of it that decides."""

    model_config = example(
        record="deal",
        deal_id=_DEAL,
        external_id="D-1001",
        name="Acme renewal",
        source="pipedrive",
        owner_external_id="12345",
        person_id=_PERSON,
        counts=True,
        value="1200.5",
        denominator=None,
        distinct_value=None,
        day="2027-01-04",
        conversion={
            "amount": "1107.24",
            "currency": "EUR",
            "rate": "1.0842274122",
            "stated_on": "2027-01-04",
            "origin": "daily",
        },
        reason=None,
        why=None,
        failing=None,
        parts=[
            {
                "external_id": "12345",
                "person_id": _PERSON,
                "role": "owner",
                "percent": "100",
                "paid_on": None,
                "invoiced_on": None,
                "counts": True,
                "value": "1200.5",
                "denominator": None,
                "day": "2027-01-04",
                "conversion": {
                    "amount": "1107.24",
                    "currency": "EUR",
                    "rate": "1.0842274122",
                    "stated_on": "2027-01-04",
                    "origin": "daily",
                },
                "reason": None,
            }
        ],
        delivery_id=_DELIVERY,
        modified_at="2027-01-04T10:00:00Z",
        sequence=0,
    )

    record: Literal[RecordKind.DEAL] = RecordKind.DEAL
    deal_id: UUID
    external_id: str
    name: str | None
    source: str
    owner_external_id: str | None = Field(description="As the source names the owner.")
    person_id: UUID | None = Field(description="The person the source's user is; null while no identity names them.")
    counts: bool
    value: Exact | None = Field(
        description="What its parts that count add together: of a whole deal 1 for a count and for a distinct value."
    )
    denominator: Exact | None = Field(
        description="What it adds to the denominator of a ratio or an average; `value` is for the numerator."
    )
    distinct_value: str | None = Field(description="The value that makes it distinct; others may have it too.")
    day: date | None = Field(description="The first day it counts on, in the tenant's time zone.")
    conversion: ConversionAnswer | None = Field(
        description="For money in another currency that counts; null where its parts were converted one by one."
    )
    reason: Exclusion | None = Field(description="Why none of it counts.")
    why: ReasonAnswer | None = Field(description="The same in words.")
    failing: dict[str, JsonValue] | None = Field(
        description="The part of the goal's filter that it does not pass; of one that counts in a ratio and not in its "
        "numerator, the part of that one's filter."
    )
    parts: list[ExplainedPart] = Field(
        description="What each share of it, and each payment where those count, adds, or why it does not. Empty for a "
        "deal that adds nothing whoever has it."
    )
    delivery_id: UUID = Field(
        description="The delivery that brought this version: /v1/deals/{deal_id}/deliveries/{delivery_id}."
    )
    modified_at: Instant
    sequence: int

    @classmethod
    def judged(cls, deal: DealFacts, verdict: Verdict, reason: Reason | None) -> Self:
        """What a verdict says of a deal."""
        outcome = verdict.outcome
        counted = outcome if isinstance(outcome, Counted) else None
        refused = None if isinstance(outcome, Counted) else outcome
        failing = None if outcome.failing is None else filter_to_json(outcome.failing)
        return cls(
            deal_id=deal.deal_id,
            external_id=deal.external_id,
            name=deal.name,
            source=deal.source,
            owner_external_id=deal.owner_external_id,
            person_id=verdict.person_id,
            counts=counted is not None,
            value=None if counted is None else counted.value,
            denominator=None if counted is None else counted.denominator,
            distinct_value=None if counted is None else counted.distinct_value,
            day=verdict.day,
            conversion=None if counted is None else ConversionAnswer.of(counted.conversion),
            reason=None if refused is None else refused.reason,
            why=None if reason is None else ReasonAnswer.of(reason),
            failing=cast("dict[str, JsonValue] | None", failing),
            parts=[ExplainedPart.of(part) for part in verdict.parts],
            delivery_id=deal.version.delivery_id,
            modified_at=deal.version.modified_at,
            sequence=deal.version.sequence,
        )


class ExplainedActivity(BaseModel):
    """Whether one activity counts for a goal, how much, and the version of it that decides."""

    model_config = example(
        record="activity",
        activity_id=_ACTIVITY,
        external_id="9031",
        subject="Renewal terms",
        source="pipedrive",
        owner_external_id="12345",
        person_id=_PERSON,
        counts=False,
        value=None,
        denominator=None,
        distinct_value=None,
        day="2027-01-04",
        reason="filter_not_met",
        why={
            "code": "filter_not_met",
            "sentence": {
                "en": "Only activities count whose status is done; of this one that is not so.",
                "zh": "只计入满足“状态为 done”的活动，该活动不满足。",
            },
            "found": "status: planned",
            "expected": {"en": "status is done", "zh": "状态为 done"},
            "remedy": {
                "en": "If that is wrong, correct it in the CRM: it then counts within moments.",
                "zh": "如果有误，请在 CRM 中更正，更正后随即计入。",
            },
        },
        failing={"field": "status", "op": "eq", "value": "done"},
        delivery_id=_DELIVERY,
        modified_at="2027-01-04T10:00:00Z",
        sequence=0,
    )

    record: Literal[RecordKind.ACTIVITY] = RecordKind.ACTIVITY
    activity_id: UUID
    external_id: str
    subject: str | None
    source: str
    owner_external_id: str | None = Field(description="As the source names the owner.")
    person_id: UUID | None = Field(description="The person the source's user is; null while no identity names them.")
    counts: bool
    value: Exact | None = Field(description="What it adds: 1 for a count and for a distinct value.")
    denominator: Exact | None = Field(
        description="What it adds to the denominator of a ratio or an average; `value` is for the numerator."
    )
    distinct_value: str | None = Field(description="The value that makes it distinct; others may have it too.")
    day: date | None = Field(description="The day it counts on, in the tenant's time zone.")
    reason: Exclusion | None = Field(description="Why it does not count.")
    why: ReasonAnswer | None = Field(description="The same in words.")
    failing: dict[str, JsonValue] | None = Field(
        description="The part of the goal's filter that it does not pass; of one that counts in a ratio and not in its "
        "numerator, the part of that one's filter."
    )
    delivery_id: UUID = Field(
        description="The delivery that brought this version: /v1/activities/{activity_id}/deliveries/{delivery_id}."
    )
    modified_at: Instant
    sequence: int

    @classmethod
    def judged(cls, activity: ActivityFacts, verdict: Verdict, reason: Reason | None) -> Self:
        """What a verdict says of an activity."""
        outcome = verdict.outcome
        counted = outcome if isinstance(outcome, Counted) else None
        refused = None if isinstance(outcome, Counted) else outcome
        failing = None if outcome.failing is None else filter_to_json(outcome.failing)
        return cls(
            activity_id=activity.activity_id,
            external_id=activity.external_id,
            subject=activity.subject,
            source=activity.source,
            owner_external_id=activity.owner_external_id,
            person_id=verdict.person_id,
            counts=counted is not None,
            value=None if counted is None else counted.value,
            denominator=None if counted is None else counted.denominator,
            distinct_value=None if counted is None else counted.distinct_value,
            day=verdict.day,
            reason=None if refused is None else refused.reason,
            why=None if reason is None else ReasonAnswer.of(reason),
            failing=cast("dict[str, JsonValue] | None", failing),
            delivery_id=activity.version.delivery_id,
            modified_at=activity.version.modified_at,
            sequence=activity.version.sequence,
        )


class ExplainedValue(BaseModel):
    """A stated value that counts for a goal."""

    model_config = example(
        record="stated_value",
        counts=True,
        value_id="01935a00-0000-7000-8000-000000000033",
        day="2027-02-28",
        value="8.4",
        source="hand",
        note="Customer survey, February",
        stated_by=_PERSON,
        stated_at="2027-03-02T09:30:00Z",
    )

    record: Literal["stated_value"] = "stated_value"
    counts: Literal[True] = True
    value_id: UUID
    day: date
    value: Exact
    source: str = Field(description="`api`, `file` or `hand`. More may be added.")
    note: str | None
    stated_by: UUID | None = Field(description="The person who stated it; null for a service.")
    stated_at: Instant


class ExplainedGoal(BaseModel):
    """A goal that is a part of another one, and what it adds to that."""

    model_config = example(
        record="goal",
        counts=True,
        goal_id=_GOAL,
        name="Darcel's bookings, Q1",
        weight="0.75",
        value="200000",
        target="250000",
        unit="USD",
        attainment="0.8",
        adds="60",
    )

    record: Literal["goal"] = "goal"
    counts: Literal[True] = True
    goal_id: UUID
    name: str
    weight: Exact
    value: Exact
    target: Exact
    unit: str
    attainment: Exact | None = Field(
        description="Null where it cannot be told; then there is none of the goal it is a part of either."
    )
    adds: Exact | None = Field(
        description="Weight × attainment in percent, with six decimals, rounded down: what it adds to the value."
    )

    @classmethod
    def of(cls, part: Progress, weight: Decimal, attained: Fraction | None) -> Self:
        adds = None if attained is None else Fraction(weight) * attained * 100
        return cls(
            goal_id=part.goal_id,
            name=part.name,
            weight=weight,
            value=part.value,
            target=part.target,
            unit=part.unit,
            attainment=part.attainment,
            adds=None if adds is None else Decimal(floor(adds * 10**SHOWN_DECIMALS)).scaleb(-SHOWN_DECIMALS),
        )


class Explained(
    RootModel[
        Annotated[ExplainedDeal | ExplainedActivity | ExplainedValue | ExplainedGoal, Field(discriminator="record")]
    ]
):
    """Whether a record of the kind that the goal counts does count; or what else the goal is made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                *_examples_of(ExplainedDeal),
                *_examples_of(ExplainedActivity),
                *_examples_of(ExplainedValue),
                *_examples_of(ExplainedGoal),
            ]
        }
    )

    @classmethod
    def judged(cls, facts: DealFacts | ActivityFacts, verdict: Verdict, reason: Reason | None) -> Self:
        """What a verdict says of a record."""
        if isinstance(facts, DealFacts):
            return cls(ExplainedDeal.judged(facts, verdict, reason))
        return cls(ExplainedActivity.judged(facts, verdict, reason))
