"""Every statement on people, teams, memberships and identities."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    RowMapping,
    and_,
    case,
    delete,
    exists,
    insert,
    or_,
    select,
    true,
)

from services.goals.org.domain import (
    Identity,
    IdentityFilter,
    IdentityNotFound,
    Membership,
    MembershipFilter,
    MembershipNotFound,
    Person,
    PersonFilter,
    PersonNotFound,
    Place,
    Team,
    TeamFilter,
    TeamNotFound,
)
from services.goals.org.tables import (
    identities,
    memberships,
    people,
    team_changes,
    teams,
)
from shared.db.conditions import among, equal, one_of
from shared.db.database import Transaction
from shared.db.dated import dated_changes
from shared.db.versioned import VersionedTable
from shared.kernel.ids import written_user_ids
from shared.kernel.periods import DatedRange
from shared.kernel.sight import Sight
from shared.kernel.text import folded

_OF_TEAM: Final = and_(team_changes.c.tenant_id == teams.c.tenant_id, team_changes.c.team_id == teams.c.id)
_TEAMS: Final = select(teams, dated_changes(team_changes, _OF_TEAM, "parent_id", "manager_id"))


def _of_team_on(column: Column[object], day: date) -> ColumnElement[object]:
    """A column of a team's newest change up to the day, else the team's own of that name."""
    newest = (
        select(column)
        .where(_OF_TEAM, team_changes.c.start_on <= day)
        .order_by(team_changes.c.start_on.desc())
        .limit(1)
        .scalar_subquery()
    )
    changed = exists().where(_OF_TEAM, team_changes.c.start_on <= day)
    return case((changed, newest), else_=teams.c[column.name])


async def list_people(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: PersonFilter, *, after: UUID | None, limit: int
) -> list[Person]:
    columns = people.c
    return await PEOPLE.page(
        tx,
        tenant_id,
        after,
        limit,
        person_in(sight),
        equal(columns.active, wanted.active),
        equal(columns.email_folded, None if wanted.email is None else folded(wanted.email)),
        equal(columns.employee_number, wanted.employee_number),
    )


async def people_alike(tx: Transaction, tenant_id: UUID, wanted: Collection[Person]) -> list[Person]:
    """Everybody who has an address or an employee number of one of these people."""
    addresses = {folded(person.email) for person in wanted if person.email is not None}
    numbers = {person.employee_number for person in wanted if person.employee_number is not None}
    if not addresses and not numbers:
        return []
    alike = or_(one_of(people.c.email_folded, addresses), one_of(people.c.employee_number, numbers))
    return await PEOPLE.matching(tx, tenant_id, alike)


async def list_teams(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: TeamFilter, *, on: date, after: UUID | None, limit: int
) -> list[Team]:
    """Teams of a parent and a manager as on that day."""
    return await TEAMS.page(
        tx,
        tenant_id,
        after,
        limit,
        team_in(sight),
        equal(_of_team_on(team_changes.c.parent_id, on), wanted.parent_id),
        equal(_of_team_on(team_changes.c.manager_id, on), wanted.manager_id),
    )


async def teams_of(tx: Transaction, tenant_id: UUID, team_ids: Collection[UUID]) -> list[Team]:
    """Those of these teams that there are."""
    return await TEAMS.matching(tx, tenant_id, among(teams.c.id, frozenset(team_ids))) if team_ids else []


async def memberships_of(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> list[Membership]:
    """Every membership of these people that was not deleted."""
    return await MEMBERSHIPS.matching(tx, tenant_id, among(memberships.c.person_id, frozenset(person_ids)))


async def list_memberships(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: MembershipFilter, *, after: UUID | None, limit: int
) -> list[Membership]:
    columns, on = memberships.c, wanted.on
    return await MEMBERSHIPS.page(
        tx,
        tenant_id,
        after,
        limit,
        membership_in(sight),
        equal(columns.person_id, wanted.person_id),
        equal(columns.team_id, wanted.team_id),
        true() if on is None else and_(columns.start_on <= on, columns.end_on.is_(None) | (columns.end_on > on)),
    )


async def identities_of_users(tx: Transaction, tenant_id: UUID, user_ids: Collection[str]) -> list[Identity]:
    """The identities of the CRM users of these ids, in whatever source, that were not deleted."""
    return await IDENTITIES.matching(tx, tenant_id, one_of(identities.c.external_user_id, user_ids))


async def identified(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> frozenset[UUID]:
    """Those of these people who have an identity that was not deleted."""
    columns = identities.c
    statement = (
        select(columns.person_id)
        .where(columns.tenant_id == tenant_id, among(columns.person_id, frozenset(person_ids)), ~columns.deleted)
        .distinct()
    )
    return frozenset(row["person_id"] for row in await tx.rows(statement))


async def list_identities(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: IdentityFilter, *, after: UUID | None, limit: int
) -> list[Identity]:
    columns, user_id = identities.c, wanted.external_user_id
    return await IDENTITIES.page(
        tx,
        tenant_id,
        after,
        limit,
        identity_in(sight),
        equal(columns.person_id, wanted.person_id),
        equal(columns.source, wanted.source),
        true() if user_id is None else columns.external_user_id.in_(written_user_ids(user_id)),
    )


def person_in(sight: Sight) -> ColumnElement[bool]:
    """Whether a person is in sight."""
    return among(people.c.id, sight.people)


def team_in(sight: Sight) -> ColumnElement[bool]:
    """Whether a team is in sight."""
    return among(teams.c.id, sight.teams)


def membership_in(sight: Sight) -> ColumnElement[bool]:
    """Whether a membership is one of a person in sight."""
    return among(memberships.c.person_id, sight.people)


def identity_in(sight: Sight) -> ColumnElement[bool]:
    """Whether an identity is one of a person in sight."""
    return among(identities.c.person_id, sight.people)


def _person(row: RowMapping) -> Person:
    return Person(row["id"], row["version"], row["name"], row["email"], row["active"], row["employee_number"])


def _person_values(person: Person) -> dict[str, object]:
    return {
        "id": person.id,
        "version": person.version,
        "name": person.name,
        "email": person.email,
        "email_folded": None if person.email is None else folded(person.email),
        "active": person.active,
        "employee_number": person.employee_number,
    }


def _team(row: RowMapping) -> Team:
    changes = (
        (date.fromisoformat(start), Place(_id(parent_id), _id(manager_id)))
        for start, parent_id, manager_id in row["changes"]
    )
    always = Place(row["parent_id"], row["manager_id"])
    return Team(row["id"], row["version"], row["name"], always, tuple(changes))


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _team_values(team: Team) -> dict[str, object]:
    return {"id": team.id, "version": team.version, "name": team.name, **team.always._asdict()}


async def _store_team_changes(tx: Transaction, tenant_id: UUID, changed: Sequence[Team]) -> None:
    columns, team_ids = team_changes.c, frozenset(team.id for team in changed)
    await tx.execute(delete(team_changes).where(columns.tenant_id == tenant_id, among(columns.team_id, team_ids)))
    values = [
        {"tenant_id": tenant_id, "team_id": team.id, "start_on": start, **place._asdict()}
        for team in changed
        for start, place in team.changes
    ]
    if values:
        await tx.execute(insert(team_changes), values)


def _membership(row: RowMapping) -> Membership:
    dated = DatedRange(row["start_on"], row["end_on"])
    return Membership(row["id"], row["version"], row["person_id"], row["team_id"], dated, row["deleted"])


def _membership_values(membership: Membership) -> dict[str, object]:
    return {
        "id": membership.id,
        "version": membership.version,
        "person_id": membership.person_id,
        "team_id": membership.team_id,
        "start_on": membership.range.start,
        "end_on": membership.range.end,
        "deleted": membership.deleted,
    }


def _identity(row: RowMapping) -> Identity:
    return Identity(row["id"], row["version"], row["source"], row["external_user_id"], row["person_id"], row["deleted"])


def _identity_values(identity: Identity) -> dict[str, object]:
    return {
        "id": identity.id,
        "version": identity.version,
        "source": identity.source,
        "external_user_id": identity.external_user_id,
        "person_id": identity.person_id,
        "deleted": identity.deleted,
    }


PEOPLE: Final = VersionedTable("person", people, _person, _person_values, PersonNotFound)
TEAMS: Final = VersionedTable(
    "team", teams, _team, _team_values, TeamNotFound, rows=_TEAMS, store_parts=_store_team_changes
)
MEMBERSHIPS: Final = VersionedTable(
    "membership",
    memberships,
    _membership,
    _membership_values,
    MembershipNotFound,
    present=~memberships.c.deleted,
)
IDENTITIES: Final = VersionedTable(
    "identity", identities, _identity, _identity_values, IdentityNotFound, present=~identities.c.deleted
)
