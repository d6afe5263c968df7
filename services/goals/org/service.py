"""The use cases of the organisation: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked still holds when it is committed, and the snapshots of a
subject are published in the order of their versions.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from uuid import UUID

from services.goals.org import store
from services.goals.org.domain import (
    EDITOR,
    WHOLE_TENANT,
    Calendar,
    CalendarNotSet,
    Identity,
    IdentityNotFound,
    Membership,
    MembershipNotFound,
    Person,
    PersonNotFound,
    Team,
    TeamNotFound,
    UnknownPerson,
    UnknownTeam,
    View,
    Viewer,
    check_identity,
    check_membership,
    check_tree,
    view_of,
)
from services.goals.org.events import calendar_event, identity_event, membership_event, person_event, team_event
from services.goals.publishing import publish
from shared.db.database import Transaction
from shared.kernel.errors import check_version
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, FiscalCalendar


async def view(tx: Transaction, tenant_id: UUID, viewer: Viewer) -> View:
    """What the viewer may see on the tenant's day of this transaction."""
    if viewer.sees_tenant:
        return WHOLE_TENANT
    chart = await store.chart(tx, tenant_id)
    return view_of(viewer, chart, chart.calendar.business_date(tx.now))


async def calendar(tx: Transaction, tenant_id: UUID) -> Calendar:
    """The tenant's calendar. Raises CalendarNotSet."""
    held = await store.calendar(tx, tenant_id)
    if held is None:
        raise CalendarNotSet("The fiscal calendar has not been set.")
    return held


async def fiscal_calendar(tx: Transaction, tenant_id: UUID) -> FiscalCalendar:
    """How the tenant cuts its years; January and UTC until it says so."""
    held = await store.calendar(tx, tenant_id)
    return FiscalCalendar() if held is None else held.fiscal


async def set_calendar(
    tx: Transaction, tenant_id: UUID, fiscal: FiscalCalendar, currency: str, *, expected_version: int
) -> Calendar:
    """Set the calendar, or change it from `expected_version`, which is 0 when none was set. Raises VersionMismatch."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await store.calendar(tx, tenant_id)
    version = 0 if held is None else held.version
    check_version(version, expected_version)
    changed = Calendar(version + 1, fiscal, currency)
    await store.save_calendar(tx, tenant_id, changed)
    await publish(tx, [calendar_event(tenant_id, changed)])
    return changed


async def people(
    tx: Transaction,
    tenant_id: UUID,
    viewer: Viewer,
    *,
    active: bool | None,
    email: str | None,
    after: UUID | None,
    limit: int,
) -> list[Person]:
    """Those in view, by id."""
    seen = await view(tx, tenant_id, viewer)
    return await store.list_people(tx, tenant_id, seen, active=active, email=email, after=after, limit=limit)


async def person(tx: Transaction, tenant_id: UUID, person_id: UUID, viewer: Viewer) -> Person:
    """Raises PersonNotFound, also for one out of view."""
    held = await store.person(tx, tenant_id, person_id)
    if held is None or not (await view(tx, tenant_id, viewer)).shows_person(person_id):
        raise PersonNotFound(f"There is no person {person_id}.")
    return held


async def add_person(tx: Transaction, tenant_id: UUID, *, name: str, email: str | None) -> Person:
    await tx.lock_tenants_exclusive([tenant_id])
    added = Person(tx.new_id(), 1, name, email, active=True)
    await store.add_person(tx, tenant_id, added)
    await publish(tx, [person_event(tenant_id, added)])
    return added


async def change_person(
    tx: Transaction, tenant_id: UUID, person_id: UUID, expected_version: int, change: Callable[[Person], Person]
) -> Person:
    """Raises PersonNotFound, VersionMismatch."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await person(tx, tenant_id, person_id, EDITOR)
    check_version(held.version, expected_version)
    changed = replace(change(held), version=held.version + 1)
    await store.save_person(tx, tenant_id, changed)
    await publish(tx, [person_event(tenant_id, changed)])
    return changed


