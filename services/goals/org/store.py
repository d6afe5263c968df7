"""Every statement on people, teams, memberships, identities and calendars."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    Uuid,
    any_,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from services.goals.org.domain import Calendar, Identity, Membership, Person, Team, View
from services.goals.org.tables import calendars, identities, memberships, people, teams
from shared.db.database import Transaction
from shared.kernel.org import MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange, FiscalCalendar


def among(column: ColumnElement[object], ids: frozenset[UUID] | None) -> ColumnElement[bool]:
    """Whether the column is one of `ids`; None is all there are."""
    if ids is None:
        return literal(True)
    return column == any_(literal(sorted(ids), ARRAY(Uuid())))


async def calendar(tx: Transaction, tenant_id: UUID) -> Calendar | None:
    row = await tx.one_or_none(select(calendars).where(calendars.c.tenant_id == tenant_id))
    return None if row is None else _calendar(row)


async def save_calendar(tx: Transaction, tenant_id: UUID, saved: Calendar) -> None:
    values = {
        "version": saved.version,
        "start_month": saved.fiscal.start_month,
        "time_zone": saved.fiscal.time_zone,
        "currency": saved.currency,
        "changed_at": tx.now,
    }
    statement = upsert(calendars).values(tenant_id=tenant_id, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=[calendars.c.tenant_id], set_=values))


async def person(tx: Transaction, tenant_id: UUID, person_id: UUID) -> Person | None:
    row = await _row(tx, people, tenant_id, person_id)
    return None if row is None else _person(row)


async def list_people(
    tx: Transaction,
    tenant_id: UUID,
    view: View,
    *,
    active: bool | None,
    email: str | None,
    after: UUID | None,
    limit: int,
) -> list[Person]:
    statement = _page(people, tenant_id, after, limit).where(among(people.c.id, view.people))
    if active is not None:
        statement = statement.where(people.c.active == active)
    if email is not None:
        statement = statement.where(people.c.email == email)
    return [_person(row) for row in await tx.rows(statement)]


async def add_person(tx: Transaction, tenant_id: UUID, added: Person) -> None:
    await _add(tx, people, tenant_id, added.id, _person_values(added))


async def save_person(tx: Transaction, tenant_id: UUID, saved: Person) -> None:
    await _save(tx, people, tenant_id, saved.id, _person_values(saved))


async def team(tx: Transaction, tenant_id: UUID, team_id: UUID) -> Team | None:
    row = await _row(tx, teams, tenant_id, team_id)
    return None if row is None else _team(row)


async def list_teams(
    tx: Transaction,
    tenant_id: UUID,
    view: View,
    *,
    parent_id: UUID | None,
    manager_id: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[Team]:
    statement = _page(teams, tenant_id, after, limit).where(among(teams.c.id, view.teams))
    if parent_id is not None:
        statement = statement.where(teams.c.parent_id == parent_id)
    if manager_id is not None:
        statement = statement.where(teams.c.manager_id == manager_id)
    return [_team(row) for row in await tx.rows(statement)]


async def team_parents(tx: Transaction, tenant_id: UUID) -> dict[UUID, UUID | None]:
    """The parent of every team."""
    rows = await tx.rows(select(teams.c.id, teams.c.parent_id).where(teams.c.tenant_id == tenant_id))
    return {row["id"]: row["parent_id"] for row in rows}


async def add_team(tx: Transaction, tenant_id: UUID, added: Team) -> None:
    await _add(tx, teams, tenant_id, added.id, _team_values(added))


async def save_team(tx: Transaction, tenant_id: UUID, saved: Team) -> None:
    await _save(tx, teams, tenant_id, saved.id, _team_values(saved))


async def membership(tx: Transaction, tenant_id: UUID, membership_id: UUID) -> Membership | None:
    row = await _row(tx, memberships, tenant_id, membership_id)
    return None if row is None else _membership(row)


async def memberships_of(tx: Transaction, tenant_id: UUID, person_id: UUID, team_id: UUID) -> list[Membership]:
    """Every membership of the person in the team that was not deleted."""
    statement = select(memberships).where(
        memberships.c.tenant_id == tenant_id,
        memberships.c.person_id == person_id,
        memberships.c.team_id == team_id,
        ~memberships.c.deleted,
    )
    return [_membership(row) for row in await tx.rows(statement)]


async def list_memberships(
    tx: Transaction,
    tenant_id: UUID,
    view: View,
    *,
    person_id: UUID | None,
    team_id: UUID | None,
    on: date | None,
    after: UUID | None,
    limit: int,
) -> list[Membership]:
    columns = memberships.c
    statement = _page(memberships, tenant_id, after, limit).where(
        ~columns.deleted, among(columns.person_id, view.people)
    )
    if person_id is not None:
        statement = statement.where(columns.person_id == person_id)
    if team_id is not None:
        statement = statement.where(columns.team_id == team_id)
    if on is not None:
        statement = statement.where(columns.start_on <= on, columns.end_on.is_(None) | (columns.end_on > on))
    return [_membership(row) for row in await tx.rows(statement)]


async def add_membership(tx: Transaction, tenant_id: UUID, added: Membership) -> None:
    await _add(tx, memberships, tenant_id, added.id, _membership_values(added))


async def save_membership(tx: Transaction, tenant_id: UUID, saved: Membership) -> None:
    await _save(tx, memberships, tenant_id, saved.id, _membership_values(saved))


async def identity(tx: Transaction, tenant_id: UUID, identity_id: UUID) -> Identity | None:
    row = await _row(tx, identities, tenant_id, identity_id)
    return None if row is None else _identity(row)


async def identity_of_user(tx: Transaction, tenant_id: UUID, source: str, external_user_id: str) -> Identity | None:
    """The identity of a CRM user that was not deleted."""
    row = await tx.one_or_none(
        select(identities).where(
            identities.c.tenant_id == tenant_id,
            identities.c.source == source,
            identities.c.external_user_id == external_user_id,
            ~identities.c.deleted,
        )
    )
    return None if row is None else _identity(row)


async def list_identities(
    tx: Transaction,
    tenant_id: UUID,
    view: View,
    *,
    person_id: UUID | None,
    source: str | None,
    external_user_id: str | None,
    after: UUID | None,
    limit: int,
) -> list[Identity]:
    columns = identities.c
    statement = _page(identities, tenant_id, after, limit).where(
        ~columns.deleted, among(columns.person_id, view.people)
    )
    if person_id is not None:
        statement = statement.where(columns.person_id == person_id)
    if source is not None:
        statement = statement.where(columns.source == source)
    if external_user_id is not None:
        statement = statement.where(columns.external_user_id == external_user_id)
    return [_identity(row) for row in await tx.rows(statement)]


async def add_identity(tx: Transaction, tenant_id: UUID, added: Identity) -> None:
    await _add(tx, identities, tenant_id, added.id, _identity_values(added))


async def save_identity(tx: Transaction, tenant_id: UUID, saved: Identity) -> None:
    await _save(tx, identities, tenant_id, saved.id, _identity_values(saved))


async def chart(tx: Transaction, tenant_id: UUID) -> OrgChart:
    """Calendar, team tree and memberships of a tenant; without its identities."""
    held = await calendar(tx, tenant_id)
    nodes = await tx.rows(
        select(teams.c.id, teams.c.parent_id, teams.c.manager_id).where(teams.c.tenant_id == tenant_id)
    )
    stays = await tx.rows(select(memberships).where(memberships.c.tenant_id == tenant_id, ~memberships.c.deleted))
    return OrgChart(
        calendar=FiscalCalendar() if held is None else held.fiscal,
        teams={row["id"]: TeamNode(row["id"], row["parent_id"], row["manager_id"]) for row in nodes},
        memberships=[
            MembershipFact(row["person_id"], row["team_id"], DatedRange(row["start_on"], row["end_on"]))
            for row in stays
        ],
    )


async def every_calendar(tx: Transaction) -> list[tuple[UUID, Calendar]]:
    """The calendars of all tenants, kept as they are until the end of the transaction."""
    rows = await tx.rows(select(calendars).order_by(calendars.c.tenant_id).with_for_update(read=True))
    return [(row["tenant_id"], _calendar(row)) for row in rows]


async def every_person(tx: Transaction, after: tuple[UUID, UUID] | None, limit: int) -> list[tuple[UUID, Person]]:
    return [(row["tenant_id"], _person(row)) for row in await _every(tx, people, after, limit)]


async def every_team(tx: Transaction, after: tuple[UUID, UUID] | None, limit: int) -> list[tuple[UUID, Team]]:
    return [(row["tenant_id"], _team(row)) for row in await _every(tx, teams, after, limit)]


async def every_membership(
    tx: Transaction, after: tuple[UUID, UUID] | None, limit: int
) -> list[tuple[UUID, Membership]]:
    return [(row["tenant_id"], _membership(row)) for row in await _every(tx, memberships, after, limit)]


async def every_identity(tx: Transaction, after: tuple[UUID, UUID] | None, limit: int) -> list[tuple[UUID, Identity]]:
    return [(row["tenant_id"], _identity(row)) for row in await _every(tx, identities, after, limit)]


async def _row(tx: Transaction, table: Table, tenant_id: UUID, row_id: UUID) -> RowMapping | None:
    return await tx.one_or_none(select(table).where(table.c.tenant_id == tenant_id, table.c.id == row_id))


def _page(table: Table, tenant_id: UUID, after: UUID | None, limit: int) -> Select[*tuple[object, ...]]:
    statement = select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.id).limit(limit)
    return statement if after is None else statement.where(table.c.id > after)


async def _every(tx: Transaction, table: Table, after: tuple[UUID, UUID] | None, limit: int) -> Sequence[RowMapping]:
    """Rows of all tenants, kept as they are until the end of the transaction: what is said of them stays true."""
    key = tuple_(table.c.tenant_id, table.c.id)
    statement = select(table).order_by(table.c.tenant_id, table.c.id).limit(limit).with_for_update(read=True)
    if after is not None:
        statement = statement.where(key > tuple_(literal(after[0], Uuid()), literal(after[1], Uuid())))
    return await tx.rows(statement)


async def _add(tx: Transaction, table: Table, tenant_id: UUID, row_id: UUID, values: dict[str, object]) -> None:
    await tx.execute(insert(table).values(tenant_id=tenant_id, id=row_id, changed_at=tx.now, **values))


async def _save(tx: Transaction, table: Table, tenant_id: UUID, row_id: UUID, values: dict[str, object]) -> None:
    await tx.execute(
        update(table).where(table.c.tenant_id == tenant_id, table.c.id == row_id).values(changed_at=tx.now, **values)
    )


def _calendar(row: RowMapping) -> Calendar:
    return Calendar(row["version"], FiscalCalendar(row["start_month"], row["time_zone"]), row["currency"])


def _person(row: RowMapping) -> Person:
    return Person(row["id"], row["version"], row["name"], row["email"], row["active"])


def _person_values(person: Person) -> dict[str, object]:
    return {"version": person.version, "name": person.name, "email": person.email, "active": person.active}


def _team(row: RowMapping) -> Team:
    return Team(row["id"], row["version"], row["name"], row["parent_id"], row["manager_id"])


def _team_values(team: Team) -> dict[str, object]:
    return {
        "version": team.version,
        "name": team.name,
        "parent_id": team.parent_id,
        "manager_id": team.manager_id,
    }


def _membership(row: RowMapping) -> Membership:
    dated = DatedRange(row["start_on"], row["end_on"])
    return Membership(row["id"], row["version"], row["person_id"], row["team_id"], dated, row["deleted"])


def _membership_values(membership: Membership) -> dict[str, object]:
    return {
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
        "version": identity.version,
        "source": identity.source,
        "external_user_id": identity.external_user_id,
        "person_id": identity.person_id,
        "deleted": identity.deleted,
    }
