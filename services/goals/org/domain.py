"""People, teams, memberships and CRM identities: what they are and which changes are refused."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from services.goals.calendar.domain import FirstDay, in_force, restated
from shared.kernel.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound
from shared.kernel.org import OwnerKind, TeamChange, TeamNode
from shared.kernel.periods import DatedRange, Period
from shared.kernel.text import folded


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


class EmailTaken(Conflict):
    """Another person has this address, in whatever case of letters."""

    code = "email_taken"
    title = "Email taken"


class EmployeeNumberTaken(Conflict):
    """Another person has this employee number."""

    code = "employee_number_taken"
    title = "Employee number taken"


class PersonInactive(Forbidden):
    """Whoever began this is not active any more."""

    code = "person_inactive"
    title = "Person is not active"


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


def unknown_owner(kind: OwnerKind, owner_id: UUID, pointer: str) -> UnknownPerson | UnknownTeam:
    """The error about an owner that is no person or team."""
    return (UnknownPerson if kind is OwnerKind.PERSON else UnknownTeam).at(pointer, owner_id)


class TeamCircle(InvalidInput):
    """The team would be below itself."""

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
class Person:
    """Someone who can own goals and earn. An inactive one keeps what it has."""

    id: UUID
    version: int
    name: str
    email: str | None
    active: bool
    employee_number: str | None = None

    @property
    def traits(self) -> tuple[tuple[str, str], ...]:
        """What nobody else of the tenant has: the address as it is compared, and the employee number."""
        address = () if self.email is None else (("email", folded(self.email)),)
        return (*address, *(() if self.employee_number is None else (("number", self.employee_number),)))


@dataclass(frozen=True, slots=True)
class PersonFilter:
    """Which people are wanted; None narrows nothing down. An address is one in whatever case of letters."""

    active: bool | None = None
    email: str | None = None
    employee_number: str | None = None


class Named(NamedTuple):
    """What a person or a team is called; a team is always active."""

    name: str
    active: bool


class Place(NamedTuple):
    """A team's parent and manager."""

    parent_id: UUID | None
    manager_id: UUID | None


@dataclass(frozen=True, slots=True)
class Team:
    """A node of the team tree: its place from the beginning of time, and every change of it with its first day."""

    id: UUID
    version: int
    name: str
    always: Place
    changes: tuple[tuple[date, Place], ...] = ()

    def on(self, day: date) -> Place:
        """Its place on a day."""
        return in_force(self.always, self.changes, day)

    def placed(self, start: date | FirstDay, place: Place, today: date) -> "Team":
        """The team with this place from `start` on, up to the next change."""
        day = today if start is FirstDay.TODAY else start
        always, changes = restated(self.always, self.changes, day, place)
        return replace(self, always=always, changes=changes)

    @property
    def manager_ids(self) -> frozenset[UUID]:
        """Whoever manages it on some day."""
        places = (self.always, *(place for _, place in self.changes))
        return frozenset(place.manager_id for place in places if place.manager_id is not None)

    @property
    def node(self) -> TeamNode:
        """The team in the tree, on every day."""
        return TeamNode(self.id, *self.always, tuple(TeamChange(start, *place) for start, place in self.changes))


@dataclass(frozen=True, slots=True)
class TeamFilter:
    """Which teams are wanted: those of a parent or a manager; None narrows nothing down."""

    parent_id: UUID | None = None
    manager_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """A person is in a team while `range` is in force; a deleted one counts as never stated."""

    id: UUID
    version: int
    person_id: UUID
    team_id: UUID
    range: DatedRange
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class MembershipFilter:
    """Which memberships are wanted, `on` a day they are in force; None narrows nothing down."""

    person_id: UUID | None = None
    team_id: UUID | None = None
    on: date | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """A CRM user is a person; a deleted one counts as never stated."""

    id: UUID
    version: int
    source: str
    external_user_id: str
    person_id: UUID
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class IdentityFilter:
    """Which identities are wanted; None narrows nothing down."""

    person_id: UUID | None = None
    source: str | None = None
    external_user_id: str | None = None


def check_tree(nodes: Mapping[UUID, TeamNode], team: TeamNode) -> None:
    """Raises UnknownTeam or TeamCircle unless the team may have its parents among `nodes`, on every day."""
    parents = {parent_id for _, parent_id, _ in team.states() if parent_id is not None}
    for parent_id in sorted(parents - nodes.keys() - {team.id}):
        raise UnknownTeam.at("/parent_id", parent_id)
    tree = {**nodes, team.id: team}
    for day in sorted({date.min, *(change.start for node in tree.values() for change in node.changes)}):
        ancestor, _ = team.on(day)
        while ancestor is not None:
            if ancestor == team.id:
                since = "from the beginning" if day == date.min else f"on {day}"
                raise TeamCircle(
                    f"The team would be below itself {since}.",
                    fields=[
                        FieldError(
                            "/parent_id", "is below this team, or is it", "a team that is not below it on any day"
                        )
                    ],
                )
            node = tree.get(ancestor)
            ancestor = None if node is None else node.on(day)[0]


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


def check_person(person: Person, before: Person | None, others: Iterable[Person]) -> None:
    """Raises EmailTaken or EmployeeNumberTaken for what is new of the person and one of `others` has already.

    What two people had in common before this rule stays until one of them changes it.
    """
    new_email = person.email if before is None or before.email != person.email else None
    new_number = person.employee_number
    if before is not None and before.employee_number == new_number:
        new_number = None
    for other in others:
        if other.id == person.id:
            continue
        has_it = f"{other.name} (person {other.id}) has it"
        if new_email is not None and other.email is not None and folded(other.email) == folded(new_email):
            raise EmailTaken(
                f"The address {new_email} is taken: {has_it}.",
                fields=[FieldError("/email", has_it, "an address that nobody else of the tenant has, or null")],
            )
        if new_number is not None and other.employee_number == new_number:
            raise EmployeeNumberTaken(
                f"The employee number {new_number} is taken: {has_it}.",
                fields=[FieldError("/employee_number", has_it, "a number that nobody else of the tenant has, or null")],
            )


def check_identity(identity: Identity, holder: Identity | None) -> None:
    """Raises IdentityTaken when another identity, `holder`, is the same CRM user."""
    if holder is not None and holder.id != identity.id:
        raise IdentityTaken(
            f"The user {identity.external_user_id} of {identity.source} is a person already (identity {holder.id}).",
            fields=[FieldError("/external_user_id", "is somebody's already", "change or delete the other identity")],
        )


def membership_deleted(membership: Membership) -> Membership:
    """As if it had never been."""
    return replace(membership, deleted=True)


def identity_deleted(identity: Identity) -> Identity:
    """The CRM user is nobody."""
    return replace(identity, deleted=True)


def identity_of(person_id: UUID) -> Callable[[Identity], Identity]:
    """The CRM user is this person."""
    return lambda identity: replace(identity, person_id=person_id)


class Strength(NamedTuple):
    """Days on which somebody can do less than a person who is there in full: on leave nothing, on a ramp its share."""

    person_id: UUID
    days: DatedRange
    share: Decimal


def strength_spans(period: Period, reduced: Collection[tuple[DatedRange, Decimal]]) -> Iterator[tuple[Period, Decimal]]:
    """The days of a period in order, each with the least share that is said of it; 1 where nothing is."""
    within = [(days, share) for each, share in reduced if (days := each.within(period)) is not None]
    edges = sorted({period.start, period.end, *(edge for days, _ in within for edge in (days.start, days.end))})
    for start, end in pairwise(edges):
        yield Period(start, end), min((share for days, share in within if start in days), default=Decimal(1))
