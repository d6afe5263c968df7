"""Requests and answers of goals."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal, Required, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    with_config,
)
from typing_extensions import TypedDict

from services.goals.targets.domain import (
    NOTHING_FILLED,
    STRETCH_LEVELS_MAX,
    CheckIn,
    Direction,
    Filling,
    Goal,
    GoalFilter,
    GoalTemplate,
    GoalTerms,
    NewWeight,
    Owner,
    Revision,
    Status,
    StretchLevel,
)
from shared.contracts.base import AMOUNT_LIMITS, AS_TEXT, NO_FLOAT, Amount, Currency, Day, Instant
from shared.contracts.org import ExchangeRate
from shared.contracts.texts import Line, Prose
from shared.http.schemas import ITEMS_MAX, VersionedItem, body_example
from shared.kernel.deals import DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.measures import (
    FIXED_RATES_MAX,
    Aggregate,
    Combine,
    Crediting,
    Measure,
    RatePolicy,
    default_rate_policy,
    fixed_rates_of,
)
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind
from shared.kernel.records import RECORD_TYPES, RecordKind
from shared.kernel.vocabulary import check_terms_can_count

_WON: Mapping[str, JsonValue] = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
_DECIDED: Mapping[str, JsonValue] = {"all": [{"field": "status", "op": "in", "value": ["won", "lost"]}]}
_CALLS: Mapping[str, JsonValue] = {
    "all": [{"field": "type", "op": "eq", "value": "call"}, {"field": "status", "op": "eq", "value": "done"}]
}
_GOAL = "01935a00-0000-7000-8000-000000000031"
_UNITS: Mapping[RecordKind, str] = {RecordKind.DEAL: "deals", RecordKind.ACTIVITY: "activities"}
_WHOLE: Final = Decimal(100)
_TERMS: Mapping[str, JsonValue] = {
    "name": "Darcel's bookings, Q1",
    "owner": {"kind": "person", "id": "01935a00-0000-7000-8000-000000000011"},
    "metric": {
        "aggregate": "sum",
        "value_field": "amount",
        "date_field": "closed",
        "filter": dict(_WON),
        "currency": "USD",
        "rate_policy": "deal_date",
        "fixed_rates": None,
        "record": "deal",
        "crediting": "owner",
        "role": None,
        "numerator_filter": None,
        "combine": None,
    },
    "target": "250000",
    "baseline": "0",
    "unit": "USD",
    "direction": "higher",
    "period": {"start": "2026-01-01", "end": "2026-04-01"},
    "parent_id": None,
    "weight": "1",
    "stretch": [{"name": "Club", "target": "300000"}],
    "top": False,
    "check_in": "weekly",
}


def _everything() -> dict[str, JsonValue]:
    return {"all": []}


REWEIGHED_MAX: Final = 200
NAME_CHARACTERS_MAX: Final = 200
Weight = Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0), NO_FLOAT, AS_TEXT]
Reason = Annotated[Prose, StringConstraints(max_length=1000)]


class OwnerBody(BaseModel):
    """Whose records count: a person's, or everyone's who was in the team's subtree on the record's date."""

    model_config = body_example(kind="person", id="01935a00-0000-7000-8000-000000000011")

    kind: OwnerKind
    id: UUID

    def owner(self) -> Owner:
        return Owner(self.kind, self.id)

    @classmethod
    def of(cls, owner: Owner) -> Self:
        return cls(kind=owner.kind, id=owner.id)


class MetricBody(BaseModel):
    """How deals or activities become the goal's number."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"aggregate": "sum", "value_field": "amount", "filter": dict(_WON), "currency": "USD"},
                {"record": "activity", "aggregate": "count", "filter": dict(_CALLS)},
                {"aggregate": "ratio", "filter": dict(_DECIDED), "numerator_filter": dict(_WON)},
                {"aggregate": "average", "value_field": "amount", "filter": dict(_WON), "currency": "USD"},
            ]
        },
    )

    record: RecordKind = Field(
        RecordKind.DEAL,
        description="What is counted. For activities the filter alone decides: without `status` also those that are "
        "only planned, or were cancelled, count. Usual is `type` eq `call` and `status` eq `done`.",
    )
    aggregate: Aggregate = Field(
        description="`sum` of `value_field`, `count` of records, its `distinct` values; `average`, the sum of "
        "`value_field` by how many records have it; `ratio`, in percent, what passes `numerator_filter` too of what "
        "passes `filter`. `children` and `stated` count no records and use nothing else of the metric but `combine`: "
        "the attainment of the goals that are parts of this one, each by its weight, in percent; values that are "
        "stated with `POST /v1/goals/{id}/values`, as no CRM knows them."
    )
    value_field: str | None = Field(
        None,
        max_length=200,
        description="For `sum` and `average` a number of the deal, or `duration_seconds` of activities; for `distinct` "
        "a text, such as `account_id`; null for `count`. A `ratio` without one counts records on both sides, with a "
        "number it sums that on both.",
    )
    date_field: DateField | None = Field(
        None,
        description="The day that has to lie in the period: of deals any but `occurred`, of activities `occurred`. "
        "Left out: `closed`, of activities `occurred`.",
    )
    filter: dict[str, JsonValue] = Field(
        default_factory=_everything,
        description='`{"all": […]}` or `{"any": […]}` of `{"field", "op", "value"}` or of further groups; numbers are '
        "decimal strings. An empty `all` lets everything pass.",
        examples=[dict(_WON)],
    )
    currency: Currency | None = Field(
        None, description="For a sum of money; `rate_policy` sets how deals in another currency count. Null otherwise."
    )
    rate_policy: RatePolicy | None = Field(
        None,
        description="How money in another currency counts: `deal_date`, at what the CRM made of the amount, where that "
        "is in this currency, else at the exchange rate of the day the deal counts on; `fixed`, at `fixed_rates`; "
        "`none`, not at all. Left out: `deal_date` for a sum of money, else `none`.",
    )
    fixed_rates: dict[str, ExchangeRate] | None = Field(
        None,
        max_length=FIXED_RATES_MAX,
        description="With `fixed`: units of this currency for one unit of each other one. Others do not count.",
        examples=[{"EUR": "1.10"}],
    )

    crediting: Literal[Crediting.OWNER, Crediting.SPLIT] = Field(
        Crediting.OWNER,
        description="Whose number a deal moves, in the words of plans: `owner`, all of it its owner's, whatever its "
        "splits are; `split`, that of each on its splits, by their share, and all of it its owner's where it has no "
        "splits. A goal that is a quota has the same as the component it is the quota of.",
    )
    role: str | None = Field(
        None, min_length=1, max_length=100, description="With `split`: only splits with this role count."
    )
    numerator_filter: dict[str, JsonValue] | None = Field(
        None,
        description="For a `ratio`, another filter: what passes both is the numerator, what passes `filter` the "
        "denominator. Null otherwise.",
        examples=[dict(_WON)],
    )
    combine: Combine | None = Field(
        None,
        description="With `stated`, how values become one: that of the `latest` day, of several of one day the one "
        "that was stated last; their `sum`; their `average`. Null otherwise.",
    )

    def measure(self) -> Measure:
        """Raises InvalidInput naming the part of the goal that is wrong."""
        try:
            record = RECORD_TYPES[self.record]
            measure = Measure(
                self.aggregate,
                self.value_field,
                self.date_field or record.days[0],
                parse_filter(self.filter, record.fields),
                self.currency,
                self.rate_policy or default_rate_policy(self.aggregate, self.value_field),
                fixed_rates_of(self.fixed_rates),
                self.record,
                self.crediting,
                self.role,
                None
                if self.numerator_filter is None
                else parse_filter(self.numerator_filter, record.fields, pointer="/numerator_filter"),
                self.combine,
            )
            check_terms_can_count(measure)
        except InvalidInput as error:
            raise error.under("/metric") from error
        return measure

    @classmethod
    def of(cls, measure: Measure) -> Self:
        return cls.model_validate(
            {
                "aggregate": measure.aggregate,
                "value_field": measure.value_field,
                "date_field": measure.date_field,
                "filter": filter_to_json(measure.filter),
                "currency": measure.currency,
                "rate_policy": measure.rate_policy,
                "fixed_rates": dict(measure.fixed_rates) or None,
                "record": measure.record,
                "crediting": measure.crediting,
                "role": measure.role,
                "numerator_filter": None
                if measure.numerator_filter is None
                else filter_to_json(measure.numerator_filter),
                "combine": measure.combine,
            }
        )


