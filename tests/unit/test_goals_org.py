from datetime import date
from uuid import UUID

import pytest

from services.goals.org.domain import (
    WHOLE_TENANT,
    Calendar,
    Identity,
    IdentityTaken,
    Membership,
    MembershipOverlaps,
    TeamCircle,
    UnknownTeam,
    View,
    Viewer,
    check_identity,
    check_membership,
    check_tree,
    view_of,
)
from shared.kernel.errors import InvalidInput
from shared.kernel.org import MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange, FiscalCalendar

COMPANY, EAST, SALES, NOWHERE = (UUID(int=number) for number in (1, 2, 3, 4))
ANA, BO, BOSS = (UUID(int=number) for number in (11, 12, 19))
TREE = {COMPANY: None, EAST: COMPANY, SALES: EAST}
TODAY = date(2026, 3, 31)
CHART = OrgChart(
    teams={
        COMPANY: TeamNode(COMPANY, None, None),
        EAST: TeamNode(EAST, COMPANY, BOSS),
        SALES: TeamNode(SALES, EAST, None),
    },
    memberships=[
        MembershipFact(ANA, SALES, DatedRange(date(2026, 1, 1))),
        MembershipFact(BO, EAST, DatedRange(date(2025, 1, 1), date(2026, 1, 1))),
    ],
)


def membership(
    number: int, start: date, end: date | None = None, *, person: UUID = ANA, team: UUID = EAST
) -> Membership:
    return Membership(UUID(int=number), 1, person, team, DatedRange(start, end))


def test_a_team_may_stand_below_any_team_that_is_not_below_it() -> None:
    check_tree(TREE, SALES, COMPANY)
    check_tree(TREE, SALES, None)
    check_tree(TREE, NOWHERE, SALES)


@pytest.mark.parametrize(("team", "parent"), [(COMPANY, COMPANY), (COMPANY, SALES), (EAST, SALES), (NOWHERE, NOWHERE)])
def test_a_circle_of_teams_is_refused_naming_the_parent(team: UUID, parent: UUID) -> None:
    with pytest.raises(TeamCircle) as refused:
        check_tree(TREE, team, parent)
    assert [field.pointer for field in refused.value.fields] == ["/parent_id"]


def test_a_parent_that_is_no_team_is_refused_by_name() -> None:
    with pytest.raises(UnknownTeam) as refused:
        check_tree(TREE, SALES, NOWHERE)
    assert [field.pointer for field in refused.value.fields] == ["/parent_id"]


def test_a_person_is_in_a_team_once_on_any_day() -> None:
    held = membership(1, date(2026, 1, 1), date(2026, 2, 1))
    with pytest.raises(MembershipOverlaps, match="from 2026-01-01 until 2026-02-01"):
        check_membership(membership(2, date(2026, 1, 31)), [held])
    check_membership(membership(2, date(2026, 2, 1)), [held])


def test_other_people_other_teams_itself_and_deleted_ones_are_in_nobodys_way() -> None:
    start = date(2026, 1, 1)
    deleted = Membership(UUID(int=5), 2, ANA, EAST, DatedRange(start), deleted=True)
    others = [membership(1, start), membership(3, start, person=BO), membership(4, start, team=SALES), deleted]
    check_membership(membership(1, start), others)


def test_a_crm_user_is_one_person_only() -> None:
    held = Identity(UUID(int=1), 1, "pipedrive", "7", ANA)
    check_identity(held, held)
    check_identity(held, None)
    with pytest.raises(IdentityTaken) as refused:
        check_identity(Identity(UUID(int=2), 1, "pipedrive", "7", BO), held)
    assert [field.pointer for field in refused.value.fields] == ["/external_user_id"]


def test_a_calendar_needs_a_currency_that_is_one() -> None:
    with pytest.raises(InvalidInput):
        Calendar(1, FiscalCalendar(), "yuan")


def test_an_administrator_sees_the_tenant() -> None:
    assert view_of(Viewer(None, sees_tenant=True, sees_subtree=False), CHART, TODAY) == WHOLE_TENANT
    assert WHOLE_TENANT.shows_person(ANA)
    assert WHOLE_TENANT.shows_team(NOWHERE)


def test_a_rep_sees_itself_and_no_team() -> None:
    seen = view_of(Viewer(ANA, sees_tenant=False, sees_subtree=False), CHART, TODAY)
    assert seen == View(frozenset({ANA}), frozenset())
    assert not seen.shows_person(BO)
    assert not seen.shows_team(SALES)


def test_a_manager_sees_itself_its_subtree_and_who_is_in_it_today() -> None:
    manager = Viewer(BOSS, sees_tenant=False, sees_subtree=True)
    assert view_of(manager, CHART, TODAY) == View(frozenset({BOSS, ANA}), frozenset({EAST, SALES}))
    assert view_of(manager, CHART, date(2025, 6, 1)) == View(frozenset({BOSS, BO}), frozenset({EAST, SALES}))


def test_a_manager_of_nothing_sees_itself() -> None:
    seen = view_of(Viewer(ANA, sees_tenant=False, sees_subtree=True), CHART, TODAY)
    assert seen == View(frozenset({ANA}), frozenset())


def test_a_caller_that_is_nobody_sees_nothing() -> None:
    nobody = Viewer(None, sees_tenant=False, sees_subtree=True)
    assert view_of(nobody, CHART, TODAY) == View(frozenset(), frozenset())
