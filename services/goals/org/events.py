"""The things of this room as `attain.org.v1` publishes them."""

from datetime import date
from uuid import UUID

from services.goals.org.domain import Identity, Membership, Person, Team
from shared.contracts import org as contract


def person_event(tenant_id: UUID, person: Person) -> contract.Person:
    return contract.Person(
        tenant_id=tenant_id,
        id=person.id,
        version=person.version,
        name=person.name,
        email=person.email,
        active=person.active,
        employee_number=person.employee_number,
    )


def team_event(tenant_id: UUID, team: Team, today: date) -> contract.Team:
    states = [(None, team.always), *team.changes]
    current = team.on(today)
    return contract.Team(
        tenant_id=tenant_id,
        id=team.id,
        version=team.version,
        name=team.name,
        parent_id=current.parent_id,
        manager_id=current.manager_id,
        history=tuple(
            contract.TeamState(start=start, parent_id=place.parent_id, manager_id=place.manager_id)
            for start, place in states
        ),
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