class StretchBody(BaseModel):
    """A level beyond the target."""

    model_config = body_example(name="Club", target="300000")

    name: Line
    target: Amount

    def level(self) -> StretchLevel:
        return StretchLevel(self.name, self.target)

    @classmethod
    def of(cls, level: StretchLevel) -> Self:
        return cls(name=level.name, target=level.target)


Stretch = Annotated[
    list[StretchBody],
    Field(
        max_length=STRETCH_LEVELS_MAX,
        description="Levels beyond the target, the nearest first; each further in the goal's direction, with a name of "
        "its own. Progress names the highest that is reached.",
    ),
]


Top = Annotated[bool, Field(description="That the goal is meant to be no part of another one.")]
Rhythm = Annotated[CheckIn, Field(description="How often the owner is to say how the goal goes.")]


class DatesBody(BaseModel):
    """The days from `start` up to, not including, `end`."""

    model_config = body_example(start="2026-01-01", end="2026-04-01")

    start: Day
    end: Day = Field(description="First day after the period.")

    def period(self, _: FiscalCalendar) -> Period:
        """Raises InvalidInput when the period is empty."""
        if self.end <= self.start:
            raise InvalidInput.field("/period/end", f"{self.end} is not after the start {self.start}", "a later date")
        return Period(self.start, self.end)


