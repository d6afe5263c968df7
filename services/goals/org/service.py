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
    Calendar,
    CalendarNotSet,
    CalendarTerms,
    FirstDay,
    Identity,
    IdentityNotFound,
    Membership,
    MembershipNotFound,
    Person,
    PersonNotFound,
    Place,
    Team,
    TeamNotFound,
    UnknownPerson,
    UnknownTeam,
    check_identity,
    check_membership,
    check_person,
    check_tree,
)
from services.goals.org.events import calendar_event, identity_event, membership_event, person_event, team_event
from services.goals.publishing import publish
from shared.db.database import Transaction
from shared.kernel.errors import check_version
from shared.kernel.ids import source_user_id
from shared.kernel.money import known_currency
from shared.kernel.org import OrgChart, OwnerKind
from shared.kernel.periods import DatedRange, FiscalCalendar
from shared.kernel.sight import WHOLE_TENANT, Sight


async def chart(tx: Transaction, tenant_id: UUID) -> OrgChart:
    """Calendar, team tree and memberships of a tenant; without its identities."""
    return await store.chart(tx, tenant_id)


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


async def today(tx: Transaction, tenant_id: UUID) -> date:
    """The tenant's day of this transaction."""
    return (await fiscal_calendar(tx, tenant_id)).business_date(tx.now)


async def set_calendar(
    tx: Transaction, tenant_id: UUID, terms: CalendarTerms, start: date | FirstDay, *, expected_version: int
) -> Calendar:
    """Set the calendar, or change it from `expected_version`, which is 0 when none was set, from a first day on.

    The first one holds from the beginning of time. Raises VersionMismatch; InvalidInput for a day that cannot be.
    """
    await tx.lock_tenants_exclusive([tenant_id])
    held = await store.calendar(tx, tenant_id)
    check_version(0 if held is None else held.version, expected_version)
    terms = replace(terms, currency=known_currency(terms.currency))
    changed = Calendar(1, terms) if held is None else held.with_terms(start, terms, tx.now)
    await store.save_calendar(tx, tenant_id, changed)
    await publish(tx, [calendar_event(tenant_id, changed, tx.now)])
    return changed


