"""The use cases of the organisation: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked is still true when it is committed, and the snapshots of a
subject are published in the order of their versions.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TypeVar
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.org import store
from services.goals.org.domain import (
    Identity,
    IdentityFilter,
    Membership,
    MembershipFilter,
    Named,
    Person,
    PersonFilter,
    PersonInactive,
    Place,
    Strength,
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
from shared.kernel.approvals import Actor
from shared.kernel.errors import Refusals
from shared.kernel.ids import source_user_id, written_user_ids
from shared.kernel.org import MembershipFact, OrgChart, OwnerKind, TeamNode
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Change, Published, each
from shared.outbox.republishing import ReadNext

OrganisedT = TypeVar("OrganisedT", Person, Team, Membership, Identity)


StrengthsOf = Callable[[Transaction, UUID, Collection[UUID], Period], Awaitable[Sequence[Strength]]]
"""On which days of a period people of a tenant are not there in full: handed in where a process is wired."""


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

    async def find_people(self, tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Person | None]:
        """Those of these people that there are or were, by id, to be changed; None is one that was deleted."""
        return await self._people.find_many(tx, tenant_id, ids)

    async def list_people(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: PersonFilter, *, after: UUID | None, limit: int
    ) -> list[Person]:
        """Those in view, by id."""
        return await store.list_people(tx, tenant_id, sight, wanted, after=after, limit=limit)

    async def get_person(self, tx: Transaction, tenant_id: UUID, person_id: UUID, sight: Sight) -> Person:
        """Raises PersonNotFound, also for one out of view."""
        return await store.PEOPLE.get(tx, tenant_id, person_id, store.person_in(sight))

    async def check_active(self, tx: Transaction, tenant_id: UUID, actor: Actor) -> None:
        """Raises PersonInactive for who is stored as somebody inactive; others act as their tokens say."""
        found = None if actor.person_id is None else await store.PEOPLE.find(tx, tenant_id, actor.person_id)
        if found is not None and not found.active:
            raise PersonInactive(f"{found.name} is not active any more: somebody else has to request it.")

    async def create_person(
        self, tx: Transaction, tenant_id: UUID, *, name: str, email: str | None, employee_number: str | None = None
    ) -> Person:
        """Raises EmailTaken, EmployeeNumberTaken."""

        def made(person_id: UUID) -> Person:
            return Person(person_id, 1, name, email, active=True, employee_number=employee_number)

        [created], _ = await self.put_people(tx, tenant_id, [("", made)], [], _alone())
        return created

    async def change_person(
        self,
        tx: Transaction,
        tenant_id: UUID,
        person_id: UUID,
        expected_version: int,
        change: Callable[[Person], Person],
    ) -> Person:
        """Raises PersonNotFound, VersionMismatch, EmailTaken, EmployeeNumberTaken."""
        changes = [Change("", person_id, expected_version, change)]
        _, [changed] = await self.put_people(tx, tenant_id, [], changes, _alone())
        return changed

    async def put_people(
        self,
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, Callable[[UUID], Person]]],
        changes: Sequence[Change[Person]],
        refusals: Refusals,
    ) -> tuple[list[Person], list[Person]]:
        """Change people, and then add some, each with where the request that wants it has it; all or none.

        What somebody gives up in the same request is still taken. The new ones, and the changed ones. Raises what
        `refusals` does.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        put = await _put(self._people, tx, tenant_id, created, changes, refusals)
        alike: defaultdict[tuple[str, str], list[Person]] = defaultdict(list)
        for known in await store.people_alike(tx, tenant_id, [after for _, _, after in put]):
            for trait in known.traits:
                alike[trait].append(known)
        for pointer, before, after in put:
            with refusals.at(pointer):
                check_person(after, before, [other for trait in after.traits for other in alike[trait]])
                for trait in after.traits:
                    alike[trait].append(after)
        return await _stored(self._people, tx, tenant_id, put, refusals)

    async def find_teams(self, tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Team | None]:
        """Those of these teams that there are or were, by id, to be changed; None is one that was deleted."""
        return await self._teams.find_many(tx, tenant_id, ids)

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

        def made(team_id: UUID) -> Team:
            return Team(team_id, 1, name, Place(parent_id, manager_id))

        [created], _ = await self.put_teams(tx, tenant_id, [("", made)], [], _alone())
        return created

    async def change_team(
        self,
        tx: Transaction,
        tenant_id: UUID,
        team_id: UUID,
        expected_version: int,
        change: Callable[[Team, date], Team],
    ) -> Team:
        """Raises TeamNotFound, VersionMismatch, UnknownTeam, UnknownPerson, TeamCircle."""
        today = await self._calendars.today(tx, tenant_id)
        changes: list[Change[Team]] = [Change("", team_id, expected_version, lambda team: change(team, today))]
        _, [changed] = await self.put_teams(tx, tenant_id, [], changes, _alone())
        return changed

    async def put_teams(
        self,
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, Callable[[UUID], Team]]],
        changes: Sequence[Change[Team]],
        refusals: Refusals,
    ) -> tuple[list[Team], list[Team]]:
        """The same for teams. A new one may be below another new one."""
        await tx.lock_tenants_exclusive([tenant_id])
        put = await _put(self._teams, tx, tenant_id, created, changes, refusals)
        managers = {manager_id for _, _, after in put for manager_id in after.manager_ids}
        people = await store.PEOPLE.known(tx, tenant_id, managers)
        tree = await _tree(tx, tenant_id) | {after.id: after.node for _, before, after in put if before is None}
        for pointer, _, after in put:
            with refusals.at(pointer):
                check_tree(tree, after.node)
                for manager_id in sorted(after.manager_ids - people):
                    raise UnknownPerson.at("/manager_id", manager_id)
                tree[after.id] = after.node
        return await _stored(self._teams, tx, tenant_id, put, refusals)

    async def find_memberships(
        self, tx: Transaction, tenant_id: UUID, ids: Collection[UUID]
    ) -> dict[UUID, Membership | None]:
        """Those of these memberships that there are or were, by id, to be changed; None is one that was deleted."""
        return await self._memberships.find_many(tx, tenant_id, ids)

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

        def made(membership_id: UUID) -> Membership:
            return Membership(membership_id, 1, person_id, team_id, dated)

        [created], _ = await self.put_memberships(tx, tenant_id, [("", made)], [], _alone())
        return created

    async def change_membership(
        self,
        tx: Transaction,
        tenant_id: UUID,
        membership_id: UUID,
        expected_version: int,
        change: Callable[[Membership], Membership],
    ) -> Membership:
        """Change the days of a membership, or take it back as if it had never been (`deleted`).

        Raises MembershipNotFound, VersionMismatch, MembershipOverlaps.
        """
        changes = [Change("", membership_id, expected_version, change)]
        _, [changed] = await self.put_memberships(tx, tenant_id, [], changes, _alone())
        return changed

    async def put_memberships(
        self,
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, Callable[[UUID], Membership]]],
        changes: Sequence[Change[Membership]],
        refusals: Refusals,
    ) -> tuple[list[Membership], list[Membership]]:
        """The same for memberships; what is changed or taken back in the same request is free for new ones."""
        await tx.lock_tenants_exclusive([tenant_id])
        put = await _put(self._memberships, tx, tenant_id, created, changes, refusals)
        people = await store.PEOPLE.known(tx, tenant_id, {after.person_id for _, _, after in put})
        teams = await store.TEAMS.known(tx, tenant_id, {after.team_id for _, _, after in put})
        stays: defaultdict[tuple[UUID, UUID], dict[UUID, Membership]] = defaultdict(dict)
        for known in await store.memberships_of(tx, tenant_id, people):
            stays[known.person_id, known.team_id][known.id] = known
        for pointer, _, after in put:
            with refusals.at(pointer):
                if after.person_id not in people:
                    raise UnknownPerson.at("/person_id", after.person_id)
                if after.team_id not in teams:
                    raise UnknownTeam.at("/team_id", after.team_id)
                others = stays[after.person_id, after.team_id]
                if not after.deleted:
                    check_membership(after, others.values())
                others[after.id] = after
        return await _stored(self._memberships, tx, tenant_id, put, refusals)

    async def find_identities(
        self, tx: Transaction, tenant_id: UUID, ids: Collection[UUID]
    ) -> dict[UUID, Identity | None]:
        """Those of these identities that there are or were, by id, to be changed; None is one that was deleted."""
        return await self._identities.find_many(tx, tenant_id, ids)

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

        def made(identity_id: UUID) -> Identity:
            return Identity(identity_id, 1, source, source_user_id(external_user_id), person_id)

        [created], _ = await self.put_identities(tx, tenant_id, [("", made)], [], _alone())
        return created

    async def change_identity(
        self,
        tx: Transaction,
        tenant_id: UUID,
        identity_id: UUID,
        expected_version: int,
        change: Callable[[Identity], Identity],
    ) -> Identity:
        """Say that the CRM user is another person, or take the identity back (`deleted`): it is nobody then.

        Raises IdentityNotFound, VersionMismatch, UnknownPerson.
        """
        changes = [Change("", identity_id, expected_version, change)]
        _, [changed] = await self.put_identities(tx, tenant_id, [], changes, _alone())
        return changed

    async def names(self, tx: Transaction, tenant_id: UUID) -> Mapping[UUID, Named]:
        """Every person and team, by id."""
        people = await store.PEOPLE.matching(tx, tenant_id)
        teams = await store.TEAMS.matching(tx, tenant_id)
        return {
            **{team.id: Named(team.name, active=True) for team in teams},
            **{person.id: Named(person.name, person.active) for person in people},
        }

    async def measured_by(
        self, tx: Transaction, tenant_id: UUID, owners: Collection[tuple[OwnerKind, UUID]]
    ) -> dict[tuple[OwnerKind, UUID], frozenset[UUID]]:
        """The people whom goals of each of these owners measure: the person, or who manages the team today."""
        team_ids = frozenset(owner_id for kind, owner_id in owners if kind is OwnerKind.TEAM)
        today = await self._calendars.today(tx, tenant_id) if team_ids else date.min
        teams = await store.teams_of(tx, tenant_id, team_ids)
        managers = {team.id: team.on(today).manager_id for team in teams}

        def measured(kind: OwnerKind, owner_id: UUID) -> frozenset[UUID]:
            person_id = owner_id if kind is OwnerKind.PERSON else managers.get(owner_id)
            return frozenset() if person_id is None else frozenset({person_id})

        return {(kind, owner_id): measured(kind, owner_id) for kind, owner_id in owners}

    async def put_identities(
        self,
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, Callable[[UUID], Identity]]],
        changes: Sequence[Change[Identity]],
        refusals: Refusals,
    ) -> tuple[list[Identity], list[Identity]]:
        """The same for identities; a user whose identity is taken back in the same request is free for a new one."""
        await tx.lock_tenants_exclusive([tenant_id])
        put = await _put(self._identities, tx, tenant_id, created, changes, refusals)
        people = await store.PEOPLE.known(tx, tenant_id, {after.person_id for _, _, after in put})
        users = {written for _, _, after in put for written in written_user_ids(after.external_user_id)}
        holders = {
            (known.source, known.external_user_id): known
            for known in await store.identities_of_users(tx, tenant_id, users)
        }
        for pointer, _, after in put:
            with refusals.at(pointer):
                if after.person_id not in people:
                    raise UnknownPerson.at("/person_id", after.person_id)
                named = [(after.source, written) for written in written_user_ids(after.external_user_id)]
                if after.deleted:
                    holders.pop((after.source, after.external_user_id), None)
                    continue
                check_identity(after, next((holders[user] for user in named if user in holders), None))
                holders[after.source, after.external_user_id] = after
        return await _stored(self._identities, tx, tenant_id, put, refusals)

    async def known_owners(
        self, tx: Transaction, tenant_id: UUID, owners: Collection[tuple[OwnerKind, UUID]]
    ) -> frozenset[tuple[OwnerKind, UUID]]:
        """Those of these people and teams that there are."""
        people = {owner_id for kind, owner_id in owners if kind is OwnerKind.PERSON}
        teams = {owner_id for kind, owner_id in owners if kind is OwnerKind.TEAM}
        known_people = await store.PEOPLE.known(tx, tenant_id, people)
        known_teams = await store.TEAMS.known(tx, tenant_id, teams)
        return frozenset(
            [
                *((OwnerKind.PERSON, known) for known in known_people),
                *((OwnerKind.TEAM, known) for known in known_teams),
            ]
        )

    async def identified(self, tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of these people whom some CRM knows."""
        return await store.identified(tx, tenant_id, person_ids)

    async def _team_events(self, tx: Transaction, teams: Sequence[tuple[UUID, Team]]) -> Sequence[Event]:
        days = await self._calendars.today_of(tx, {tenant_id for tenant_id, _ in teams})
        return [team_event(tenant_id, team, days[tenant_id]) for tenant_id, team in teams]


async def _tree(tx: Transaction, tenant_id: UUID) -> dict[UUID, TeamNode]:
    return {team.id: team.node for team in await store.TEAMS.matching(tx, tenant_id)}


def _alone() -> Refusals:
    return Refusals(alone=True)


async def _put(
    things: Published[OrganisedT],
    tx: Transaction,
    tenant_id: UUID,
    created: Sequence[tuple[str, Callable[[UUID], OrganisedT]]],
    changes: Sequence[Change[OrganisedT]],
    refusals: Refusals,
) -> list[tuple[str, OrganisedT | None, OrganisedT]]:
    """What is not refused yet: where the request has it, the thing before, None for a new one, and as it is to be."""
    put: list[tuple[str, OrganisedT | None, OrganisedT]] = []
    for wish, stored in await things.for_changes(tx, tenant_id, changes, refusals):
        with refusals.at(wish.pointer):
            put.append((wish.pointer, stored, replace(wish.change(stored), version=stored.version + 1)))
    for pointer, made in created:
        with refusals.at(pointer):
            put.append((pointer, None, made(tx.new_id())))
    return put


async def _stored(
    things: Published[OrganisedT],
    tx: Transaction,
    tenant_id: UUID,
    put: Sequence[tuple[str, OrganisedT | None, OrganisedT]],
    refusals: Refusals,
) -> tuple[list[OrganisedT], list[OrganisedT]]:
    """Store and publish what was put, changes first, unless something is refused; the new ones and the changed ones."""
    refusals.check()
    created = [after for _, before, after in put if before is None]
    changed = [after for _, before, after in put if before is not None]
    await things.save_many(tx, tenant_id, changed)
    await things.add_many(tx, tenant_id, created)
    return created, changed
