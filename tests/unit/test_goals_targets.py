from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from services.goals.targets.domain import (
    Direction,
    Goal,
    GoalCircle,
    GoalEnded,
    GoalNotActive,
    GoalNotDraft,
    GoalTerms,
    GoalTermsRefused,
    Owner,
    Status,
    StretchLevel,
    UnknownParent,
    activated,
    cancelled,
    check_parent,
    check_terms,
    closed,
    draft,
    edited,
    revised,
)
from services.goals.targets.events import goal_event
from services.goals.targets.schemas import DatesBody, FiscalPeriodBody, GoalAnswer, GoalBody, MetricBody, changed_terms
from shared.kernel.deals import DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import EVERYTHING
from shared.kernel.measures import Aggregate, Measure, RatePolicy
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind
from shared.kernel.records import RecordKind

PERSON, TENANT, GOAL, PARENT = (UUID(int=number) for number in (1, 2, 3, 4))
QUARTER = Period(date(2026, 1, 1), date(2026, 4, 1))
TERMS = GoalTerms(
    name="Bookings",
    owner=Owner(OwnerKind.PERSON, PERSON),
    measure=Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD", rate_policy=RatePolicy.DEAL_DATE),
    target=Decimal(1000),
    baseline=Decimal(0),
    unit="USD",
    direction=Direction.HIGHER,
    period=QUARTER,
    parent_id=None,
    weight=Decimal(1),
)
DRAFT = draft(GOAL, TERMS)
ACTIVE = activated(DRAFT)
CLOSED = closed(ACTIVE)
CANCELLED = cancelled(ACTIVE)
OTHER = replace(TERMS, target=Decimal(2000))


def test_a_goal_lives_from_draft_over_revisions_to_its_end() -> None:
    assert Goal(GOAL, 1, 1, Status.DRAFT, TERMS) == DRAFT
    assert edited(DRAFT, OTHER) == Goal(GOAL, 2, 1, Status.DRAFT, OTHER)
    assert Goal(GOAL, 2, 1, Status.ACTIVE, TERMS) == ACTIVE
    second = revised(ACTIVE, OTHER)
    assert second == Goal(GOAL, 3, 2, Status.ACTIVE, OTHER)
    assert closed(second) == Goal(GOAL, 4, 2, Status.CLOSED, OTHER)
    assert cancelled(second) == Goal(GOAL, 4, 2, Status.CANCELLED, OTHER)
    assert cancelled(DRAFT).status is Status.CANCELLED


@pytest.mark.parametrize("goal", [ACTIVE, CLOSED, CANCELLED])
def test_only_a_draft_can_be_edited_or_activated(goal: Goal) -> None:
    with pytest.raises(GoalNotDraft, match=goal.status):
        edited(goal, OTHER)
    with pytest.raises(GoalNotDraft, match=goal.status):
        activated(goal)


@pytest.mark.parametrize("goal", [DRAFT, CLOSED, CANCELLED])
def test_only_an_active_goal_can_be_revised_or_closed(goal: Goal) -> None:
    with pytest.raises(GoalNotActive, match=goal.status):
        revised(goal, OTHER)
    with pytest.raises(GoalNotActive, match=goal.status):
        closed(goal)


@pytest.mark.parametrize("goal", [CLOSED, CANCELLED])
def test_a_goal_that_has_ended_can_not_be_cancelled(goal: Goal) -> None:
    with pytest.raises(GoalEnded, match=goal.status):
        cancelled(goal)


def test_a_revision_that_changes_nothing_is_refused() -> None:
    with pytest.raises(GoalTermsRefused, match="changes nothing"):
        revised(ACTIVE, replace(TERMS, target=Decimal("1000.00")))


COUNT = Measure(Aggregate.COUNT, None, DateField.CLOSED)


@pytest.mark.parametrize(
    "terms",
    [
        replace(TERMS, target=Decimal(0)),
        replace(TERMS, target=Decimal(500), baseline=Decimal(500)),
        replace(TERMS, direction=Direction.LOWER),
        replace(TERMS, direction=Direction.LOWER, target=Decimal(5), baseline=Decimal(5)),
        replace(TERMS, measure=COUNT, unit="deals", target=Decimal("10.5")),
    ],
)
def test_terms_that_contradict_each_other_keep_a_goal_from_counting(terms: GoalTerms) -> None:
    with pytest.raises(GoalTermsRefused) as refused:
        activated(draft(GOAL, terms))
    assert [field.pointer for field in refused.value.fields] == ["/target"]
    assert refused.value.fields[0].accepted
    with pytest.raises(GoalTermsRefused):
        revised(ACTIVE, terms)
    assert edited(DRAFT, terms).terms == terms


