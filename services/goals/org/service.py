"""The use cases of the organisation: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked is still true when it is committed, and the snapshots of a
subject are published in the order of their versions.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from uuid import UUID

from services.goals.calendar.domain import FirstDay
from services.goals.calendar.service import Calendars
from services.goals.org import store
from services.goals.org.domain import (
    Identity,
    IdentityFilter,
    Membership,
    MembershipFilter,
    Person,
    PersonFilter,
    Place,
    Team,
    TeamFilter,
    UnknownPerson,
    UnknownTeam,
    check_identity,
    check_membership,
    check_person,
    check_tree,
)
from services.goals.org.events import identity_event, membership_event, person_event, team_event
from shared.contracts.base import Event
from shared.db.database import Transaction
from shared.kernel.ids import source_user_id
from shared.kernel.org import MembershipFact, OrgChart, OwnerKind, TeamNode
from shared.kernel.periods import DatedRange
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published, each
from shared.outbox.republishing import ReadNext


class Organisation:
    """People, teams, memberships and identities of every tenant."""

    def __init__(self, outbox: Outbox, calendars: Calendars) -> None:
        self._calendars = calendars
        self._people = Published(store.PEOPLE, each(person_event), outbox)
        self._teams = Published(store.TEAMS, self._team_events, outbox)
        self._memberships = Published(store.MEMBERSHIPS, each(membership_event), outbox)
        self._identities = Published(store.IDENTITIES, each(identity_event), outbox)

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        kinds = (self._people, self._teams, self._memberships, self._identities)
        return [kind.read_next for kind in kinds]

    async def chart(self, tx: Transaction, tenant_id: UUID) -> OrgChart:
        """Calendar, team tree and memberships of a tenant; without its identities."""
        memberships = await store.MEMBERSHIPS.matching(tx, tenant_id)
        return OrgChart(
            calendar=await self._calendars.fiscal_calendar(tx, tenant_id),
            teams=await _tree(tx, tenant_id),
            memberships=[MembershipFact(stay.person_id, stay.team_id, stay.range) for stay in memberships],
        )

    async def list_people(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: PersonFilter, *, after: UUID | None, limit: int
    ) -> list[Person]:
        """Those in view, by id."""
        return await store.list_people(tx, tenant_id, sight, wanted, after=after, limit=limit)

    async def get_person(self, tx: Transaction, tenant_id: UUID, person_id: UUID, sight: Sight) -> Person:
        """Raises PersonNotFound, also for one out of view."""
        return await store.PEOPLE.get(tx, tenant_id, person_id, store.person_in(sight))

    async def create_person(
        self, tx: Transaction, tenant_id: UUID, *, name: str, email: str | None, employee_number: str | None = None
    ) -> Person:
        """Raises EmailTaken, EmployeeNumberTaken."""
        await tx.lock_tenants_exclusive([tenant_id])
        created = Person(tx.new_id(), 1, name, email, active=True, employee_number=employee_number)
        check_person(created, None, await store.people_alike(tx, tenant_id, created))
        return await self._people.add(tx, tenant_id, created)

    async def change_person(
        self,
        tx: Transaction,
        tenant_id: UUID,
        person_id: UUID,
        expected_version: int,
        change: Callable[[Person], Person],
    ) -> Person:
        """Raises PersonNotFound, VersionMismatch, EmailTaken, EmployeeNumberTaken."""
        stored = await self._people.for_change(tx, tenant_id, person_id, expected_version)
        changed = replace(change(stored), version=stored.version + 1)
        check_person(changed, stored, await store.people_alike(tx, tenant_id, changed))
        return await self._people.save(tx, tenant_id, changed)

    async def list_teams(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: TeamFilter, *, after: UUID | None, limit: int
    ) -> list[Team]:
        """Those in view, by id; of a parent or a manager as on the tenant's day."""
        on = await self._calendars.today(tx, tenant_id)
        return await store.list_teams(tx, tenant_id, sight, wanted, on=on, after=after, limit=limit)

    async def get_team(self, tx: Transaction, tenant_id: UUID, team_id: UUID, sight: Sight) -> Team:
        """Raises TeamNotFound, also for one out of view."""
        return await store.TEAMS.get(tx, tenant_id, team_id, store.team_in(sight))

    async def create_team(
        self, tx: Transaction, tenant_id: UUID, *, name: str, parent_id: UUID | None, manager_id: UUID | None
    ) -> Team:
        """A team with this parent from the beginning of time. Raises UnknownTeam, UnknownPerson."""
        await tx.lock_tenants_exclusive([tenant_id])
        created = Team(tx.new_id(), 1, name, Place(parent_id, manager_id))
        await _check_team(tx, tenant_id, created, manager_id)
        return await self._teams.add(tx, tenant_id, created)

    async def change_team(
        self,
        tx: Transaction,
        tenant_id: UUID,
        team_id: UUID,
        expected_version: int,
        *,
        name: str | None,
        place: Callable[[Place], Place],
        start: date | FirstDay,
    ) -> Team:
        """The name for all days; the place from a first day on, made of the one in force then.

        Raises TeamNotFound, VersionMismatch, UnknownTeam, UnknownPerson, TeamCircle.
        """
        stored = await self._teams.for_change(tx, tenant_id, team_id, expected_version)
        today = await self._calendars.today(tx, tenant_id)
        first = {FirstDay.TODAY: today, FirstDay.BEGINNING: date.min}[start] if isinstance(start, FirstDay) else start
        placed = stored.placed(start, place(stored.on(first)), today)
        changed = replace(placed, name=name or stored.name, version=stored.version + 1)
        await _check_team(tx, tenant_id, changed, changed.on(first).manager_id)
        return await self._teams.save(tx, tenant_id, changed)

    async def list_memberships(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        wanted: MembershipFilter,
        *,
        after: UUID | None,
        limit: int,
    ) -> list[Membership]:
        """Those of people in view, by id."""
        return await store.list_memberships(tx, tenant_id, sight, wanted, after=after, limit=limit)

    async def get_membership(self, tx: Transaction, tenant_id: UUID, membership_id: UUID, sight: Sight) -> Membership:
        """Raises MembershipNotFound, also for one of a person out of view and for one that was deleted."""
        return await store.MEMBERSHIPS.get(tx, tenant_id, membership_id, store.membership_in(sight))

    async def create_membership(
        self, tx: Transaction, tenant_id: UUID, *, person_id: UUID, team_id: UUID, dated: DatedRange
    ) -> Membership:
        """Raises UnknownPerson, UnknownTeam, MembershipOverlaps."""
        await tx.lock_tenants_exclusive([tenant_id])
        created = Membership(tx.new_id(), 1, person_id, team_id, dated)
        await _require_person(tx, tenant_id, person_id, "/person_id")
        await _require_team(tx, tenant_id, team_id, "/team_id")
        check_membership(created, await store.memberships_of(tx, tenant_id, person_id, team_id))
        return await self._memberships.add(tx, tenant_id, created)

    async def change_membership(
        self,
        tx: Transaction,
        tenant_id: UUID,
        membership_id: UUID,
        expected_version: int,
        change: Callable[[Membership], Membership],
    ) -> Membership:
        """Change the days of a membership. Raises MembershipNotFound, VersionMismatch, MembershipOverlaps."""
        stored = await self._memberships.for_change(tx, tenant_id, membership_id, expected_version)
        changed = replace(change(stored), version=stored.version + 1)
        check_membership(changed, await store.memberships_of(tx, tenant_id, changed.person_id, changed.team_id))
        return await self._memberships.save(tx, tenant_id, changed)

    async def delete_membership(
        self, tx: Transaction, tenant_id: UUID, membership_id: UUID, expected_version: int
    ) -> None:
        """Take a membership back as if it had never been. Raises MembershipNotFound, VersionMismatch."""
        stored = await self._memberships.for_change(tx, tenant_id, membership_id, expected_version)
        await self._memberships.save(tx, tenant_id, replace(stored, version=stored.version + 1, deleted=True))

    async def list_identities(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: IdentityFilter, *, after: UUID | None, limit: int
    ) -> list[Identity]:
        """Those of people in view, by id."""
        return await store.list_identities(tx, tenant_id, sight, wanted, after=after, limit=limit)

    async def get_identity(self, tx: Transaction, tenant_id: UUID, identity_id: UUID, sight: Sight) -> Identity:
        """Raises IdentityNotFound, also for one of a person out of view and for one that was deleted."""
        return await store.IDENTITIES.get(tx, tenant_id, identity_id, store.identity_in(sight))

    async def create_identity(
        self, tx: Transaction, tenant_id: UUID, *, source: str, external_user_id: str, person_id: UUID
    ) -> Identity:
        """Raises UnknownPerson, IdentityTaken."""
        await tx.lock_tenants_exclusive([tenant_id])
        created = Identity(tx.new_id(), 1, source, source_user_id(external_user_id), person_id)
        await _require_person(tx, tenant_id, person_id, "/person_id")
        check_identity(created, await store.identity_of_user(tx, tenant_id, source, created.external_user_id))
        return await self._identities.add(tx, tenant_id, created)

    async def change_identity(
        self, tx: Transaction, tenant_id: UUID, identity_id: UUID, expected_version: int, *, person_id: UUID
    ) -> Identity:
        """Say that the CRM user is another person. Raises IdentityNotFound, VersionMismatch, UnknownPerson."""
        stored = await self._identities.for_change(tx, tenant_id, identity_id, expected_version)
        await _require_person(tx, tenant_id, person_id, "/person_id")
        changed = replace(stored, version=stored.version + 1, person_id=person_id)
        return await self._identities.save(tx, tenant_id, changed)

    async def delete_identity(self, tx: Transaction, tenant_id: UUID, identity_id: UUID, expected_version: int) -> None:
        """Take an identity back; the CRM user is nobody then. Raises IdentityNotFound, VersionMismatch."""
        stored = await self._identities.for_change(tx, tenant_id, identity_id, expected_version)
        await self._identities.save(tx, tenant_id, replace(stored, version=stored.version + 1, deleted=True))

    async def measured_by(self, tx: Transaction, tenant_id: UUID, kind: OwnerKind, owner_id: UUID) -> frozenset[UUID]:
        """The people whom a goal of this owner measures: the person, or who manages the team today."""
        if kind is OwnerKind.PERSON:
            return frozenset({owner_id})
        team = await store.TEAMS.find(tx, tenant_id, owner_id)
        manager_id = None if team is None else team.on(await self._calendars.today(tx, tenant_id)).manager_id
        return frozenset() if manager_id is None else frozenset({manager_id})

    async def require_owner(
        self, tx: Transaction, tenant_id: UUID, kind: OwnerKind, owner_id: UUID, pointer: str
    ) -> None:
        """Raises UnknownPerson or UnknownTeam naming `pointer` unless there is such a person or team."""
        require = _require_person if kind is OwnerKind.PERSON else _require_team
        await require(tx, tenant_id, owner_id, pointer)

    async def _team_events(self, tx: Transaction, teams: Sequence[tuple[UUID, Team]]) -> Sequence[Event]:
        days = await self._calendars.today_of(tx, {tenant_id for tenant_id, _ in teams})
        return [team_event(tenant_id, team, days[tenant_id]) for tenant_id, team in teams]


async def _tree(tx: Transaction, tenant_id: UUID) -> dict[UUID, TeamNode]:
    return {team.id: team.node for team in await store.TEAMS.matching(tx, tenant_id)}


async def _check_team(tx: Transaction, tenant_id: UUID, checked: Team, manager_id: UUID | None) -> None:
    """`manager_id` is the one that the change names."""
    check_tree(await _tree(tx, tenant_id), checked.node)
    if manager_id is not None:
        await _require_person(tx, tenant_id, manager_id, "/manager_id")


async def _require_person(tx: Transaction, tenant_id: UUID, person_id: UUID, pointer: str) -> None:
    if await store.PEOPLE.find(tx, tenant_id, person_id) is None:
        raise UnknownPerson.at(pointer, person_id)


async def _require_team(tx: Transaction, tenant_id: UUID, team_id: UUID, pointer: str) -> None:
    if await store.TEAMS.find(tx, tenant_id, team_id) is None:
        raise UnknownTeam.at(pointer, team_id)
