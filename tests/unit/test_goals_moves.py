"""Worked numbers of moves, and what is refused of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import pytest

from services.goals.moves.domain.effects import Known, Plan, plan_of
from services.goals.moves.domain.move import (
    GoalChoice,
    Handling,
    MoveKind,
    MoveRefused,
    MoveTerms,
    check_terms,
    usual_handling,
)
from services.goals.org.domain import Membership, MembershipOverlaps
from services.goals.targets.domain import (
    Direction,
    Goal,
    GoalTerms,
    Owner,
    Status,
    StretchLevel,
    activated,
    draft,
)
from shared.kernel.deals import DateField
from shared.kernel.filters import EVERYTHING
from shared.kernel.measures import Aggregate, Measure, RatePolicy
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period

LEAVER, SUCCESSOR, OTHER = (UUID(int=number) for number in (1, 2, 3))
NORTH, SOUTH = UUID(int=11), UUID(int=12)
Q1 = Period(date(2026, 1, 1), date(2026, 4, 1))
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)
BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD", rate_policy=RatePolicy.DEAL_DATE)
WON = Measure(Aggregate.COUNT, None, DateField.CLOSED)
RATE = Measure(Aggregate.RATIO, None, DateField.CLOSED, numerator_filter=EVERYTHING)
PARTS = Measure(Aggregate.CHILDREN, None, DateField.CLOSED)
EVER = date(2020, 1, 1)


LEAVING = MoveTerms(LEAVER, MoveKind.LEAVER, DatedRange(FEBRUARY), successor_id=SUCCESSOR, handling=Handling.HAND_ON)


def goal(
    number: int,
    target: int = 90_000,
    *,
    owner: UUID = LEAVER,
    measure: Measure = BOOKINGS,
    baseline: int = 0,
    unit: str = "USD",
    period: Period = Q1,
    parent_id: UUID | None = None,
    weight: str = "1",
    stretch: tuple[StretchLevel, ...] = (),
) -> Goal:
    terms = GoalTerms(
        "Bookings",
        Owner(OwnerKind.PERSON, owner),
        measure,
        Decimal(target),
        Decimal(baseline),
        unit,
        Direction.HIGHER,
        period,
        parent_id,
        Decimal(weight),
        stretch,
    )
    return activated(draft(UUID(int=number), terms))


def targets(plan: Plan, goal_index: int = 0) -> list[tuple[UUID | None, UUID, str | None, str | None]]:
    def text(amount: Decimal | None) -> str | None:
        return None if amount is None else f"{amount:,.2f}"

    effect = plan.effect.goals[goal_index]
    return [(each.goal_id, each.owner_id, text(each.before), text(each.after)) for each in effect.targets]


def test_a_transfer_on_the_first_of_february_leaves_31000_of_90000_and_hands_on_59000() -> None:
    plan = plan_of(replace(LEAVING, kind=MoveKind.TRANSFER, team_id=SOUTH), Known([], [goal(31)]))
    assert targets(plan) == [
        (UUID(int=31), LEAVER, "90,000.00", "31,000.00"),
        (None, SUCCESSOR, None, "59,000.00"),
    ]
    [effect], [new] = plan.effect.goals, plan.new
    assert effect.sum_before == effect.sum_after == Decimal(90_000)
    assert new.terms.period == Period(FEBRUARY, Q1.end)
    assert new.status is Status.ACTIVE


def test_a_ramp_from_the_first_of_march_reaches_the_whole_after_four_months() -> None:
    months = [date(2026, month, 1) for month in range(3, 9)]
    goals = [goal(31 + at, 10_000, period=Period(start, end)) for at, (start, end) in enumerate(pairwise(months))]
    shares = tuple(Decimal(share) for share in ("0", "0.25", "0.5", "0.75", "1"))
    for kind in (MoveKind.HIRE, MoveKind.RAMP):
        team_id = NORTH if kind is MoveKind.HIRE else None
        hired = MoveTerms(LEAVER, kind, DatedRange(MARCH), team_id, handling=Handling.REDUCE, ramp=shares)
        plan = plan_of(hired, Known([], goals))
        reached = [targets(plan, at)[0][3] for at in range(len(goals))]
        assert reached == [None, "2,500.00", "5,000.00", "7,500.00", "10,000.00"]
    assert len(plan.changed) == 4


def test_who_is_hired_in_the_quarter_has_the_days_left_and_who_ramps_also_those_before() -> None:
    hired = MoveTerms(LEAVER, MoveKind.HIRE, DatedRange(FEBRUARY), NORTH, handling=Handling.REDUCE)
    assert targets(plan_of(hired, Known([], [goal(31)]))) == [(UUID(int=31), LEAVER, "90,000.00", "59,000.00")]
    half = replace(hired, kind=MoveKind.RAMP, team_id=None, ramp=(Decimal("0.5"),))
    # 31 days in full, 28 at half, 31 in full.
    assert targets(plan_of(half, Known([], [goal(31)]))) == [(UUID(int=31), LEAVER, "90,000.00", "76,000.00")]


def test_a_leave_takes_its_days_only_and_hands_them_on_where_somebody_takes_over() -> None:
    away = replace(LEAVING, kind=MoveKind.LEAVE, days=DatedRange(FEBRUARY, MARCH))
    plan = plan_of(away, Known([], [goal(31)]))
    assert targets(plan) == [(UUID(int=31), LEAVER, "90,000.00", "62,000.00"), (None, SUCCESSOR, None, "28,000.00")]
    assert plan.new[0].terms.period == Period(FEBRUARY, MARCH)
    reduced = plan_of(replace(away, successor_id=None, handling=Handling.REDUCE), Known([], [goal(31)]))
    assert targets(reduced) == [(UUID(int=31), LEAVER, "90,000.00", "62,000.00")]
    [effect] = reduced.effect.goals
    assert effect.sum_after - effect.sum_before == -28_000


def test_a_goal_of_the_successor_that_differs_by_its_target_alone_takes_over() -> None:
    theirs = goal(41, 100_000, owner=SUCCESSOR, stretch=(StretchLevel("Club", Decimal(120_000)),))
    others = [goal(42, owner=SUCCESSOR, unit="deals"), goal(43, owner=OTHER), theirs]
    plan = plan_of(LEAVING, Known([], [goal(31), goal(32, 9_000)], others))
    assert targets(plan)[1] == (UUID(int=41), SUCCESSOR, "100,000.00", "159,000.00")
    # The second goal finds it taken.
    assert targets(plan, 1)[1] == (None, SUCCESSOR, None, "5,900.00")
    changed = {each.stored.id: each.terms for each in plan.changed}
    terms = changed[UUID(int=41)]
    assert terms is not None
    assert terms.stretch == (StretchLevel("Club", Decimal(179_000)),)


def test_what_lies_ahead_is_handed_on_whole_and_cancelled_and_what_is_over_is_left_alone() -> None:
    ahead = goal(31, period=Period(Q1.end, date(2026, 7, 1)))
    over = goal(32, period=Period(Q1.start, FEBRUARY))
    plan = plan_of(LEAVING, Known([], [over, ahead]))
    assert targets(plan) == [(UUID(int=31), LEAVER, "90,000.00", None), (None, SUCCESSOR, None, "90,000.00")]
    assert [(each.stored.id, each.terms) for each in plan.changed] == [(UUID(int=31), None)]
    assert len(plan.effect.goals) == 1


def test_each_goal_may_have_a_choice_and_a_successor_of_its_own() -> None:
    choices = (
        GoalChoice(UUID(int=31), Handling.STAY),
        GoalChoice(UUID(int=32), Handling.HAND_ON, OTHER, "Of the north"),
    )
    plan = plan_of(replace(LEAVING, choices=choices), Known([], [goal(31), goal(32), goal(33)]))
    assert targets(plan) == [(UUID(int=31), LEAVER, "90,000.00", "90,000.00")]
    assert [(each.terms.owner.id, each.terms.name) for each in plan.new] == [
        (OTHER, "Of the north"),
        (SUCCESSOR, "Bookings"),
    ]


def test_counts_stay_whole_and_a_rate_is_handed_on_as_it_is() -> None:
    plan = plan_of(LEAVING, Known([], [goal(31, 10, measure=WON), goal(32, 30, measure=RATE)]))
    assert targets(plan) == [(UUID(int=31), LEAVER, "10.00", "3.00"), (None, SUCCESSOR, None, "7.00")]
    assert targets(plan, 1) == [(UUID(int=32), LEAVER, "30.00", "30.00"), (None, SUCCESSOR, None, "30.00")]
    assert not plan.effect.goals[1].adds_up


def test_a_goal_below_another_goes_below_what_takes_that_over() -> None:
    year = goal(31, 360_000, period=Period(Q1.start, date(2027, 1, 1)))
    part, apart = goal(32, parent_id=year.id), goal(33, parent_id=UUID(int=99))
    plan = plan_of(LEAVING, Known([], [part, apart, year]))
    assert [(each.source_id.int, each.below, each.terms.parent_id) for each in plan.new] == [
        (33, None, UUID(int=99)),
        (31, None, None),
        (32, year.id, None),
    ]
    theirs = goal(41, owner=SUCCESSOR, period=year.terms.period)
    plan = plan_of(LEAVING, Known([], [part, year], [theirs]))
    assert [(each.below, each.terms.parent_id) for each in plan.new] == [(None, theirs.id)]


def test_weights_of_parts_are_divided_as_the_targets_are_and_still_come_to_the_same() -> None:
    parent = UUID(int=99)
    plan = plan_of(LEAVING, Known([], [goal(31, parent_id=parent, weight="0.75")], made_of_parts={parent}))
    [changed], [new] = plan.changed, plan.new
    assert changed.terms is not None
    assert (changed.terms.weight, new.terms.weight) == (Decimal("0.258333"), Decimal("0.491667"))


def test_a_goal_made_of_its_parts_stays_with_the_person() -> None:
    made = goal(31, 100, measure=PARTS)
    assert plan_of(LEAVING, Known([], [made])).changed == ()
    with pytest.raises(MoveRefused) as refused:
        plan_of(replace(LEAVING, choices=(GoalChoice(made.id, Handling.HAND_ON),)), Known([], [made]))
    assert refused.value.fields[0].pointer == "/goals/0/handling"


def test_a_level_that_rounding_makes_no_level_is_left_out() -> None:
    plan = plan_of(LEAVING, Known([], [goal(31, 3, measure=WON, stretch=(StretchLevel("Club", Decimal(4)),))]))
    [changed] = plan.changed
    assert changed.terms is not None
    assert (changed.terms.target, changed.terms.stretch) == (Decimal(1), ())


def test_what_no_goal_in_force_can_be_is_refused_before_anything_is_done() -> None:
    turned = goal(31, 10, measure=WON, baseline=9)
    with pytest.raises(MoveRefused) as refused:
        plan_of(LEAVING, Known([], [turned]))
    [field] = refused.value.fields
    assert (field.pointer, field.accepted) == ("/handling", "stay")
    with pytest.raises(MoveRefused, match="whose days are over"):
        plan_of(LEAVING, Known([], [goal(31)], today=Q1.end))
    assert plan_of(LEAVING, Known([], [goal(31)], today=date(2026, 3, 31))).new
    part = goal(32, parent_id=UUID(int=99), period=Period(FEBRUARY, Q1.end))
    reduced = replace(LEAVING, successor_id=None, choices=(GoalChoice(part.id, Handling.REDUCE),))
    with pytest.raises(MoveRefused) as refused:
        plan_of(reduced, Known([], [part], made_of_parts={UUID(int=99)}))
    assert refused.value.fields[0].pointer == "/goals/0/handling"


def stay(number: int, team: UUID, start: date = EVER, end: date | None = None) -> Membership:
    return Membership(UUID(int=number), 3, LEAVER, team, DatedRange(start, end))


def days(plan: Plan) -> list[tuple[int | None, UUID, DatedRange | None]]:
    return [
        (None if each.membership_id is None else each.membership_id.int, each.team_id, each.after)
        for each in plan.effect.memberships
    ]


def test_who_leaves_is_in_no_team_from_the_day_on_and_stays_where_it_was_before() -> None:
    stays = [stay(1, NORTH), stay(2, SOUTH, EVER, FEBRUARY), stay(3, SOUTH, MARCH)]
    assert days(plan_of(LEAVING, Known(stays, []))) == [(1, NORTH, DatedRange(EVER, FEBRUARY)), (3, SOUTH, None)]


def test_a_transfer_leaves_the_team_it_names_or_all_others() -> None:
    stays = [stay(1, NORTH), stay(2, UUID(int=13))]
    begun = (None, SOUTH, DatedRange(FEBRUARY))
    everywhere = plan_of(replace(LEAVING, kind=MoveKind.TRANSFER, team_id=SOUTH), Known(stays, []))
    ended = DatedRange(EVER, FEBRUARY)
    assert days(everywhere) == [(1, NORTH, ended), (2, UUID(int=13), ended), begun]
    named = plan_of(replace(LEAVING, kind=MoveKind.TRANSFER, team_id=SOUTH, from_team_id=NORTH), Known(stays, []))
    assert days(named) == [(1, NORTH, ended), begun]
    with pytest.raises(MembershipOverlaps):
        plan_of(replace(LEAVING, kind=MoveKind.TRANSFER, team_id=SOUTH), Known([stay(1, SOUTH)], []))
    for kind in (MoveKind.TERRITORY, MoveKind.LEAVE, MoveKind.RAMP):
        assert days(plan_of(replace(LEAVING, kind=kind, ramp=(Decimal(1),)), Known(stays, []))) == []


@pytest.mark.parametrize(
    ("terms", "pointers"),
    [
        (replace(LEAVING, kind=MoveKind.TRANSFER), ["/team_id"]),
        (replace(LEAVING, team_id=NORTH, from_team_id=NORTH), ["/team_id", "/from_team_id", "/from_team_id"]),
        (replace(LEAVING, days=DatedRange(FEBRUARY, MARCH)), ["/end"]),
        (replace(LEAVING, successor_id=None), ["/successor_id"]),
        (replace(LEAVING, successor_id=LEAVER), ["/successor_id"]),
        (replace(LEAVING, ramp=(Decimal(1),)), ["/ramp"]),
        (replace(LEAVING, kind=MoveKind.RAMP), ["/ramp", "/handling"]),
        (
            replace(
                LEAVING, successor_id=None, handling=Handling.STAY, choices=(GoalChoice(NORTH, Handling.HAND_ON),) * 2
            ),
            ["/goals/0/successor_id", "/goals/1/successor_id", "/goals/1/goal_id"],
        ),
    ],
)
def test_a_move_that_contradicts_itself_is_refused_with_every_field(terms: MoveTerms, pointers: Sequence[str]) -> None:
    with pytest.raises(MoveRefused) as refused:
        check_terms(terms)
    assert [field.pointer for field in refused.value.fields] == pointers
    assert all(field.accepted for field in refused.value.fields)


def test_a_choice_is_of_a_goal_that_the_move_concerns() -> None:
    with pytest.raises(MoveRefused) as refused:
        plan_of(replace(LEAVING, choices=(GoalChoice(UUID(int=9), Handling.STAY),)), Known([], [goal(31)]))
    [field] = refused.value.fields
    assert (field.pointer, field.accepted) == ("/goals/0/goal_id", str(UUID(int=31)))


def test_goals_are_usually_handed_on_to_a_successor_and_else_reduced_where_somebody_is_away() -> None:
    assert usual_handling(MoveKind.LEAVER, SUCCESSOR) is Handling.HAND_ON
    assert usual_handling(MoveKind.LEAVER, None) is Handling.STAY
    assert usual_handling(MoveKind.LEAVE, None) is Handling.REDUCE