async def teams(
    tx: Transaction,
    tenant_id: UUID,
    viewer: Viewer,
    *,
    parent_id: UUID | None,
    manager_id: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[Team]:
    """Those in view, by id."""
    seen = await view(tx, tenant_id, viewer)
    return await store.list_teams(
        tx, tenant_id, seen, parent_id=parent_id, manager_id=manager_id, after=after, limit=limit
    )


async def team(tx: Transaction, tenant_id: UUID, team_id: UUID, viewer: Viewer) -> Team:
    """Raises TeamNotFound, also for one out of view."""
    held = await store.team(tx, tenant_id, team_id)
    if held is None or not (await view(tx, tenant_id, viewer)).shows_team(team_id):
        raise TeamNotFound(f"There is no team {team_id}.")
    return held


async def add_team(
    tx: Transaction, tenant_id: UUID, *, name: str, parent_id: UUID | None, manager_id: UUID | None
) -> Team:
    """Raises UnknownTeam, UnknownPerson."""
    await tx.lock_tenants_exclusive([tenant_id])
    added = Team(tx.new_id(), 1, name, parent_id, manager_id)
    await _check_team(tx, tenant_id, added)
    await store.add_team(tx, tenant_id, added)
    await publish(tx, [team_event(tenant_id, added)])
    return added


async def change_team(
    tx: Transaction, tenant_id: UUID, team_id: UUID, expected_version: int, change: Callable[[Team], Team]
) -> Team:
    """Raises TeamNotFound, VersionMismatch, UnknownTeam, UnknownPerson, TeamCircle."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await team(tx, tenant_id, team_id, EDITOR)
    check_version(held.version, expected_version)
    changed = replace(change(held), version=held.version + 1)
    await _check_team(tx, tenant_id, changed)
    await store.save_team(tx, tenant_id, changed)
    await publish(tx, [team_event(tenant_id, changed)])
    return changed


async def memberships(
    tx: Transaction,
    tenant_id: UUID,
    viewer: Viewer,
    *,
    person_id: UUID | None,
    team_id: UUID | None,
    on: date | None,
    after: UUID | None,
    limit: int,
) -> list[Membership]:
    """Those of people in view, by id; `on` is a day they are in force."""
    seen = await view(tx, tenant_id, viewer)
    return await store.list_memberships(
        tx, tenant_id, seen, person_id=person_id, team_id=team_id, on=on, after=after, limit=limit
    )


async def membership(tx: Transaction, tenant_id: UUID, membership_id: UUID, viewer: Viewer) -> Membership:
    """Raises MembershipNotFound, also for one of a person out of view and for one that was deleted."""
    held = await store.membership(tx, tenant_id, membership_id)
    if held is None or held.deleted or not (await view(tx, tenant_id, viewer)).shows_person(held.person_id):
        raise MembershipNotFound(f"There is no membership {membership_id}.")
    return held


async def add_membership(
    tx: Transaction, tenant_id: UUID, *, person_id: UUID, team_id: UUID, dated: DatedRange
) -> Membership:
    """Raises UnknownPerson, UnknownTeam, MembershipOverlaps."""
    await tx.lock_tenants_exclusive([tenant_id])
    added = Membership(tx.new_id(), 1, person_id, team_id, dated)
    await require_person(tx, tenant_id, person_id, "/person_id")
    await require_team(tx, tenant_id, team_id, "/team_id")
    check_membership(added, await store.memberships_of(tx, tenant_id, person_id, team_id))
    await store.add_membership(tx, tenant_id, added)
    await publish(tx, [membership_event(tenant_id, added)])
    return added


async def change_membership(
    tx: Transaction,
    tenant_id: UUID,
    membership_id: UUID,
    expected_version: int,
    change: Callable[[Membership], Membership],
) -> Membership:
    """Change the days of a membership. Raises MembershipNotFound, VersionMismatch, MembershipOverlaps."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await membership(tx, tenant_id, membership_id, EDITOR)
    check_version(held.version, expected_version)
    changed = replace(change(held), version=held.version + 1)
    check_membership(changed, await store.memberships_of(tx, tenant_id, changed.person_id, changed.team_id))
    await store.save_membership(tx, tenant_id, changed)
    await publish(tx, [membership_event(tenant_id, changed)])
    return changed


async def delete_membership(tx: Transaction, tenant_id: UUID, membership_id: UUID, expected_version: int) -> None:
    """Take a membership back as if never said. Raises MembershipNotFound, VersionMismatch."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await membership(tx, tenant_id, membership_id, EDITOR)
    check_version(held.version, expected_version)
    deleted = replace(held, version=held.version + 1, deleted=True)
    await store.save_membership(tx, tenant_id, deleted)
    await publish(tx, [membership_event(tenant_id, deleted)])


async def identities(
    tx: Transaction,
    tenant_id: UUID,
    viewer: Viewer,
    *,
    person_id: UUID | None,
    source: str | None,
    external_user_id: str | None,
    after: UUID | None,
    limit: int,
) -> list[Identity]:
    """Those of people in view, by id."""
    seen = await view(tx, tenant_id, viewer)
    return await store.list_identities(
        tx,
        tenant_id,
        seen,
        person_id=person_id,
        source=source,
        external_user_id=external_user_id,
        after=after,
        limit=limit,
    )


async def identity(tx: Transaction, tenant_id: UUID, identity_id: UUID, viewer: Viewer) -> Identity:
    """Raises IdentityNotFound, also for one of a person out of view and for one that was deleted."""
    held = await store.identity(tx, tenant_id, identity_id)
    if held is None or held.deleted or not (await view(tx, tenant_id, viewer)).shows_person(held.person_id):
        raise IdentityNotFound(f"There is no identity {identity_id}.")
    return held


async def add_identity(
    tx: Transaction, tenant_id: UUID, *, source: str, external_user_id: str, person_id: UUID
) -> Identity:
    """Raises UnknownPerson, IdentityTaken."""
    await tx.lock_tenants_exclusive([tenant_id])
    added = Identity(tx.new_id(), 1, source, external_user_id, person_id)
    await require_person(tx, tenant_id, person_id, "/person_id")
    check_identity(added, await store.identity_of_user(tx, tenant_id, source, external_user_id))
    await store.add_identity(tx, tenant_id, added)
    await publish(tx, [identity_event(tenant_id, added)])
    return added


async def change_identity(
    tx: Transaction, tenant_id: UUID, identity_id: UUID, expected_version: int, *, person_id: UUID
) -> Identity:
    """Say that the CRM user is another person. Raises IdentityNotFound, VersionMismatch, UnknownPerson."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await identity(tx, tenant_id, identity_id, EDITOR)
    check_version(held.version, expected_version)
    await require_person(tx, tenant_id, person_id, "/person_id")
    changed = replace(held, version=held.version + 1, person_id=person_id)
    await store.save_identity(tx, tenant_id, changed)
    await publish(tx, [identity_event(tenant_id, changed)])
    return changed


async def delete_identity(tx: Transaction, tenant_id: UUID, identity_id: UUID, expected_version: int) -> None:
    """Take an identity back; the CRM user is nobody then. Raises IdentityNotFound, VersionMismatch."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await identity(tx, tenant_id, identity_id, EDITOR)
    check_version(held.version, expected_version)
    deleted = replace(held, version=held.version + 1, deleted=True)
    await store.save_identity(tx, tenant_id, deleted)
    await publish(tx, [identity_event(tenant_id, deleted)])


async def require_person(tx: Transaction, tenant_id: UUID, person_id: UUID, pointer: str) -> None:
    """Raises UnknownPerson naming `pointer` unless there is such a person."""
    if await store.person(tx, tenant_id, person_id) is None:
        raise UnknownPerson.at(pointer, person_id)


async def require_team(tx: Transaction, tenant_id: UUID, team_id: UUID, pointer: str) -> None:
    """Raises UnknownTeam naming `pointer` unless there is such a team."""
    if await store.team(tx, tenant_id, team_id) is None:
        raise UnknownTeam.at(pointer, team_id)


async def require_owner(tx: Transaction, tenant_id: UUID, kind: OwnerKind, owner_id: UUID, pointer: str) -> None:
    """Raises UnknownPerson or UnknownTeam naming `pointer` unless there is such a person or team."""
    require = require_person if kind is OwnerKind.PERSON else require_team
    await require(tx, tenant_id, owner_id, pointer)


async def _check_team(tx: Transaction, tenant_id: UUID, checked: Team) -> None:
    if checked.parent_id is not None:
        check_tree(await store.team_parents(tx, tenant_id), checked.id, checked.parent_id)
    if checked.manager_id is not None:
        await require_person(tx, tenant_id, checked.manager_id, "/manager_id")