class FiscalPeriodBody(BaseModel):
    """The week or the fiscal month, quarter, half or year that contains a day, by the calendar as it is now."""

    model_config = body_example(kind="quarter", containing="2026-02-14")

    kind: PeriodKind
    containing: Day

    def period(self, calendar: FiscalCalendar) -> Period:
        return calendar.period_of(self.containing, self.kind)


def _stated_by(period: object) -> str:
    """Whether a period is stated by its kind or by its days."""
    by_kind = isinstance(period, FiscalPeriodBody) or (isinstance(period, dict) and not period.keys().isdisjoint(_KIND))
    return "kind" if by_kind else "days"


_KIND = FiscalPeriodBody.model_fields.keys()

PeriodBody = Annotated[
    Annotated[DatesBody, Tag("days")] | Annotated[FiscalPeriodBody, Tag("kind")], Discriminator(_stated_by)
]


class GoalBody(BaseModel):
    """A new goal, to be a draft."""

    model_config = body_example(
        name="Darcel's bookings, Q1",
        owner={"kind": "person", "id": "01935a00-0000-7000-8000-000000000011"},
        metric={"aggregate": "sum", "value_field": "amount", "filter": dict(_WON), "currency": "USD"},
        target="250000",
        period={"kind": "quarter", "containing": "2026-02-14"},
    )

    template_id: UUID | None = Field(
        None, description="A template of `GET /v1/goal-templates`, which fills what is left out of what it has."
    )
    name: Line | None = Field(None, description="Left out only with a template that has a pattern for it.")
    owner: OwnerBody
    metric: MetricBody | None = Field(None, description="Left out only with a template.")
    target: Amount | None = Field(None, description="Left out only with `children`: 100 percent.")
    baseline: Amount = Decimal(0)
    unit: Line | None = Field(
        None,
        description="What the number counts, for people to read. Left out: `%` for a ratio and for `children`, else "
        "the currency, the field, or `deals` or `activities`; with `stated` it is always given.",
    )
    direction: Direction = Direction.HIGHER
    period: PeriodBody
    parent_id: UUID | None = Field(None, description="The goal this one is a part of.")
    weight: Weight = Decimal(1)
    stretch: Stretch = []
    top: Top = False
    check_in: Rhythm = CheckIn.NONE

    def terms(self, calendar: FiscalCalendar, filling: Filling = NOTHING_FILLED) -> GoalTerms:
        """Raises InvalidInput, UnknownTemplate among them, naming the field that is wrong."""
        template = filling.template(self.template_id)
        period = self.period.period(calendar)
        owner = self.owner.owner()
        measure = self._measure(template)
        target = self._target(measure)
        stretch = tuple(each.level() for each in self.stretch)
        direction, check_in, unit = self.direction, self.check_in, self.unit
        if template is not None:
            stretch = stretch if "stretch" in self.model_fields_set else template.levels(target, self.baseline)
            direction = direction if "direction" in self.model_fields_set else template.direction
            check_in = check_in if "check_in" in self.model_fields_set else template.check_in
            unit = unit or (template.unit if self.metric is None else None)
        return GoalTerms(
            name=self.name or _filled_name(template, filling.names.get(owner.id, ""), period),
            owner=owner,
            measure=measure,
            target=target,
            baseline=self.baseline,
            unit=unit or unit_of(measure),
            direction=direction,
            period=period,
            parent_id=self.parent_id,
            weight=self.weight,
            stretch=stretch,
            top=self.top,
            check_in=check_in,
        )

    def _measure(self, template: GoalTemplate | None) -> Measure:
        if self.metric is not None:
            return self.metric.measure()
        if template is None:
            raise InvalidInput.field("/metric", "is missing", "a metric, or a template_id")
        return template.measure

    def _target(self, measure: Measure) -> Decimal:
        if self.target is not None:
            return self.target
        if measure.aggregate is not Aggregate.CHILDREN:
            raise InvalidInput.field("/target", "is missing", "a decimal in a string, such as 250000")
        return _WHOLE


