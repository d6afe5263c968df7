"""Whatever is done to a goal, its life keeps to the same few rules."""

from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.goals.calendar.domain import FirstDay
from services.goals.org.domain import (
    Place,
    Team,
    TeamCircle,
    check_tree,
)
from services.goals.targets.domain import (
    Direction,
    Goal,
    GoalTerms,
    Owner,
    activated,
    cancelled,
    closed,
    draft,
    edited,
    revised,
)
from shared.kernel.deals import DateField
from shared.kernel.errors import AttainError
from shared.kernel.measures import Aggregate, Measure
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period

ALLOWED = {
    ("draft", "edit"): "draft",
    ("draft", "activate"): "active",
    ("draft", "cancel"): "cancelled",
    ("active", "revise"): "active",
    ("active", "close"): "closed",
    ("active", "cancel"): "cancelled",
}


def terms(target: int) -> GoalTerms:
    return GoalTerms(
        "Deals won",
        Owner(OwnerKind.TEAM, UUID(int=1)),
        Measure(Aggregate.COUNT, None, DateField.CLOSED),
        Decimal(target),
        Decimal(0),
        "deals",
        Direction.HIGHER,
        Period(date(2026, 1, 1), date(2026, 4, 1)),
        None,
        Decimal(1),
    )


def done(goal: Goal, step: str, target: int) -> Goal:
    match step:
        case "edit":
            return edited(goal, terms(target))
        case "activate":
            return activated(goal)
        case "revise":
            return revised(goal, terms(target))
        case "close":
            return closed(goal)
        case _:
            return cancelled(goal)


steps = st.tuples(st.sampled_from(["edit", "activate", "activate", "revise", "close", "cancel"]), st.integers(-1, 3))


@given(st.lists(steps, max_size=12), st.integers(-1, 3))
def test_a_goal_moves_only_along_its_life_and_counts_every_change(sequence: list[tuple[str, int]], first: int) -> None:
    goal = draft(UUID(int=7), terms(first))
    status, version, revision, target = "draft", 1, 1, first
    for step, number in sequence:
        possible = (status, step) in ALLOWED
        if step == "activate":
            possible = possible and target > 0
        if step == "revise":
            possible = possible and number > 0 and number != target
        try:
            goal = done(goal, step, number)
        except AttainError:
            assert not possible
            continue
        assert possible
        status, version = ALLOWED[status, step], version + 1
        if step in ("edit", "revise"):
            target = number
        revision += step == "revise"
        assert (goal.status.value, goal.version, goal.revision) == (status, version, revision)
        assert goal.terms.target == target


DAY = date(2026, 1, 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.none() | st.integers(0, 3)), max_size=20))
def test_no_sequence_of_moves_makes_a_circle_of_teams_on_any_day(moves: list[tuple[int, int, int | None]]) -> None:
    ids = [UUID(int=number) for number in range(6)]
    teams = {team: Team(team, 1, "Team", Place(None, None)) for team in ids}

    def has_circle(moved: dict[UUID, Team], day: date) -> bool:
        for team in ids:
            walked, above = 0, moved[team].on(day).parent_id
            while above is not None and walked < len(ids):
                walked, above = walked + 1, moved[above].on(day).parent_id
            if above is not None:
                return True
        return False

    for team, parent, day in moves:
        start = FirstDay.BEGINNING if day is None else DAY + timedelta(day)
        moved = teams[ids[team]].placed(start, Place(ids[parent], None), DAY)
        circles = any(
            has_circle({**teams, moved.id: moved}, each) for each in (date.min, *(DAY + timedelta(n) for n in range(4)))
        )
        try:
            check_tree({team_id: held.node for team_id, held in teams.items()}, moved.node)
        except TeamCircle:
            assert circles
            continue
        assert not circles
        teams[moved.id] = moved
