from datetime import date
from uuid import UUID

from shared.kernel.org import CrmUser, MembershipFact, OrgChart, OwnerKind, Reach, TeamChange, TeamNode, united
from shared.kernel.periods import DatedRange, Period

COMPANY, EAST, WEST, LONER = (UUID(int=number) for number in (1, 2, 3, 4))
ANA, BO, CY, MANAGER = (UUID(int=number) for number in (11, 12, 13, 19))
QUARTER = Period(date(2026, 1, 1), date(2026, 4, 1))

CHART = OrgChart(
    teams={
        COMPANY: TeamNode(COMPANY, None, None),
        EAST: TeamNode(EAST, COMPANY, MANAGER),
        WEST: TeamNode(WEST, COMPANY, None),
        LONER: TeamNode(LONER, None, MANAGER),
    },
    memberships=[
        MembershipFact(ANA, EAST, DatedRange(date(2025, 1, 1), date(2026, 2, 1))),
        MembershipFact(ANA, WEST, DatedRange(date(2026, 2, 1))),
        MembershipFact(BO, EAST, DatedRange(date(2026, 3, 1), date(2026, 3, 15))),
        MembershipFact(BO, WEST, DatedRange(date(2026, 3, 10), date(2026, 3, 20))),
        MembershipFact(CY, WEST, DatedRange(date(2026, 4, 1))),
    ],
    identities={CrmUser("pipedrive", "7"): ANA, CrmUser("hubspot", "a7"): ANA, CrmUser("pipedrive", "8"): BO},
)


def test_a_crm_user_is_the_person_of_its_source_only() -> None:
    assert CHART.person_of("pipedrive", "7") == ANA
    assert CHART.person_of("hubspot", "7") is None
    assert CHART.person_of("pipedrive", None) is None
    assert CHART.users_of(ANA) == (CrmUser("hubspot", "a7"), CrmUser("pipedrive", "7"))
    assert CHART.users_of(CY) == ()


def test_a_person_reaches_its_own_deals_in_any_team_or_none() -> None:
    assert CHART.reach(OwnerKind.PERSON, CY, QUARTER) == (Reach(CY, QUARTER),)


def test_a_team_reaches_whoever_was_in_it_on_the_days_they_were() -> None:
    assert CHART.reach(OwnerKind.TEAM, EAST, QUARTER) == (
        Reach(ANA, Period(date(2026, 1, 1), date(2026, 2, 1))),
        Reach(BO, Period(date(2026, 3, 1), date(2026, 3, 15))),
    )


def test_someone_who_moves_within_the_subtree_counts_through_and_never_twice() -> None:
    assert CHART.reach(OwnerKind.TEAM, COMPANY, QUARTER) == (
        Reach(ANA, QUARTER),
        Reach(BO, Period(date(2026, 3, 1), date(2026, 3, 20))),
    )


def test_a_manager_manages_the_subtrees_of_all_its_teams_on_the_day() -> None:
    assert CHART.managed_teams(MANAGER, date(2026, 1, 31)) == {EAST, LONER}
    assert CHART.managed_people(MANAGER, date(2026, 1, 31)) == {ANA}
    assert CHART.managed_people(MANAGER, date(2026, 2, 1)) == frozenset()
    assert CHART.managed_people(ANA, date(2026, 1, 31)) == frozenset()


def test_a_circle_in_the_tree_is_walked_once() -> None:
    circle = OrgChart(teams={EAST: TeamNode(EAST, WEST, None), WEST: TeamNode(WEST, EAST, None)})
    assert circle.subtree(EAST, date(2026, 1, 31)) == {EAST, WEST}


def test_touching_periods_are_joined_and_separate_ones_are_not() -> None:
    january, february = Period(date(2026, 1, 1), date(2026, 2, 1)), Period(date(2026, 2, 1), date(2026, 3, 1))
    april = Period(date(2026, 4, 1), date(2026, 5, 1))
    assert united([april, february, january]) == (Period(date(2026, 1, 1), date(2026, 3, 1)), april)


JULY = date(2026, 7, 1)
MOVED = OrgChart(
    teams={
        COMPANY: TeamNode(COMPANY, None, None),
        EAST: TeamNode(EAST, COMPANY, MANAGER, (TeamChange(JULY, COMPANY, BO),)),
        WEST: TeamNode(WEST, EAST, None, (TeamChange(JULY, COMPANY, None),)),
    },
    memberships=[MembershipFact(ANA, WEST, DatedRange(date(2025, 1, 1)))],
)


def test_a_team_that_moves_takes_nothing_of_the_days_before_with_it() -> None:
    year = Period(date(2026, 1, 1), date(2027, 1, 1))
    assert MOVED.subtree(EAST, date(2026, 6, 30)) == {EAST, WEST}
    assert MOVED.subtree(EAST, JULY) == {EAST}
    assert MOVED.reach(OwnerKind.TEAM, EAST, year) == (Reach(ANA, Period(date(2026, 1, 1), JULY)),)
    assert MOVED.reach(OwnerKind.TEAM, COMPANY, year) == (Reach(ANA, year),)


def test_a_manager_of_a_day_manages_the_tree_of_that_day() -> None:
    assert MOVED.managed_teams(MANAGER, date(2026, 6, 30)) == {EAST, WEST}
    assert MOVED.managed_people(MANAGER, date(2026, 6, 30)) == {ANA}
    assert MOVED.managed_teams(MANAGER, JULY) == frozenset()
    assert MOVED.managed_teams(BO, JULY) == {EAST}
    assert MOVED.managed_people(BO, JULY) == frozenset()
    assert set(MOVED.managers_over(WEST)) == {(MANAGER, DatedRange(date.min, JULY), 2)}
    assert set(MOVED.teams_over(WEST)) == {
        (WEST, DatedRange(date.min), 1),
        (EAST, DatedRange(date.min, JULY), 2),
        (COMPANY, DatedRange(date.min, JULY), 3),
        (COMPANY, DatedRange(JULY), 2),
    }
