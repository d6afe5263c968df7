from datetime import date, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.org import MembershipFact, OrgChart, OwnerKind, TeamNode
from shared.kernel.periods import DatedRange, Period

FIRST = date(2026, 1, 1)
TEAMS, PEOPLE, DAYS = 5, 4, 30
PERIOD = Period(FIRST + timedelta(5), FIRST + timedelta(25))

parents = st.lists(st.integers(0, TEAMS - 1), min_size=TEAMS, max_size=TEAMS).map(
    # A team stands below an earlier one, or at the top when it draws itself or a later one.
    lambda drawn: [parent if parent < team else None for team, parent in enumerate(drawn)]
)
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


def is_below(team: int, top: int, tree: list[int | None]) -> bool:
    above: int | None = team
    while above is not None and above != top:
        above = tree[above]
    return above == top


@given(parents, stays, st.integers(0, TEAMS - 1))
def test_a_team_reaches_someone_on_a_day_exactly_when_they_were_in_its_subtree(
    tree: list[int | None], facts: list[tuple[int, int, int, int | None]], top: int
) -> None:
    chart = OrgChart(
        teams={
            team_id(n): TeamNode(team_id(n), None if parent is None else team_id(parent), None)
            for n, parent in enumerate(tree)
        },
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
        for offset in range(reach.period.days)
    }
    expected = {
        (person_id(person), FIRST + timedelta(day))
        for person, team, start, length in facts
        for day in range(5, 25)
        if start <= day and (length is None or day < start + length) and is_below(team, top, tree)
    }
    assert reached == expected