def template_ids(bodies: Iterable[GoalBody]) -> frozenset[UUID]:
    """The templates that goals are to be made from."""
    return frozenset(body.template_id for body in bodies if body.template_id is not None)


def _filled_name(template: GoalTemplate | None, owner_name: str, period: Period) -> str:
    """The name of a goal that is given none. Raises InvalidInput."""
    name = None if template is None else template.goal_name(owner_name, period)
    if name is None:
        raise InvalidInput.field("/name", "is missing", "a name, or a template_id of a template with a name_pattern")
    if len(name) > NAME_CHARACTERS_MAX:
        raise InvalidInput.field("/name", "is too long as the template makes it", f"{NAME_CHARACTERS_MAX} characters")
    return name


def unit_of(measure: Measure) -> str:
    """What a metric's number counts, where nobody says. Raises InvalidInput where somebody has to."""
    if measure.aggregate in (Aggregate.RATIO, Aggregate.CHILDREN):
        return "%"
    if measure.aggregate is Aggregate.STATED:
        raise InvalidInput.field("/unit", "is missing for stated values", "what they count, such as points")
    return measure.currency or measure.value_field or _UNITS[measure.record]


@with_config(extra="forbid", json_schema_extra={"examples": [{"target": "260000"}]})
class GoalChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    name: Line
    owner: OwnerBody
    metric: MetricBody
    target: Amount
    baseline: Amount
    unit: Line
    direction: Direction
    period: PeriodBody
    parent_id: UUID | None
    weight: Weight
    stretch: Stretch
    top: Top
    check_in: Rhythm


@with_config(
    extra="forbid", json_schema_extra={"examples": [{"target": "275000", "reason": "Took over the northern accounts"}]}
)
class RevisionBody(GoalChanges, total=False):
    """What is to change from now on, and why; what is left out stays."""

    reason: Required[Reason]


class NewWeightBody(BaseModel):
    """The weight that a part is to have."""

    model_config = ConfigDict(extra="forbid")

    goal_id: UUID
    weight: Weight

    def new_weight(self) -> NewWeight:
        return NewWeight(self.goal_id, self.weight)


class ReweighingBody(BaseModel):
    """Which parts of a goal get which weight, and why; what is left out keeps its own."""

    model_config = body_example(
        weights=[
            {"goal_id": "01935a00-0000-7000-8000-000000000034", "weight": "0.6"},
            {"goal_id": "01935a00-0000-7000-8000-000000000035", "weight": "0.4"},
        ],
        reason="Renewals matter more in the second half",
    )

    weights: list[NewWeightBody] = Field(min_length=1, max_length=REWEIGHED_MAX)
    reason: Reason


@with_config(extra="forbid", json_schema_extra={"examples": [{"id": _GOAL, "version": 1, "target": "260000"}]})
class GoalItem(VersionedItem, GoalChanges, total=False):
    """What is to change of one of many drafts; what is left out stays."""


@with_config(
    extra="forbid",
    json_schema_extra={"examples": [{"id": _GOAL, "version": 2, "target": "275000", "reason": "A new territory"}]},
)
class RevisionItem(VersionedItem, RevisionBody, total=False):
    """What is to change of one of many active goals, and why; what is left out stays."""


class GoalsBody(BaseModel):
    """Many goals at once: all of it happens or nothing. A goal is named once."""

    model_config = body_example(
        create=[
            {
                "name": "Darcel's bookings, Q1",
                "owner": {"kind": "person", "id": "01935a00-0000-7000-8000-000000000011"},
                "metric": {"aggregate": "sum", "value_field": "amount", "filter": dict(_WON), "currency": "USD"},
                "target": "250000",
                "period": {"kind": "quarter", "containing": "2026-02-14"},
            }
        ],
        activate=[{"id": _GOAL, "version": 1}],
    )

    create: list[GoalBody] = Field(default=[], max_length=ITEMS_MAX)
    change: list[GoalItem] = Field(default=[], max_length=ITEMS_MAX, description="Drafts.")
    activate: list[VersionedItem] = Field(default=[], max_length=ITEMS_MAX, description="Drafts that are to count.")
    revise: list[RevisionItem] = Field(default=[], max_length=ITEMS_MAX, description="Active ones.")
    close: list[VersionedItem] = Field(default=[], max_length=ITEMS_MAX, description="Active ones at their end.")
    cancel: list[VersionedItem] = Field(
        default=[], max_length=ITEMS_MAX, description="Drafts and active ones that are to count nothing any more."
    )


