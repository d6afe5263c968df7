from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from services.goals.calendar.domain import FirstDay
from services.goals.org.domain import (
    EmailTaken,
    EmployeeNumberTaken,
    Identity,
    IdentityTaken,
    Membership,
    MembershipOverlaps,
    Person,
    Place,
    Team,
    TeamCircle,
    UnknownTeam,
    check_identity,
    check_membership,
    check_person,
    check_tree,
)
from shared.kernel.org import TeamChange, TeamNode
from shared.kernel.periods import DatedRange

COMPANY, EAST, SALES, NOWHERE = (UUID(int=number) for number in (1, 2, 3, 4))
ANA, BO, BOSS = (UUID(int=number) for number in (11, 12, 19))
TREE = {
    COMPANY: TeamNode(COMPANY, None, None),
    EAST: TeamNode(EAST, COMPANY, None),
    SALES: TeamNode(SALES, EAST, None),
}
JULY = date(2026, 7, 1)
TODAY = date(2026, 3, 31)


def membership(
    number: int, start: date, end: date | None = None, *, person: UUID = ANA, team: UUID = EAST
) -> Membership:
    return Membership(UUID(int=number), 1, person, team, DatedRange(start, end))


def test_a_team_may_stand_below_any_team_that_is_not_below_it() -> None:
    check_tree(TREE, TeamNode(SALES, COMPANY, None))
    check_tree(TREE, TeamNode(SALES, None, None))
    check_tree(TREE, TeamNode(NOWHERE, SALES, None))


@pytest.mark.parametrize(("team", "parent"), [(COMPANY, COMPANY), (COMPANY, SALES), (EAST, SALES), (NOWHERE, NOWHERE)])
def test_a_circle_of_teams_is_refused_naming_the_parent(team: UUID, parent: UUID) -> None:
    with pytest.raises(TeamCircle) as refused:
        check_tree(TREE, TeamNode(team, parent, None))
    assert [field.pointer for field in refused.value.fields] == ["/parent_id"]


def test_a_circle_on_any_day_is_refused_whichever_of_its_moves_was_said_first() -> None:
    moved = {**TREE, COMPANY: TeamNode(COMPANY, None, None, (TeamChange(JULY, NOWHERE, None),))}
    below = {NOWHERE: TeamNode(NOWHERE, None, None)} | moved
    with pytest.raises(TeamCircle, match="on 2026-07-01"):
        check_tree(below, TeamNode(NOWHERE, SALES, None))
    check_tree(below, TeamNode(NOWHERE, SALES, None, (TeamChange(JULY, None, None),)))


def test_a_change_holds_from_its_first_day_up_to_the_next_and_replaces_one_of_the_same_day() -> None:
    team = Team(SALES, 1, "Sales", Place(EAST, None))
    moved = team.placed(JULY, Place(COMPANY, ANA), TODAY)
    assert [moved.on(day) for day in (date.min, date(2026, 6, 30), JULY)] == [
        (EAST, None),
        (EAST, None),
        (COMPANY, ANA),
    ]
    earlier = moved.placed(FirstDay.TODAY, Place(EAST, BO), TODAY)
    assert [earlier.on(day).manager_id for day in (date(2026, 3, 30), TODAY, JULY)] == [None, BO, ANA]
    assert moved.placed(JULY, Place(COMPANY, BO), TODAY).changes == ((JULY, Place(COMPANY, BO)),)
    assert moved.placed(JULY, Place(EAST, None), TODAY) == team
    assert moved.placed(FirstDay.BEGINNING, Place(COMPANY, None), TODAY).on(date.min) == (COMPANY, None)


def test_a_parent_that_is_no_team_is_refused_by_name() -> None:
    with pytest.raises(UnknownTeam) as refused:
        check_tree(TREE, TeamNode(SALES, NOWHERE, None))
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


ADA = Person(ANA, 1, "Ada", "Zoë@example.com", active=True, employee_number="007")


@pytest.mark.parametrize("email", ["Zoë@example.com", "ZOË@EXAMPLE.COM", "Zoe\u0308@example.com"])
def test_an_address_is_one_persons_in_whatever_letters(email: str) -> None:
    with pytest.raises(EmailTaken, match=f"Ada .person {ANA}. has it") as refused:
        check_person(Person(BO, 1, "Bo", email, active=True), None, [ADA])
    assert [field.pointer for field in refused.value.fields] == ["/email"]


def test_an_employee_number_is_one_persons() -> None:
    with pytest.raises(EmployeeNumberTaken, match="Ada") as refused:
        check_person(Person(BO, 1, "Bo", None, active=True, employee_number="007"), None, [ADA])
    assert [field.pointer for field in refused.value.fields] == ["/employee_number"]
    check_person(Person(BO, 1, "Bo", None, active=True, employee_number="7"), None, [ADA])


def test_an_address_two_people_had_before_stays_until_one_of_them_changes_it() -> None:
    bo = Person(BO, 1, "Bo", ADA.email, active=True)
    check_person(replace(bo, name="Bob"), bo, [ADA, bo])
    check_person(ADA, ADA, [ADA])
    with pytest.raises(EmailTaken):
        check_person(replace(bo, email="ZOË@example.com"), bo, [ADA, bo])


def test_a_crm_user_is_one_person_only() -> None:
    held = Identity(UUID(int=1), 1, "pipedrive", "7", ANA)
    check_identity(held, held)
    check_identity(held, None)
    with pytest.raises(IdentityTaken) as refused:
        check_identity(Identity(UUID(int=2), 1, "pipedrive", "7", BO), held)
    assert [field.pointer for field in refused.value.fields] == ["/external_user_id"]
