from datetime import date, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.org import MembershipFact, OrgChart, OwnerKind, TeamChange, TeamNode
from shared.kernel.periods import DatedRange, Period

FIRST = date(2026, 1, 1)
TEAMS, PEOPLE, DAYS = 5, 4, 30
PERIOD = Period(FIRST + timedelta(5), FIRST + timedelta(25))

# Below an earlier team, or at the top when it draws itself or a later one; then at most twice somewhere else.
above = st.integers(0, TEAMS - 1)
lines = st.tuples(above, st.lists(st.tuples(st.integers(1, DAYS), above), max_size=2, unique_by=lambda move: move[0]))
trees = st.lists(lines, min_size=TEAMS, max_size=TEAMS)
Tree = list[tuple[int, list[tuple[int, int]]]]
stays = st.lists(
    st.tuples(
        st.integers(0, PEOPLE - 1), st.integers(0, TEAMS - 1), st.integers(0, DAYS), st.none() | st.integers(1, DAYS)
    ),
    max_size=10,
)


def team_id(number: int) -> UUID:
    return UUID(int=100 + number)


def person_id(number: int) -> UUID:
    return UUID(int=200 + number)


def parent(team: int, day: int, tree: Tree) -> int | None:
    drawn, moves = tree[team]
    for start, moved_to in sorted(moves):
        drawn = moved_to if start <= day else drawn
    return drawn if drawn < team else None


def is_below(team: int, top: int, day: int, tree: Tree) -> bool:
    above: int | None = team
    while above is not None and above != top:
        above = parent(above, day, tree)
    return above == top


def node(number: int, tree: Tree) -> TeamNode:
    def team_or_none(drawn: int) -> UUID | None:
        return team_id(drawn) if drawn < number else None

    drawn, moves = tree[number]
    changes = tuple(TeamChange(FIRST + timedelta(start), team_or_none(to), None) for start, to in sorted(moves))
    return TeamNode(team_id(number), team_or_none(drawn), None, changes)


@given(trees, st.integers(0, TEAMS - 1), st.integers(0, DAYS))
def test_the_subtree_of_a_day_is_whoever_climbs_to_its_top_on_that_day(tree: Tree, top: int, day: int) -> None:
    chart = OrgChart(teams={team_id(n): node(n, tree) for n in range(TEAMS)})
    expected = {team_id(n) for n in range(TEAMS) if is_below(n, top, day, tree)}
    assert chart.subtree(team_id(top), FIRST + timedelta(day)) == expected


@given(trees, stays, st.integers(0, TEAMS - 1))
def test_a_team_reaches_someone_on_a_day_exactly_when_they_were_in_its_subtree_of_that_day(
    tree: Tree, facts: list[tuple[int, int, int, int | None]], top: int
) -> None:
    chart = OrgChart(
        teams={team_id(n): node(n, tree) for n in range(TEAMS)},
        memberships=[
            MembershipFact(
                person_id(person),
                team_id(team),
                DatedRange(FIRST + timedelta(start), None if length is None else FIRST + timedelta(start + length)),
            )
            for person, team, start, length in facts
        ],
    )
    reached = {
        (reach.person_id, reach.period.start + timedelta(offset))
        for reach in chart.reach(OwnerKind.TEAM, team_id(top), PERIOD)
        for offset in range((reach.period.end - reach.period.start).days)
    }
    expected = {
        (person_id(person), FIRST + timedelta(day))
        for person, team, start, length in facts
        for day in range(5, 25)
        if start <= day and (length is None or day < start + length) and is_below(team, top, day, tree)
    }
    assert reached == expected
