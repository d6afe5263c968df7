"""Requests and answers of previews."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.incentives.earnings.domain.preview import Effect, PayPeriodEffect, PersonEffect, Preview
from services.incentives.earnings.supposing import SupposedRate
from services.incentives.ledger.schemas import PostedPeriodAnswer
from services.incentives.periods.domain import PayState
from services.incentives.plans.assignment_schemas import AssignmentsBody
from services.incentives.plans.content.base import Key
from services.incentives.plans.scoring import WantedScore
from shared.contracts.base import Amount, Currency, Day, Posted
from shared.contracts.org import CalendarState, ExchangeRate
from shared.http.paging import Page
from shared.http.schemas import ITEMS_MAX, body_example, example
from shared.kernel.money import round_to_minor_unit

_QUARTER: JsonValue = {"start": "2026-01-01", "end": "2026-04-01"}
_MARCH: JsonValue = {"start": "2026-03-01", "end": "2026-04-01"}
_APRIL: JsonValue = {"start": "2026-04-01", "end": "2026-05-01"}
_PERSON = "01935a00-0000-7000-8000-000000000011"
_ASSIGNMENT = "01935a00-0000-7000-8000-000000000062"
_MOVED: dict[str, JsonValue] = {"before": "4000.00", "after": "2400.00", "difference": "-1600.00", "currency": "USD"}
_EARNING: dict[str, JsonValue] = {
    "earning_id": "01935a00-0000-7000-8000-000000000061",
    "plan_id": "01935a00-0000-7000-8000-000000000063",
    "component": "bookings",
    "origin": _QUARTER,
    "due": _MARCH,
    "due_state": "closed",
    "posted_in": _APRIL,
    **_MOVED,
}
_PERSON_EFFECT: dict[str, JsonValue] = {
    "person_id": _PERSON,
    "person_name": "Darcel Schlecht",
    **_MOVED,
    "earnings": [_EARNING],
}
_PAY_PERIOD_EFFECT: dict[str, JsonValue] = {
    "due": _MARCH,
    "due_state": "closed",
    "posted_in": _APRIL,
    "people": 1,
    **_MOVED,
}


class SupposedAssignments(AssignmentsBody):
    """Assignments that are made, changed, taken back, or of which what waits is approved: all of it, and approved."""

    model_config = body_example(
        kind="assignments",
        create=[],
        change=[{"id": "01935a00-0000-7000-8000-000000000064", "version": 1, "end": "2026-07-01"}],
        approve=[],
        delete=[],
    )

    kind: Literal["assignments"]


class SupposedVersion(BaseModel):
    """A version of a plan that pays, a draft as well."""

    model_config = body_example(kind="plan_version", plan_id="01935a00-0000-7000-8000-000000000063", number=2)

    kind: Literal["plan_version"]
    plan_id: UUID
    number: int = Field(ge=1, le=2**31 - 1, description="Which version of the plan.")


class SupposedCalendarState(CalendarState):
    """What is in force from a day on, up to the next state."""

    model_config = ConfigDict(extra="forbid")


class SupposedCalendar(BaseModel):
    """Another fiscal calendar, other working days or another home currency."""

    model_config = body_example(
        kind="calendar",
        history=[{"start": None, "start_month": 2, "time_zone": "UTC", "currency": "USD"}],
    )

    kind: Literal["calendar"]
    history: list[SupposedCalendarState] = Field(
        min_length=1,
        max_length=100,
        description="Every state in order, the first without a first day: as the calendar would have it afterwards.",
    )


class SupposedRateContent(BaseModel):
    """A rate from a day on, up to the next one that is stated."""

    model_config = body_example(currency="EUR", date="2026-02-01", rate="1.0845")

    currency: Currency
    date: Day
    rate: ExchangeRate | None = Field(description="In the home currency of the day; null takes back what is stated.")

    def supposed(self) -> SupposedRate:
        return SupposedRate(self.currency, self.date, self.rate)


class SupposedRates(BaseModel):
    """Exchange rates that are stated, changed or taken back."""

    model_config = body_example(
        kind="exchange_rates", rates=[{"currency": "EUR", "date": "2026-02-01", "rate": "1.0845"}]
    )

    kind: Literal["exchange_rates"]
    rates: list[SupposedRateContent] = Field(min_length=1, max_length=ITEMS_MAX)


class SupposedTarget(BaseModel):
    """The target that a goal would have."""

    model_config = body_example(goal_id="01935a00-0000-7000-8000-000000000031", target="120000")

    goal_id: UUID
    target: Amount


class SupposedTargets(BaseModel):
    """Other targets of goals; what they move is the pay of those whose quota one is."""

    model_config = body_example(
        kind="goals", goals=[{"goal_id": "01935a00-0000-7000-8000-000000000031", "target": "120000"}]
    )

    kind: Literal["goals"]
    goals: list[SupposedTarget] = Field(min_length=1, max_length=ITEMS_MAX)

    def targets(self) -> dict[UUID, Decimal]:
        return {each.goal_id: each.target for each in self.goals}


class SupposedScore(BaseModel):
    """What an objective would be scored with in a period."""

    model_config = body_example(
        assignment_id=_ASSIGNMENT, component="mbo", objective="pipeline", start="2026-01-01", percent="80"
    )

    assignment_id: UUID
    component: Key
    objective: Key
    start: Day = Field(description="The first day of one of the plan's periods.")
    percent: Amount

    def wanted(self) -> WantedScore:
        return WantedScore(self.assignment_id, self.component, self.objective, self.start, self.percent)


class SupposedScores(BaseModel):
    """Scores of objectives."""

    model_config = body_example(
        kind="scores",
        scores=[
            {
                "assignment_id": _ASSIGNMENT,
                "component": "mbo",
                "objective": "pipeline",
                "start": "2026-01-01",
                "percent": "80",
            }
        ],
    )

    kind: Literal["scores"]
    scores: list[SupposedScore] = Field(min_length=1, max_length=ITEMS_MAX)


Supposed = SupposedAssignments | SupposedVersion | SupposedCalendar | SupposedRates | SupposedTargets | SupposedScores


class PreviewBody(BaseModel):
    """A change that nobody has confirmed."""

    model_config = body_example(
        change={
            "kind": "assignments",
            "change": [{"id": _ASSIGNMENT, "version": 1, "quotas": {"bookings": {"amount": "120000"}}}],
        }
    )

    change: Annotated[Supposed, Field(discriminator="kind")]


class EffectAnswer(BaseModel):
    """What would be posted for one earning."""

    model_config = example(**_EARNING)

    earning_id: UUID = Field(description="Of an assignment that is not made yet, an id that no earning will have.")
    plan_id: UUID | None
    component: str | None
    origin: PostedPeriodAnswer = Field(description="The period it belongs to.")
    due: PostedPeriodAnswer = Field(description="The pay period that is due in.")
    due_state: PayState = Field(description="How far that one is: from `approved` on it takes no postings.")
    posted_in: PostedPeriodAnswer = Field(description="Where it would be posted now.")
    before: Posted = Field(description="What it has earned so far.")
    after: Posted
    difference: Posted = Field(description="What would be posted.")
    currency: Currency

    @classmethod
    def of(cls, effect: Effect) -> Self:
        return cls(
            earning_id=effect.earning_id,
            plan_id=effect.plan_id,
            component=effect.component,
            origin=PostedPeriodAnswer(start=effect.origin.start, end=effect.origin.end),
            due=PostedPeriodAnswer(start=effect.due.period.start, end=effect.due.period.end),
            due_state=effect.due.state,
            posted_in=PostedPeriodAnswer(start=effect.posted_in.start, end=effect.posted_in.end),
            before=round_to_minor_unit(effect.before, effect.currency),
            after=round_to_minor_unit(effect.after, effect.currency),
            difference=round_to_minor_unit(effect.amount, effect.currency),
            currency=effect.currency,
        )


class PersonEffectAnswer(BaseModel):
    """One person whom it moves, in one currency: the earnings that change, and what they come to."""

    model_config = example(**_PERSON_EFFECT)

    person_id: UUID
    person_name: str | None = Field(description="Null while the organisation has not published the person.")
    before: Posted
    after: Posted
    difference: Posted
    currency: Currency
    earnings: list[EffectAnswer]

    @classmethod
    def of(cls, found: PersonEffect, names: Mapping[UUID, str]) -> Self:
        return cls(
            person_id=found.person_id,
            person_name=names.get(found.person_id),
            before=round_to_minor_unit(found.before, found.currency),
            after=round_to_minor_unit(found.after, found.currency),
            difference=round_to_minor_unit(found.amount, found.currency),
            currency=found.currency,
            earnings=[EffectAnswer.of(each) for each in found.effects],
        )


class PayPeriodEffectAnswer(BaseModel):
    """What would be posted for the earnings that change and are due in one pay period.

    Of one that takes no postings any more, `before` and `after` are what they are worth as recalculated: what it paid
    stays, and the difference is posted in another one.
    """

    model_config = example(**_PAY_PERIOD_EFFECT)

    due: PostedPeriodAnswer
    due_state: PayState = Field(description="From `approved` on it takes no postings.")
    posted_in: PostedPeriodAnswer = Field(description="Where it would be posted now.")
    people: int
    before: Posted
    after: Posted
    difference: Posted
    currency: Currency

    @classmethod
    def of(cls, found: PayPeriodEffect) -> Self:
        return cls(
            due=PostedPeriodAnswer(start=found.due.period.start, end=found.due.period.end),
            due_state=found.due.state,
            posted_in=PostedPeriodAnswer(start=found.posted_in.start, end=found.posted_in.end),
            people=found.people,
            before=round_to_minor_unit(found.before, found.currency),
            after=round_to_minor_unit(found.after, found.currency),
            difference=round_to_minor_unit(found.amount, found.currency),
            currency=found.currency,
        )


class PreviewAnswer(Page[PersonEffectAnswer]):
    """Whom a change would move, and by how much; `items` are some of them, and all else is of all."""

    model_config = example(
        people=1,
        pay_periods=[_PAY_PERIOD_EFFECT],
        being_worked_out=0,
        items=[_PERSON_EFFECT],
        next_cursor=None,
    )

    people: int = Field(description="How many people it moves.")
    pay_periods: list[PayPeriodEffectAnswer] = Field(description="By pay period, in the order of time.")
    being_worked_out: int = Field(
        description="Of how many assignments among these another change is still being worked out. What that posts is"
        " in the amounts too; ask again once it is 0."
    )

    @classmethod
    def of_page(cls, preview: Preview, page: Page[PersonEffectAnswer]) -> Self:
        return cls(
            people=len({each.person_id for each in preview.effects}),
            pay_periods=[PayPeriodEffectAnswer.of(each) for each in preview.pay_periods()],
            being_worked_out=preview.being_worked_out,
            items=page.items,
            next_cursor=page.next_cursor,
        )
