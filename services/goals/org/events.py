"""What `attain.org.v1` says of each thing of this room."""

from uuid import UUID

from services.goals.org.domain import Calendar, Identity, Membership, Person, Team
from shared.contracts import org as contract


def calendar_event(tenant_id: UUID, calendar: Calendar) -> contract.Calendar:
    return contract.Calendar(
        tenant_id=tenant_id,
        version=calendar.version,
        start_month=calendar.fiscal.start_month,
        time_zone=calendar.fiscal.time_zone,
        currency=calendar.currency,
    )


def person_event(tenant_id: UUID, person: Person) -> contract.Person:
    return contract.Person(
        tenant_id=tenant_id,
        id=person.id,
        version=person.version,
        name=person.name,
        email=person.email,
        active=person.active,
    )


def team_event(tenant_id: UUID, team: Team) -> contract.Team:
    return contract.Team(
        tenant_id=tenant_id,
        id=team.id,
        version=team.version,
        name=team.name,
        parent_id=team.parent_id,
        manager_id=team.manager_id,
    )


def membership_event(tenant_id: UUID, membership: Membership) -> contract.Membership:
    return contract.Membership(
        tenant_id=tenant_id,
        id=membership.id,
        version=membership.version,
        person_id=membership.person_id,
        team_id=membership.team_id,
        start=membership.range.start,
        end=membership.range.end,
        deleted=membership.deleted,
    )


def identity_event(tenant_id: UUID, identity: Identity) -> contract.Identity:
    return contract.Identity(
        tenant_id=tenant_id,
        id=identity.id,
        version=identity.version,
        source=identity.source,
        external_user_id=identity.external_user_id,
        person_id=identity.person_id,
        deleted=identity.deleted,
    )