@pytest.mark.parametrize(
    "terms",
    [
        replace(TERMS, target=Decimal("-5"), baseline=Decimal("-10")),
        replace(TERMS, direction=Direction.LOWER, target=Decimal(3), baseline=Decimal(5)),
        replace(TERMS, measure=COUNT, target=Decimal("10.0")),
    ],
)
def test_terms_that_can_be_reached_are_accepted(terms: GoalTerms) -> None:
    check_terms(terms)


WIN_RATE = Measure(Aggregate.RATIO, None, DateField.CLOSED, numerator_filter=EVERYTHING)
CLUB, TOP = StretchLevel("Club", Decimal(1200)), StretchLevel("Top", Decimal(1500))


@pytest.mark.parametrize(
    ("terms", "pointers"),
    [
        (replace(TERMS, stretch=(TOP, CLUB)), ["/stretch/1/target"]),
        (replace(TERMS, stretch=(replace(CLUB, target=TERMS.target), TOP)), ["/stretch/0/target"]),
        (replace(TERMS, stretch=(CLUB, replace(TOP, name="Club"))), ["/stretch/1/name"]),
        (
            replace(TERMS, direction=Direction.LOWER, target=Decimal(5), baseline=Decimal(9), stretch=(CLUB,)),
            ["/stretch/0/target"],
        ),
        (replace(TERMS, measure=COUNT, stretch=(replace(CLUB, target=Decimal("1000.5")),)), ["/stretch/0/target"]),
        (replace(TERMS, measure=WIN_RATE, target=Decimal("100.01")), ["/target"]),
        (
            replace(TERMS, measure=WIN_RATE, target=Decimal(90), stretch=(CLUB, TOP)),
            [
                "/stretch/0/target",
                "/stretch/1/target",
            ],
        ),
    ],
)
def test_levels_and_ratios_that_can_never_be_reached_are_refused(terms: GoalTerms, pointers: list[str]) -> None:
    with pytest.raises(GoalTermsRefused) as refused:
        activated(draft(GOAL, terms))
    assert [field.pointer for field in refused.value.fields] == pointers
    assert all(field.accepted for field in refused.value.fields)


@pytest.mark.parametrize(
    "terms",
    [
        replace(TERMS, stretch=(CLUB, TOP)),
        replace(TERMS, measure=WIN_RATE, target=Decimal("33.3"), stretch=(StretchLevel("All", Decimal(100)),)),
        replace(
            TERMS,
            direction=Direction.LOWER,
            target=Decimal(5),
            baseline=Decimal(9),
            stretch=(StretchLevel("Fast", Decimal("4.5")), StretchLevel("At once", Decimal(0))),
        ),
    ],
)
def test_levels_go_on_from_the_target_in_the_goal_s_direction(terms: GoalTerms) -> None:
    check_terms(terms)


def test_a_goal_may_be_a_part_of_any_goal_that_is_no_part_of_it() -> None:
    grandparent = UUID(int=9)
    check_parent({PARENT: grandparent, grandparent: None}, GOAL, PARENT)
    for line, parent in (({PARENT: GOAL, GOAL: None}, PARENT), ({GOAL: None}, GOAL)):
        with pytest.raises(GoalCircle) as refused:
            check_parent(line, GOAL, parent)
        assert [field.pointer for field in refused.value.fields] == ["/parent_id"]
    with pytest.raises(UnknownParent):
        check_parent({}, GOAL, PARENT)


def test_the_event_of_a_goal_says_all_of_it() -> None:
    event = goal_event(TENANT, revised(ACTIVE, replace(OTHER, parent_id=PARENT)))
    assert (event.tenant_id, event.id, event.version, event.revision, event.status.value) == (
        TENANT,
        GOAL,
        3,
        2,
        "active",
    )
    assert (event.owner.kind, event.owner.id) == ("person", PERSON)
    assert event.metric.measure() == TERMS.measure
    assert (event.target, event.baseline, event.weight) == (Decimal(2000), Decimal(0), Decimal(1))
    assert (event.start, event.end, event.parent_id) == (QUARTER.start, QUARTER.end, PARENT)


def body(**fields: object) -> GoalBody:
    return GoalBody.model_validate(
        {
            "name": "Bookings",
            "owner": {"kind": "person", "id": str(PERSON)},
            "metric": {"aggregate": "sum", "value_field": "amount", "currency": "USD"},
            "target": "1000",
            "period": {"kind": "quarter", "containing": "2026-02-14"},
            **fields,
        }
    )


def test_a_request_becomes_the_terms_it_asks_for() -> None:
    assert body().terms(FiscalCalendar()) == TERMS
    assert body(period={"start": "2026-01-01", "end": "2026-04-01"}).terms(FiscalCalendar()) == TERMS


def test_a_period_named_by_the_calendar_follows_its_start_month() -> None:
    assert FiscalPeriodBody(kind=PeriodKind.QUARTER, containing=date(2026, 1, 31)).period(FiscalCalendar(2)) == Period(
        date(2025, 11, 1), date(2026, 2, 1)
    )


