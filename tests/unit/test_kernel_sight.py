"""Who sees what: itself, the teams it manages and whoever is in them, or all of the tenant."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType
from shared.kernel.deals import DealFacts, DealKind, DealStatus, RecordVersion, Split
from shared.kernel.org import CrmUser, MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange
from shared.kernel.sight import WHOLE_TENANT, Breadth, Sight, Viewer, users_of

ANA, BO, BOSS, ZOE = (UUID(int=number) for number in range(1, 5))
SALES, EAST, WEST = (UUID(int=number) for number in range(11, 14))
TODAY = date(2026, 3, 31)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
CHART = OrgChart(
    teams={
        SALES: TeamNode(SALES, None, BOSS),
        EAST: TeamNode(EAST, SALES, None),
        WEST: TeamNode(WEST, None, ZOE),
    },
    memberships=[
        MembershipFact(ANA, EAST, DatedRange(date(2026, 1, 1))),
        MembershipFact(BO, EAST, DatedRange(date(2025, 1, 1), date(2026, 1, 1))),
        MembershipFact(BO, WEST, DatedRange(date(2026, 1, 1))),
    ],
    identities={CrmUser("crm", "ana"): ANA, CrmUser("crm", "bo"): BO, CrmUser("other", "ana"): BO},
)


def sight(person_id: UUID | None, breadth: Breadth, today: date = TODAY) -> Sight:
    return Sight(Viewer(person_id, breadth), CHART, today)


def deal(owner: str | None, *splits: str, source: str = "crm", closed_on: date | None = None) -> DealFacts:
    return DealFacts(
        UUID(int=21),
        source,
        "D-1",
        RecordVersion(MOMENT, 0, UUID(int=22)),
        DealKind.UPSERTED,
        DealStatus.WON,
        owner_external_id=owner,
        closed_on=closed_on,
        splits=tuple(Split(each, Decimal(50), "owner") for each in splits),
    )


def activity(owner: str | None) -> ActivityFacts:
    version = RecordVersion(MOMENT, 0, UUID(int=22))
    return ActivityFacts(
        UUID(int=23), "crm", "A-1", version, False, ActivityType.CALL, ActivityStatus.DONE, owner_external_id=owner
    )


def test_who_sees_the_tenant_sees_everything() -> None:
    assert (WHOLE_TENANT.people, WHOLE_TENANT.teams, WHOLE_TENANT.users, WHOLE_TENANT.owners) == (None,) * 4
    assert WHOLE_TENANT.sees_person(ANA)
    assert WHOLE_TENANT.sees_owner(None)
    assert WHOLE_TENANT.sees_record(deal(None))
    assert WHOLE_TENANT.sees_plan([])
    assert WHOLE_TENANT.narrowed(ANA) == frozenset({ANA})


def test_a_rep_sees_itself_and_no_team() -> None:
    seen = sight(ANA, Breadth.ITSELF)
    assert (seen.people, seen.teams, seen.users) == (frozenset({ANA}), frozenset(), frozenset({CrmUser("crm", "ana")}))
    assert not seen.sees_person(BO)
    assert not seen.sees_owner(EAST)
    assert seen.narrowed(None) == frozenset({ANA})
    assert seen.narrowed(BO) == frozenset()


def test_a_manager_sees_itself_its_subtree_and_who_is_in_it_today() -> None:
    seen = sight(BOSS, Breadth.SUBTREE)
    assert (seen.people, seen.teams) == (frozenset({BOSS, ANA}), frozenset({EAST, SALES}))
    assert seen.owners == frozenset({BOSS, ANA, EAST, SALES})
    assert sight(BOSS, Breadth.SUBTREE, date(2025, 6, 1)).people == frozenset({BOSS, BO})


def test_a_manager_of_nothing_sees_itself() -> None:
    seen = sight(ANA, Breadth.SUBTREE)
    assert (seen.people, seen.teams) == (frozenset({ANA}), frozenset())


@pytest.mark.parametrize("breadth", [Breadth.SUBTREE, Breadth.ITSELF])
def test_a_caller_that_is_nobody_sees_nothing(breadth: Breadth) -> None:
    seen = sight(None, breadth)
    assert (seen.people, seen.teams, seen.users) == (frozenset(), frozenset(), frozenset())
    assert not seen.sees_record(deal(None))
    assert not seen.sees_plan([ANA])


def test_a_deal_concerns_its_owner_and_who_is_on_its_splits() -> None:
    assert users_of(deal("ana", "bo")) == {CrmUser("crm", "ana"), CrmUser("crm", "bo")}
    assert users_of(activity("bo")) == {CrmUser("crm", "bo")}
    ana = sight(ANA, Breadth.ITSELF)
    assert ana.sees_record(deal("ana"))
    assert ana.sees_record(deal("bo", "ana"))
    assert ana.sees_record(activity("ana"))
    for stranger in (deal("bo"), deal(None), deal("ana", source="other"), deal("bo", "bo"), activity("bo")):
        assert not ana.sees_record(stranger)


def test_who_managed_somebody_on_a_day_of_a_deal_still_sees_it() -> None:
    boss = sight(BOSS, Breadth.SUBTREE)
    assert boss.sees_record(deal("bo", closed_on=date(2025, 12, 31)))
    assert not boss.sees_record(deal("bo", closed_on=date(2026, 1, 1)))
    assert not sight(ANA, Breadth.ITSELF).sees_record(deal("bo", closed_on=date(2025, 12, 31)))


def test_a_plan_is_seen_by_who_sees_somebody_it_pays() -> None:
    assert sight(ANA, Breadth.ITSELF).sees_plan([BO, ANA])
    assert not sight(ANA, Breadth.ITSELF).sees_plan([BO])
    assert sight(BOSS, Breadth.SUBTREE).sees_plan([ANA])
    assert not sight(BOSS, Breadth.SUBTREE).sees_plan([BO])


def test_terms_that_are_being_written_are_seen_by_those_who_may_write_them() -> None:
    finance = Sight(Viewer(None, Breadth.TENANT), CHART, TODAY)
    for seen, drafts, approved in (
        (WHOLE_TENANT, True, True),
        (finance, False, True),
        (sight(ANA, Breadth.ITSELF), False, False),
    ):
        assert seen.sees_terms(is_approved=False, is_active=False) == drafts
        assert seen.sees_terms(is_approved=True, is_active=False) == approved
        assert seen.sees_terms(is_approved=False, is_active=True)