class ActivationBody(BaseModel):
    """Which drafts are to count: those of a filter, or all where it says nothing."""

    model_config = body_example(on="2026-02-14")

    owner_id: UUID | None = Field(None, description="Only goals of this person or team.")
    parent_id: UUID | None = Field(None, description="Only the parts of this goal.")
    on: Day | None = Field(None, description="Only goals whose period contains this day.")

    def wanted(self) -> GoalFilter:
        return GoalFilter(owner_id=self.owner_id, parent_id=self.parent_id, on=self.on)


def changed_terms(terms: GoalTerms, calendar: FiscalCalendar, changes: GoalChanges) -> GoalTerms:
    """The terms with the changes. Raises InvalidInput naming the field that is wrong."""
    return replace(
        terms,
        name=changes.get("name", terms.name),
        owner=changes["owner"].owner() if "owner" in changes else terms.owner,
        measure=changes["metric"].measure() if "metric" in changes else terms.measure,
        target=changes.get("target", terms.target),
        baseline=changes.get("baseline", terms.baseline),
        unit=changes.get("unit", terms.unit),
        direction=changes.get("direction", terms.direction),
        period=changes["period"].period(calendar) if "period" in changes else terms.period,
        parent_id=changes.get("parent_id", terms.parent_id),
        weight=changes.get("weight", terms.weight),
        stretch=tuple(each.level() for each in changes["stretch"]) if "stretch" in changes else terms.stretch,
        top=changes.get("top", terms.top),
        check_in=changes.get("check_in", terms.check_in),
    )


class PeriodAnswer(BaseModel):
    """The days from `start` up to, not including, `end`."""

    start: date
    end: date


class TermsAnswer(BaseModel):
    """What is promised."""

    name: str
    owner: OwnerBody
    metric: MetricBody
    target: Amount
    baseline: Amount
    unit: str
    direction: Direction
    period: PeriodAnswer
    parent_id: UUID | None
    weight: Amount
    stretch: list[StretchBody]
    top: bool
    check_in: CheckIn


class GoalAnswer(TermsAnswer):
    """A goal as it is now."""

    model_config = body_example(
        **_TERMS, id="01935a00-0000-7000-8000-000000000031", version=3, revision=2, status="active"
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")
    revision: int = Field(ge=1, description="Grows when an active goal gets other terms.")
    status: Status

    @classmethod
    def of(cls, goal: Goal) -> Self:
        terms = _terms_answer(goal.terms)
        return cls(id=goal.id, version=goal.version, revision=goal.revision, status=goal.status, **dict(terms))


class GoalsAnswer(BaseModel):
    """What was drafted and what was changed, in the order of the request and of its members."""

    model_config = body_example(
        created=[{**_TERMS, "id": _GOAL, "version": 1, "revision": 1, "status": "draft"}], changed=[]
    )

    created: list[GoalAnswer]
    changed: list[GoalAnswer]


class RevisionAnswer(BaseModel):
    """The terms a goal has been active with, from `revised_at` until the next revision."""

    model_config = body_example(
        revision=2,
        terms=dict(_TERMS),
        reason="A second territory from February on",
        revised_by="01935a00-0000-7000-8000-000000000012",
        revised_at="2026-02-02T09:30:00Z",
    )

    revision: int
    terms: TermsAnswer
    reason: str | None = Field(description="Null for the first: the terms the goal was activated with.")
    revised_by: UUID | None = Field(description="The person; null for a service.")
    revised_at: Instant

    @classmethod
    def of(cls, revision: Revision) -> Self:
        return cls(
            revision=revision.revision,
            terms=_terms_answer(revision.terms),
            reason=revision.reason,
            revised_by=revision.revised_by,
            revised_at=revision.revised_at,
        )


def _terms_answer(terms: GoalTerms) -> TermsAnswer:
    return TermsAnswer(
        name=terms.name,
        owner=OwnerBody.of(terms.owner),
        metric=MetricBody.of(terms.measure),
        target=terms.target,
        baseline=terms.baseline,
        unit=terms.unit,
        direction=terms.direction,
        period=PeriodAnswer(start=terms.period.start, end=terms.period.end),
        parent_id=terms.parent_id,
        weight=terms.weight,
        stretch=[StretchBody.of(level) for level in terms.stretch],
        top=terms.top,
        check_in=terms.check_in,
    )