def test_an_empty_period_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput) as refused:
        DatesBody(start=date(2026, 1, 1), end=date(2026, 1, 1)).period(FiscalCalendar())
    assert refused.value.fields[0].pointer == "/period/end"


@pytest.mark.parametrize(
    ("metric", "pointer"),
    [
        ({"aggregate": "sum", "value_field": "amount"}, "/metric/currency"),
        ({"aggregate": "sum", "value_field": "stage", "currency": "USD"}, "/metric/value_field"),
        ({"aggregate": "count", "filter": {"any": []}}, "/metric/filter/any"),
        (
            {"aggregate": "count", "filter": {"all": [{"field": "amount", "op": "gt", "value": 1.5}]}},
            "/metric/filter/all/0/value",
        ),
        ({"aggregate": "count", "date_field": "occurred"}, "/metric/date_field"),
        ({"record": "activity", "aggregate": "count", "date_field": "closed"}, "/metric/date_field"),
        ({"record": "activity", "aggregate": "sum", "value_field": "amount"}, "/metric/value_field"),
        ({"record": "activity", "aggregate": "distinct", "value_field": "stage"}, "/metric/value_field"),
        (
            {"record": "activity", "aggregate": "count", "filter": {"field": "stage", "op": "eq", "value": "5"}},
            "/metric/filter/field",
        ),
        ({"record": "activity", "aggregate": "count", "currency": "USD"}, "/metric/currency"),
        ({"record": "activity", "aggregate": "count", "rate_policy": "deal_date"}, "/metric/rate_policy"),
    ],
)
def test_a_metric_that_can_not_be_worked_out_is_refused_by_name(metric: object, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        body(metric=metric).terms(FiscalCalendar())
    assert [field.pointer for field in refused.value.fields] == [pointer]


def test_what_is_wrong_with_a_metric_of_activities_says_what_activities_have() -> None:
    with pytest.raises(InvalidInput) as refused:
        body(metric={"record": "activity", "aggregate": "sum", "value_field": "amount"}).terms(FiscalCalendar())
    assert refused.value.fields[0].accepted == "duration_seconds"
    with pytest.raises(InvalidInput) as refused:
        body(
            metric={"record": "activity", "aggregate": "count", "filter": {"field": "stage", "op": "eq", "value": "5"}}
        ).terms(FiscalCalendar())
    assert "outcome" in (refused.value.fields[0].accepted or "")


def test_a_metric_of_activities_counts_them_on_the_day_they_took_place() -> None:
    metric = {"record": "activity", "aggregate": "count", "filter": {"field": "type", "op": "eq", "value": "call"}}
    terms = body(metric=metric).terms(FiscalCalendar())
    assert (terms.measure.record, terms.measure.date_field) == (RecordKind.ACTIVITY, DateField.OCCURRED)
    event = goal_event(TENANT, draft(GOAL, terms))
    assert event.metric.measure() == terms.measure
    assert MetricBody.of(terms.measure).measure() == terms.measure


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ({"aggregate": "sum", "value_field": "amount", "currency": "CNY"}, "CNY"),
        ({"aggregate": "sum", "value_field": "quantity"}, "quantity"),
        ({"aggregate": "count"}, "deals"),
        ({"aggregate": "distinct", "value_field": "account_id"}, "account_id"),
        ({"aggregate": "ratio", "numerator_filter": {"all": []}}, "%"),
        (
            {"aggregate": "ratio", "value_field": "amount", "currency": "CNY", "numerator_filter": {"all": []}},
            "%",
        ),
        ({"aggregate": "average", "value_field": "amount", "currency": "CNY"}, "CNY"),
        ({"record": "activity", "aggregate": "count"}, "activities"),
        ({"record": "activity", "aggregate": "sum", "value_field": "duration_seconds"}, "duration_seconds"),
    ],
)
def test_a_unit_that_is_left_out_follows_from_the_metric(metric: object, unit: str) -> None:
    assert body(metric=metric).terms(FiscalCalendar()).unit == unit


def test_a_change_keeps_what_it_leaves_out_and_null_is_a_value() -> None:
    held = replace(TERMS, parent_id=PARENT)
    assert changed_terms(held, FiscalCalendar(), {}) == held
    assert changed_terms(held, FiscalCalendar(), {"parent_id": None}) == TERMS
    assert changed_terms(held, FiscalCalendar(), {"target": Decimal(2000)}) == replace(OTHER, parent_id=PARENT)


def test_the_answer_shows_exact_numbers_as_text() -> None:
    shown = GoalAnswer.of(draft(GOAL, replace(TERMS, target=Decimal("1000.50")))).model_dump(mode="json")
    assert (shown["target"], shown["baseline"], shown["weight"]) == ("1000.5", "0", "1")
    assert shown["period"] == {"start": "2026-01-01", "end": "2026-04-01"}
