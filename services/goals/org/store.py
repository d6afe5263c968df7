"""Every statement on people, teams, memberships, identities and calendars."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Label,
    RowMapping,
    Select,
    Table,
    Uuid,
    and_,
    any_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert

from services.goals.org.domain import (
    Calendar,
    CalendarTerms,
    Identity,
    Membership,
    Person,
    Place,
    Team,
)
from services.goals.org.tables import (
    calendar_changes,
    calendars,
    identities,
    memberships,
    people,
    team_changes,
    teams,
)
from shared.db.database import Transaction
from shared.kernel.ids import written_user_ids
from shared.kernel.org import MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange, FiscalCalendar
from shared.kernel.sight import Sight
from shared.kernel.text import folded
from shared.kernel.zones import stored_zone


def _changes(table: Table, belongs: ColumnElement[bool], *columns: str) -> Label[object]:
    """The changes of a row in the order of their days, each as a list of its columns."""
    values = func.jsonb_build_array(*(table.c[name] for name in ("start_on", *columns)))
    found = func.jsonb_agg(aggregate_order_by(values, table.c.start_on))
    statement = select(func.coalesce(found, text("'[]'::jsonb"), type_=JSONB())).where(belongs)
    return statement.scalar_subquery().label("changes")


_CALENDARS: Final = select(
    calendars,
    _changes(
        calendar_changes,
        calendar_changes.c.tenant_id == calendars.c.tenant_id,
        *("start_month", "time_zone", "currency"),
    ),
)
_OF_TEAM: Final = and_(team_changes.c.tenant_id == teams.c.tenant_id, team_changes.c.team_id == teams.c.id)
_TEAMS: Final = select(teams, _changes(team_changes, _OF_TEAM, "parent_id", "manager_id"))


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


def among(column: ColumnElement[object], ids: frozenset[UUID] | None) -> ColumnElement[bool]:
    """Whether the column is one of `ids`; None is all there are."""
    if ids is None:
        return literal(True)
    return column == any_(literal(sorted(ids), ARRAY(Uuid())))


async def calendar(tx: Transaction, tenant_id: UUID) -> Calendar | None:
    row = await tx.one_or_none(_CALENDARS.where(calendars.c.tenant_id == tenant_id))
    return None if row is None else _calendar(row)


async def calendars_of(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, Calendar]:
    """The calendars of those of these tenants that have set one."""
    rows = await tx.rows(_CALENDARS.where(among(calendars.c.tenant_id, frozenset(tenant_ids))))
    return {row["tenant_id"]: _calendar(row) for row in rows}


async def save_calendar(tx: Transaction, tenant_id: UUID, saved: Calendar) -> None:
    values = {"version": saved.version, **_terms_values(saved.always), "changed_at": tx.now}
    statement = upsert(calendars).values(tenant_id=tenant_id, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=[calendars.c.tenant_id], set_=values))
    await tx.execute(delete(calendar_changes).where(calendar_changes.c.tenant_id == tenant_id))
    for start, terms in saved.changes:
        await tx.execute(insert(calendar_changes).values(tenant_id=tenant_id, start_on=start, **_terms_values(terms)))


async def person(tx: Transaction, tenant_id: UUID, person_id: UUID) -> Person | None:
    row = await _row(tx, people, tenant_id, person_id)
    return None if row is None else _person(row)


async def list_people(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    *,
    active: bool | None,
    email: str | None,
    employee_number: str | None,
    after: UUID | None,
    limit: int,
) -> list[Person]:
    statement = _page(people, tenant_id, after, limit).where(among(people.c.id, sight.people))
    if active is not None:
        statement = statement.where(people.c.active == active)
    if email is not None:
        statement = statement.where(people.c.email_folded == folded(email))
    if employee_number is not None:
        statement = statement.where(people.c.employee_number == employee_number)
    return [_person(row) for row in await tx.rows(statement)]


async def people_alike(tx: Transaction, tenant_id: UUID, person: Person) -> list[Person]:
    """Everybody who has the address or the employee number of this person."""
    alike = []
    if person.email is not None:
        alike.append(people.c.email_folded == folded(person.email))
    if person.employee_number is not None:
        alike.append(people.c.employee_number == person.employee_number)
    if not alike:
        return []
    rows = await tx.rows(select(people).where(people.c.tenant_id == tenant_id, or_(*alike)).order_by(people.c.id))
    return [_person(row) for row in rows]


async def add_person(tx: Transaction, tenant_id: UUID, added: Person) -> None:
    await _add(tx, people, tenant_id, added.id, _person_values(added))


async def save_person(tx: Transaction, tenant_id: UUID, saved: Person) -> None:
    await _save(tx, people, tenant_id, saved.id, _person_values(saved))


async def team(tx: Transaction, tenant_id: UUID, team_id: UUID) -> Team | None:
    row = await tx.one_or_none(_TEAMS.where(teams.c.tenant_id == tenant_id, teams.c.id == team_id))
    return None if row is None else _team(row)


async def list_teams(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    *,
    parent_id: UUID | None,
    manager_id: UUID | None,
    on: date,
    after: UUID | None,
    limit: int,
) -> list[Team]:
    """By id; `parent_id` and `manager_id` as on that day."""
    statement = _TEAMS.where(teams.c.tenant_id == tenant_id, among(teams.c.id, sight.teams))
    if after is not None:
        statement = statement.where(teams.c.id > after)
    for column, wanted in ((team_changes.c.parent_id, parent_id), (team_changes.c.manager_id, manager_id)):
        if wanted is not None:
            statement = statement.where(_of_team_on(column, on) == wanted)
    return [_team(row) for row in await tx.rows(statement.order_by(teams.c.id).limit(limit))]


async def team_nodes(tx: Transaction, tenant_id: UUID) -> dict[UUID, TeamNode]:
    """Every team in the tree."""
    rows = await tx.rows(_TEAMS.where(teams.c.tenant_id == tenant_id))
    return {row["id"]: _team(row).node for row in rows}


async def add_team(tx: Transaction, tenant_id: UUID, added: Team) -> None:
    await _add(tx, teams, tenant_id, added.id, _team_values(added))


async def save_team(tx: Transaction, tenant_id: UUID, saved: Team) -> None:
    await _save(tx, teams, tenant_id, saved.id, _team_values(saved))
    await tx.execute(
        delete(team_changes).where(team_changes.c.tenant_id == tenant_id, team_changes.c.team_id == saved.id)
    )
    for start, place in saved.changes:
        await tx.execute(
            insert(team_changes).values(tenant_id=tenant_id, team_id=saved.id, start_on=start, **place._asdict())
        )


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
    sight: Sight,
    *,
    person_id: UUID | None,
    team_id: UUID | None,
    on: date | None,
    after: UUID | None,
    limit: int,
) -> list[Membership]:
    columns = memberships.c
    statement = _page(memberships, tenant_id, after, limit).where(
        ~columns.deleted, among(columns.person_id, sight.people)
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
        select(identities)
        .where(
            identities.c.tenant_id == tenant_id,
            identities.c.source == source,
            identities.c.external_user_id.in_(written_user_ids(external_user_id)),
            ~identities.c.deleted,
        )
        .limit(1)
    )
    return None if row is None else _identity(row)


async def list_identities(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    *,
    person_id: UUID | None,
    source: str | None,
    external_user_id: str | None,
    after: UUID | None,
    limit: int,
) -> list[Identity]:
    columns = identities.c
    statement = _page(identities, tenant_id, after, limit).where(
        ~columns.deleted, among(columns.person_id, sight.people)
    )
    if person_id is not None:
        statement = statement.where(columns.person_id == person_id)
    if source is not None:
        statement = statement.where(columns.source == source)
    if external_user_id is not None:
        statement = statement.where(columns.external_user_id.in_(written_user_ids(external_user_id)))
    return [_identity(row) for row in await tx.rows(statement)]


async def add_identity(tx: Transaction, tenant_id: UUID, added: Identity) -> None:
    await _add(tx, identities, tenant_id, added.id, _identity_values(added))


async def save_identity(tx: Transaction, tenant_id: UUID, saved: Identity) -> None:
    await _save(tx, identities, tenant_id, saved.id, _identity_values(saved))


async def chart(tx: Transaction, tenant_id: UUID) -> OrgChart:
    """Calendar, team tree and memberships of a tenant; without its identities."""
    held = await calendar(tx, tenant_id)
    stays = await tx.rows(select(memberships).where(memberships.c.tenant_id == tenant_id, ~memberships.c.deleted))
    return OrgChart(
        calendar=FiscalCalendar() if held is None else held.fiscal,
        teams=await team_nodes(tx, tenant_id),
        memberships=[
            MembershipFact(row["person_id"], row["team_id"], DatedRange(row["start_on"], row["end_on"]))
            for row in stays
        ],
    )


async def every_calendar(tx: Transaction) -> list[tuple[UUID, Calendar]]:
    """The calendars of all tenants, kept as they are until the end of the transaction."""
    rows = await tx.rows(_CALENDARS.order_by(calendars.c.tenant_id).with_for_update(read=True, of=calendars))
    return [(row["tenant_id"], _calendar(row)) for row in rows]


async def every_person(tx: Transaction, after: tuple[UUID, UUID] | None, limit: int) -> list[tuple[UUID, Person]]:
    return [(row["tenant_id"], _person(row)) for row in await _every(tx, people, after, limit)]


async def every_team(tx: Transaction, after: tuple[UUID, UUID] | None, limit: int) -> list[tuple[UUID, Team]]:
    return [(row["tenant_id"], _team(row)) for row in await _every(tx, teams, after, limit, _TEAMS)]


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


async def _every(
    tx: Transaction,
    table: Table,
    after: tuple[UUID, UUID] | None,
    limit: int,
    rows: Select[*tuple[object, ...]] | None = None,
) -> Sequence[RowMapping]:
    """Rows of all tenants, kept as they are until the end of the transaction: what is said of them stays true."""
    key = tuple_(table.c.tenant_id, table.c.id)
    statement = select(table) if rows is None else rows
    statement = statement.order_by(table.c.tenant_id, table.c.id).limit(limit).with_for_update(read=True, of=table)
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
    always = CalendarTerms(row["start_month"], stored_zone(row["time_zone"]), row["currency"])
    changes = (
        (date.fromisoformat(start), CalendarTerms(start_month, stored_zone(time_zone), currency))
        for start, start_month, time_zone, currency in row["changes"]
    )
    return Calendar(row["version"], always, tuple(changes))


def _terms_values(terms: CalendarTerms) -> dict[str, object]:
    return {"start_month": terms.start_month, "time_zone": terms.time_zone, "currency": terms.currency}


def _person(row: RowMapping) -> Person:
    return Person(row["id"], row["version"], row["name"], row["email"], row["active"], row["employee_number"])


def _person_values(person: Person) -> dict[str, object]:
    return {
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
    return {"version": team.version, "name": team.name, **team.always._asdict()}


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