async def people(
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
    """Those in view, by id; of an address in whatever case of letters."""
    return await store.list_people(
        tx, tenant_id, sight, active=active, email=email, employee_number=employee_number, after=after, limit=limit
    )


async def person(tx: Transaction, tenant_id: UUID, person_id: UUID, sight: Sight) -> Person:
    """Raises PersonNotFound, also for one out of view."""
    held = await store.person(tx, tenant_id, person_id)
    if held is None or not sight.sees_person(person_id):
        raise PersonNotFound(f"There is no person {person_id}.")
    return held


async def add_person(
    tx: Transaction, tenant_id: UUID, *, name: str, email: str | None, employee_number: str | None = None
) -> Person:
    """Raises EmailTaken, EmployeeNumberTaken."""
    await tx.lock_tenants_exclusive([tenant_id])
    added = Person(tx.new_id(), 1, name, email, active=True, employee_number=employee_number)
    check_person(added, None, await store.people_alike(tx, tenant_id, added))
    await store.add_person(tx, tenant_id, added)
    await publish(tx, [person_event(tenant_id, added)])
    return added


async def change_person(
    tx: Transaction, tenant_id: UUID, person_id: UUID, expected_version: int, change: Callable[[Person], Person]
) -> Person:
    """Raises PersonNotFound, VersionMismatch, EmailTaken, EmployeeNumberTaken."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await person(tx, tenant_id, person_id, WHOLE_TENANT)
    check_version(held.version, expected_version)
    changed = replace(change(held), version=held.version + 1)
    check_person(changed, held, await store.people_alike(tx, tenant_id, changed))
    await store.save_person(tx, tenant_id, changed)
    await publish(tx, [person_event(tenant_id, changed)])
    return changed


async def teams(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    *,
    parent_id: UUID | None,
    manager_id: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[Team]:
    """Those in view, by id; of a parent or a manager as on the tenant's day."""
    its_today = await today(tx, tenant_id)
    return await store.list_teams(
        tx, tenant_id, sight, parent_id=parent_id, manager_id=manager_id, on=its_today, after=after, limit=limit
    )


async def team(tx: Transaction, tenant_id: UUID, team_id: UUID, sight: Sight) -> Team:
    """Raises TeamNotFound, also for one out of view."""
    held = await store.team(tx, tenant_id, team_id)
    if held is None or not sight.sees_team(team_id):
        raise TeamNotFound(f"There is no team {team_id}.")
    return held


async def add_team(
    tx: Transaction, tenant_id: UUID, *, name: str, parent_id: UUID | None, manager_id: UUID | None
) -> Team:
    """A team that stands there from the beginning of time. Raises UnknownTeam, UnknownPerson."""
    await tx.lock_tenants_exclusive([tenant_id])
    added = Team(tx.new_id(), 1, name, Place(parent_id, manager_id))
    await _check_team(tx, tenant_id, added, manager_id)
    await store.add_team(tx, tenant_id, added)
    await publish(tx, [team_event(tenant_id, added, await today(tx, tenant_id))])
    return added


async def change_team(
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
    await tx.lock_tenants_exclusive([tenant_id])
    held = await team(tx, tenant_id, team_id, WHOLE_TENANT)
    check_version(held.version, expected_version)
    its_today = await today(tx, tenant_id)
    first = {FirstDay.TODAY: its_today, FirstDay.BEGINNING: date.min}[start] if isinstance(start, FirstDay) else start
    placed = held.on(first)
    changed = replace(held.placed(start, place(placed), its_today), name=name or held.name, version=held.version + 1)
    await _check_team(tx, tenant_id, changed, changed.on(first).manager_id)
    await store.save_team(tx, tenant_id, changed)
    await publish(tx, [team_event(tenant_id, changed, its_today)])
    return changed


async def memberships(
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
    """Those of people in view, by id; `on` is a day they are in force."""
    return await store.list_memberships(
        tx, tenant_id, sight, person_id=person_id, team_id=team_id, on=on, after=after, limit=limit
    )


async def membership(tx: Transaction, tenant_id: UUID, membership_id: UUID, sight: Sight) -> Membership:
    """Raises MembershipNotFound, also for one of a person out of view and for one that was deleted."""
    held = await store.membership(tx, tenant_id, membership_id)
    if held is None or held.deleted or not sight.sees_person(held.person_id):
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
    held = await membership(tx, tenant_id, membership_id, WHOLE_TENANT)
    check_version(held.version, expected_version)
    changed = replace(change(held), version=held.version + 1)
    check_membership(changed, await store.memberships_of(tx, tenant_id, changed.person_id, changed.team_id))
    await store.save_membership(tx, tenant_id, changed)
    await publish(tx, [membership_event(tenant_id, changed)])
    return changed


async def delete_membership(tx: Transaction, tenant_id: UUID, membership_id: UUID, expected_version: int) -> None:
    """Take a membership back as if never said. Raises MembershipNotFound, VersionMismatch."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await membership(tx, tenant_id, membership_id, WHOLE_TENANT)
    check_version(held.version, expected_version)
    deleted = replace(held, version=held.version + 1, deleted=True)
    await store.save_membership(tx, tenant_id, deleted)
    await publish(tx, [membership_event(tenant_id, deleted)])


async def identities(
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
    """Those of people in view, by id."""
    return await store.list_identities(
        tx,
        tenant_id,
        sight,
        person_id=person_id,
        source=source,
        external_user_id=external_user_id,
        after=after,
        limit=limit,
    )


async def identity(tx: Transaction, tenant_id: UUID, identity_id: UUID, sight: Sight) -> Identity:
    """Raises IdentityNotFound, also for one of a person out of view and for one that was deleted."""
    held = await store.identity(tx, tenant_id, identity_id)
    if held is None or held.deleted or not sight.sees_person(held.person_id):
        raise IdentityNotFound(f"There is no identity {identity_id}.")
    return held


async def add_identity(
    tx: Transaction, tenant_id: UUID, *, source: str, external_user_id: str, person_id: UUID
) -> Identity:
    """Raises UnknownPerson, IdentityTaken."""
    await tx.lock_tenants_exclusive([tenant_id])
    external_user_id = source_user_id(external_user_id)
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
    held = await identity(tx, tenant_id, identity_id, WHOLE_TENANT)
    check_version(held.version, expected_version)
    await require_person(tx, tenant_id, person_id, "/person_id")
    changed = replace(held, version=held.version + 1, person_id=person_id)
    await store.save_identity(tx, tenant_id, changed)
    await publish(tx, [identity_event(tenant_id, changed)])
    return changed


async def delete_identity(tx: Transaction, tenant_id: UUID, identity_id: UUID, expected_version: int) -> None:
    """Take an identity back; the CRM user is nobody then. Raises IdentityNotFound, VersionMismatch."""
    await tx.lock_tenants_exclusive([tenant_id])
    held = await identity(tx, tenant_id, identity_id, WHOLE_TENANT)
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


async def _check_team(tx: Transaction, tenant_id: UUID, checked: Team, manager_id: UUID | None) -> None:
    """`manager_id` is the one that the change names."""
    check_tree(await store.team_nodes(tx, tenant_id), checked.node)
    if manager_id is not None:
        await require_person(tx, tenant_id, manager_id, "/manager_id")
