"""People, teams, memberships, CRM identities and the fiscal calendar: what they are and which changes are refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from shared.kernel.errors import Conflict, FieldError, InvalidInput, NotFound
from shared.kernel.money import parse_currency
from shared.kernel.org import OrgChart
from shared.kernel.periods import DatedRange, FiscalCalendar


class CalendarNotSet(NotFound):
    """Nobody has set the fiscal calendar of this tenant yet."""

    code = "calendar_not_set"
    title = "Calendar not set"


class PersonNotFound(NotFound):
    """There is no such person, or the caller may not see it."""

    code = "person_not_found"
    title = "Person not found"


class TeamNotFound(NotFound):
    """There is no such team, or the caller may not see it."""

    code = "team_not_found"
    title = "Team not found"


class MembershipNotFound(NotFound):
    """There is no such membership, it was deleted, or the caller may not see it."""

    code = "membership_not_found"
    title = "Membership not found"


class IdentityNotFound(NotFound):
    """There is no such identity, it was deleted, or the caller may not see it."""

    code = "identity_not_found"
    title = "Identity not found"


class UnknownPerson(InvalidInput):
    """A field names a person that does not exist."""

    code = "unknown_person"
    title = "Unknown person"

    @classmethod
    def at(cls, pointer: str, person_id: UUID) -> "UnknownPerson":
        return cls(
            f"There is no person {person_id}.",
            fields=[FieldError(pointer, f"there is no person {person_id}", "the id of a person of GET /v1/people")],
        )


class UnknownTeam(InvalidInput):
    """A field names a team that does not exist."""

    code = "unknown_team"
    title = "Unknown team"

    @classmethod
    def at(cls, pointer: str, team_id: UUID) -> "UnknownTeam":
        return cls(
            f"There is no team {team_id}.",
            fields=[FieldError(pointer, f"there is no team {team_id}", "the id of a team of GET /v1/teams")],
        )


class TeamCircle(InvalidInput):
    """The team would stand below itself."""

    code = "team_circle"
    title = "Circle of teams"


class MembershipOverlaps(Conflict):
    """The person is in the team already on some of these days."""

    code = "membership_overlaps"
    title = "Membership overlaps"


class IdentityTaken(Conflict):
    """The CRM user is somebody's identity already."""

    code = "identity_taken"
    title = "Identity taken"


@dataclass(frozen=True, slots=True)
class Calendar:
    """How a tenant counts its days, and the currency it thinks in."""

    version: int
    fiscal: FiscalCalendar
    currency: str

    def __post_init__(self) -> None:
        parse_currency(self.currency)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who can own goals and earn. An inactive one keeps what it has."""

    id: UUID
    version: int
    name: str
    email: str | None
    active: bool


@dataclass(frozen=True, slots=True)
class Team:
    """A node of the team tree."""

    id: UUID
    version: int
    name: str
    parent_id: UUID | None
    manager_id: UUID | None


@dataclass(frozen=True, slots=True)
class Membership:
    """A person is in a team while `range` is in force; a deleted one counts as never said."""

    id: UUID
    version: int
    person_id: UUID
    team_id: UUID
    range: DatedRange
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """A CRM user is a person; a deleted one counts as never said."""

    id: UUID
    version: int
    source: str
    external_user_id: str
    person_id: UUID
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking: everyone in the tenant, a subtree, or only itself."""

    person_id: UUID | None
    sees_tenant: bool
    sees_subtree: bool


EDITOR = Viewer(None, sees_tenant=True, sees_subtree=True)
"""Whoever changes something has been let in already and sees all of the tenant."""


@dataclass(frozen=True, slots=True)
class View:
    """The people and teams a viewer may see; None means all of the tenant."""

    people: frozenset[UUID] | None = None
    teams: frozenset[UUID] | None = None

    def shows_person(self, person_id: UUID) -> bool:
        return self.people is None or person_id in self.people

    def shows_team(self, team_id: UUID) -> bool:
        return self.teams is None or team_id in self.teams


WHOLE_TENANT = View()


def view_of(viewer: Viewer, chart: OrgChart, today: date) -> View:
    """What a viewer sees today: a manager itself, the teams it manages with those below, and whoever is in them."""
    if viewer.sees_tenant:
        return WHOLE_TENANT
    if viewer.person_id is None:
        return View(frozenset(), frozenset())
    itself = frozenset({viewer.person_id})
    if not viewer.sees_subtree:
        return View(itself, frozenset())
    return View(itself | chart.managed_people(viewer.person_id, today), chart.managed_teams(viewer.person_id))


def check_tree(parents: Mapping[UUID, UUID | None], team_id: UUID, parent_id: UUID | None) -> None:
    """Raises UnknownTeam or TeamCircle unless `team_id` may stand below `parent_id` in the tree of `parents`."""
    if parent_id is None:
        return
    if parent_id != team_id and parent_id not in parents:
        raise UnknownTeam.at("/parent_id", parent_id)
    ancestor: UUID | None = parent_id
    while ancestor is not None:
        if ancestor == team_id:
            raise TeamCircle(
                "The team would stand below itself.",
                fields=[FieldError("/parent_id", "stands below this team, or is it", "a team that is not below it")],
            )
        ancestor = parents.get(ancestor)


def check_membership(membership: Membership, others: Iterable[Membership]) -> None:
    """Raises MembershipOverlaps when the person is in the team already, by one of `others`, on a day of this one."""
    for other in others:
        same = other.person_id == membership.person_id and other.team_id == membership.team_id
        if same and other.id != membership.id and not other.deleted and other.range.overlaps(membership.range):
            until = "for good" if other.range.end is None else f"until {other.range.end}"
            raise MembershipOverlaps(
                f"The person is in this team from {other.range.start} {until} (membership {other.id}).",
                fields=[FieldError("/start", "some of these days are taken", "days outside the other membership")],
            )


def check_identity(identity: Identity, holder: Identity | None) -> None:
    """Raises IdentityTaken when another identity, `holder`, is the same CRM user."""
    if holder is not None and holder.id != identity.id:
        raise IdentityTaken(
            f"The user {identity.external_user_id} of {identity.source} is a person already (identity {holder.id}).",
            fields=[FieldError("/external_user_id", "is somebody's already", "change or delete the other identity")],
        )
