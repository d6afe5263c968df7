"""The kinds of tables: how rows become things of the organisation and goals, and these become rows.

A row without an `id` is a new thing. One with the id of a thing changes it, unless it states what is so anyway; it
names the `version` it was made from. One with an id that no thing has, and without a version, is a new thing under that
id. What a file has no column for stays as it is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import partial
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field

from services.goals.calendar.domain import FirstDay
from services.goals.files.columns import (
    GOALS,
    IDENTITIES,
    MEMBERSHIPS,
    PEOPLE,
    TEAMS,
    Values,
    goal_row,
    identity_row,
    membership_row,
    person_row,
    team_row_at,
    team_rows,
)
from services.goals.org.domain import (
    Identity,
    IdentityFilter,
    Membership,
    MembershipFilter,
    Person,
    PersonFilter,
    Place,
    Team,
    TeamFilter,
)
from services.goals.org.schemas import IdentityBody, MembershipBody, PersonBody, TeamBody
from services.goals.org.service import Organisation
from services.goals.targets.domain import Goal, GoalFilter, GoalTerms, Status, draft
from services.goals.targets.schemas import GoalBody
from services.goals.targets.service import GoalChange, Goals, Verb
from shared.contracts.base import Day
from shared.db.database import Transaction
from shared.http.tables import body_of, in_row
from shared.kernel.errors import AttainError, FieldError, InvalidInput, ItemsRefused, Refusals
from shared.kernel.ids import source_user_id
from shared.kernel.periods import DatedRange, FiscalCalendar
from shared.kernel.sight import WHOLE_TENANT, Sight
from shared.outbox.published import Change
from shared.tables.cells import InvalidTable, place, refused
from shared.tables.columns import ERRORS_MAX, Column, Kind, ReadRow

COLUMNS: Final[Mapping[str, Sequence[Column]]] = {
    "people": PEOPLE,
    "teams": TEAMS,
    "memberships": MEMBERSHIPS,
    "identities": IDENTITIES,
    "goals": GOALS,
}
"""By the name of the kind, which is also the name of its list."""
_HEAD: Final = (Column("id", Kind.ID), Column("version", Kind.WHOLE))
_PAGE: Final = 500
_ANY_CALENDAR: Final = FiscalCalendar()
"""A row states its period by its days, which no calendar has a say in."""


class Became(StrEnum):
    """What a row made of a thing."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Line:
    """What became of the thing of the row on a line."""

    number: int
    id: UUID
    became: Became


class Thing(Protocol):
    """A versioned thing that is found by its id."""

    @property
    def id(self) -> UUID: ...

    @property
    def version(self) -> int: ...


class RowHead(BaseModel):
    """Which thing a row is about, and the version of it that the row was made from."""

    id: UUID | None = None
    version: int | None = Field(None, ge=1)


class PersonRow(PersonBody):
    """A person."""

    active: bool = True


class TeamRow(TeamBody):
    """The place of a team from a day on, or from the beginning of time."""

    start: Day | None = None


class GoalRow(GoalBody):
    """A goal."""

    status: Status | None = None


ThingT = TypeVar("ThingT", bound=Thing)
BodyT = TypeVar("BodyT", bound=BaseModel)


class AnyKind(Protocol):
    """A kind of table, whatever its things are."""

    @property
    def columns(self) -> Sequence[Column]: ...

    def pages(self, tx: Transaction, tenant_id: UUID, sight: Sight) -> AsyncIterator[Sequence[Values]]: ...

    async def check(self, tx: Transaction, tenant_id: UUID, rows: Sequence[ReadRow]) -> list[Line]: ...

    async def put(self, tx: Transaction, tenant_id: UUID, rows: Sequence[ReadRow]) -> list[Line]: ...


@dataclass(frozen=True, slots=True)
class Changed(Generic[ThingT]):
    """A thing as it is to be, and the version that the change was made from."""

    pointer: str
    version: int
    thing: ThingT


@dataclass(frozen=True, slots=True)
class Wanted(Generic[ThingT]):
    """What rows state: what becomes of each, the new things and the changes, each with the line it is first on."""

    lines: list[Line]
    created: Sequence[tuple[str, ThingT]]
    changed: Sequence[Changed[ThingT]]


@dataclass(frozen=True, slots=True)
class TableKind(Generic[ThingT, BodyT]):
    """Things of one kind as rows.

    `page` are the next of those in view after an id, by id, and `find` those of some ids. `stated` is the row of a
    thing that a row with these values would change. Of a kind that `repeats`, a thing has several rows.
    """

    columns: Sequence[Column]
    body_type: type[BodyT]
    page: Callable[[Transaction, UUID, Sight, UUID | None], Awaitable[Sequence[ThingT]]]
    rows: Callable[[ThingT], Iterable[Values]]
    stated: Callable[[ThingT, Values], Values]
    find: Callable[[Transaction, UUID, frozenset[UUID]], Awaitable[Mapping[UUID, ThingT | None]]]
    made: Callable[[UUID, BodyT], ThingT]
    changed: Callable[[ThingT, BodyT], ThingT]
    store: Callable[
        [Transaction, UUID, Sequence[tuple[str, ThingT]], Sequence[Changed[ThingT]], Refusals], Awaitable[None]
    ]
    repeats: bool = False

    async def pages(self, tx: Transaction, tenant_id: UUID, sight: Sight) -> AsyncIterator[Sequence[Values]]:
        """The rows of everything in view, some at a time."""
        after: UUID | None = None
        while page := await self.page(tx, tenant_id, sight, after):
            yield [row for thing in page for row in self.rows(thing)]
            after = page[-1].id

    async def read(self, tx: Transaction, tenant_id: UUID, rows: Sequence[ReadRow]) -> Wanted[ThingT]:
        """What rows state, the tenant locked. Raises InvalidTable with what is wrong, by line and column."""
        errors: list[FieldError] = []
        heads: list[tuple[ReadRow, RowHead]] = []
        for row in rows:
            try:
                heads.append((row, body_of(RowHead, _HEAD, row)))
            except InvalidTable as error:
                errors.extend(error.fields)
        await tx.lock_tenants_exclusive([tenant_id])
        stored = await self.find(tx, tenant_id, frozenset(head.id for _, head in heads if head.id is not None))
        lines: list[Line] = []
        first: dict[UUID, tuple[int, RowHead]] = {}
        now: dict[UUID, ThingT] = {}
        for row, head in heads:
            thing_id = head.id or tx.new_id()
            before = stored.get(thing_id)
            number, first_head = first.setdefault(thing_id, (row.number, head))
            try:
                if number != row.number and not (self.repeats and head == first_head):
                    accepted = f"the version of line {number}" if self.repeats else "one line for each"
                    raise InvalidInput.field("/id", f"is that of line {number} too", accepted)
                if before is None and thing_id in stored:
                    raise InvalidInput.field("/id", "is that of something that was deleted", "no id, for a new thing")
                now[thing_id] = thing = self._thing(row, thing_id, now.get(thing_id, before))
                _check_version(head, before, changed=thing != before)
                lines.append(Line(row.number, thing_id, _became(before, thing)))
            except AttainError as error:
                errors.extend(_located(self.columns, row.number, error))
                if len(errors) >= ERRORS_MAX:
                    break
        if errors:
            raise refused(errors)
        created = [(place(number), now[each]) for each, (number, _) in first.items() if each not in stored]
        changed = [
            Changed(place(number), head.version, now[each])
            for each, (number, head) in first.items()
            if each in stored and now[each] != stored[each] and head.version is not None
        ]
        return Wanted(lines, created, changed)

    async def check(self, tx: Transaction, tenant_id: UUID, rows: Sequence[ReadRow]) -> list[Line]:
        """What would become of each row, by itself. Raises InvalidTable as `put` does."""
        return (await self.read(tx, tenant_id, rows)).lines

    async def put(self, tx: Transaction, tenant_id: UUID, rows: Sequence[ReadRow]) -> list[Line]:
        """Store what rows state, all or nothing; what became of each.

        A row may refer to what another one of them makes. Raises InvalidTable with what is wrong, by line and column.
        """
        wanted = await self.read(tx, tenant_id, rows)
        try:
            await self.store(tx, tenant_id, wanted.created, wanted.changed, Refusals())
        except ItemsRefused as error:
            raise refused([_located_field(self.columns, field) for field in error.fields]) from None
        return wanted.lines

    def _thing(self, row: ReadRow, thing_id: UUID, before: ThingT | None) -> ThingT:
        if before is None:
            return self.made(thing_id, body_of(self.body_type, self.columns, row))
        return self.changed(before, body_of(self.body_type, self.columns, row, self.stated(before, row.values)))


def _stored_by(
    put: Callable[
        [Transaction, UUID, Sequence[tuple[str, Callable[[UUID], ThingT]]], Sequence[Change[ThingT]], Refusals],
        Awaitable[object],
    ],
) -> Callable[[Transaction, UUID, Sequence[tuple[str, ThingT]], Sequence[Changed[ThingT]], Refusals], Awaitable[None]]:
    """Stores by a use case that makes and changes things itself: they are as the rows have them."""

    async def store(
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, ThingT]],
        changed: Sequence[Changed[ThingT]],
        refusals: Refusals,
    ) -> None:
        made = [(pointer, partial(_as_read, thing)) for pointer, thing in created]
        changes = [Change(each.pointer, each.thing.id, each.version, partial(_as_read, each.thing)) for each in changed]
        await put(tx, tenant_id, made, changes, refusals)

    return store


def _as_read(thing: ThingT, _: object) -> ThingT:
    return thing


def _check_version(head: RowHead, before: Thing | None, *, changed: bool) -> None:
    """Whoever changes a thing says of which version, and nobody says of a new one."""
    if before is None and head.version is not None:
        accepted = "nothing, for a new thing of this id; or the id of one that there is"
        raise InvalidInput.field("/version", f"there is nothing of the id {head.id}", accepted)
    if before is not None and changed and head.version is None:
        accepted = f"{before.version}, if the line was made from that version"
        raise InvalidInput.field("/version", "is empty, and the line changes something", accepted)


def _became(before: Thing | None, after: Thing) -> Became:
    if before is None:
        return Became.CREATED
    return Became.UNCHANGED if before == after else Became.CHANGED


def _located(columns: Sequence[Column], number: int, error: AttainError) -> list[FieldError]:
    """What is wrong with a row, by its line and column."""
    if isinstance(error, InvalidTable):
        return list(error.fields)
    return [in_row(columns, number, field) for field in error.fields or [FieldError("", error.detail)]]


def _located_field(columns: Sequence[Column], field: FieldError) -> FieldError:
    _, _, number, *inside = field.pointer.split("/", 3)
    return in_row(columns, int(number), replace(field, pointer="".join(f"/{step}" for step in inside)))


class Tables:
    """The tables of every tenant, by the name of their kind."""

    def __init__(self, org: Organisation, goals: Goals) -> None:
        self.kinds: Mapping[str, AnyKind] = {
            "people": TableKind(
                PEOPLE,
                PersonRow,
                lambda tx, tenant_id, sight, after: org.list_people(
                    tx, tenant_id, sight, PersonFilter(), after=after, limit=_PAGE
                ),
                lambda person: [person_row(person)],
                lambda person, _: person_row(person),
                org.find_people,
                _new_person,
                _changed_person,
                _stored_by(org.put_people),
            ),
            "teams": TableKind(
                TEAMS,
                TeamRow,
                lambda tx, tenant_id, sight, after: org.list_teams(
                    tx, tenant_id, sight, TeamFilter(), after=after, limit=_PAGE
                ),
                team_rows,
                team_row_at,
                org.find_teams,
                _new_team,
                _changed_team,
                _stored_by(org.put_teams),
                repeats=True,
            ),
            "memberships": TableKind(
                MEMBERSHIPS,
                MembershipBody,
                lambda tx, tenant_id, sight, after: org.list_memberships(
                    tx, tenant_id, sight, MembershipFilter(), after=after, limit=_PAGE
                ),
                lambda membership: [membership_row(membership)],
                lambda membership, _: membership_row(membership),
                org.find_memberships,
                _new_membership,
                _changed_membership,
                _stored_by(org.put_memberships),
            ),
            "identities": TableKind(
                IDENTITIES,
                IdentityBody,
                lambda tx, tenant_id, sight, after: org.list_identities(
                    tx, tenant_id, sight, IdentityFilter(), after=after, limit=_PAGE
                ),
                lambda identity: [identity_row(identity)],
                lambda identity, _: identity_row(identity),
                org.find_identities,
                _new_identity,
                _changed_identity,
                _stored_by(org.put_identities),
            ),
            "goals": TableKind(
                GOALS,
                GoalRow,
                lambda tx, tenant_id, sight, after: goals.list_goals(
                    tx, tenant_id, sight, GoalFilter(), after=after, limit=_PAGE
                ),
                lambda goal: [goal_row(goal)],
                lambda goal, _: goal_row(goal),
                goals.find_goals,
                _new_goal,
                _changed_goal,
                partial(_store_goals, goals),
            ),
        }


def _new_person(person_id: UUID, row: PersonRow) -> Person:
    return Person(person_id, 1, row.name, row.email, active=row.active, employee_number=row.employee_number)


def _changed_person(person: Person, row: PersonRow) -> Person:
    return replace(person, name=row.name, email=row.email, active=row.active, employee_number=row.employee_number)


def _new_team(team_id: UUID, row: TeamRow) -> Team:
    if row.start is not None:
        raise InvalidInput.field("/start", "is the day of a change of a team that there is not", "nothing at first")
    return Team(team_id, 1, row.name, Place(row.parent_id, row.manager_id))


def _changed_team(team: Team, row: TeamRow) -> Team:
    placed = team.placed(row.start or FirstDay.BEGINNING, Place(row.parent_id, row.manager_id), date.min)
    return replace(placed, name=row.name)


def _new_membership(membership_id: UUID, row: MembershipBody) -> Membership:
    return Membership(membership_id, 1, row.person_id, row.team_id, DatedRange(row.start, row.end))


def _changed_membership(membership: Membership, row: MembershipBody) -> Membership:
    for name in ("person_id", "team_id"):
        if getattr(row, name) != (stored := getattr(membership, name)):
            raise InvalidInput.field(f"/{name}", "is another one than the membership's", f"{stored}, or no id")
    return replace(membership, range=DatedRange(row.start, row.end))


def _new_identity(identity_id: UUID, row: IdentityBody) -> Identity:
    return Identity(identity_id, 1, row.source, source_user_id(row.external_user_id), row.person_id)


def _changed_identity(identity: Identity, row: IdentityBody) -> Identity:
    for name, given in (("source", row.source), ("external_user_id", source_user_id(row.external_user_id))):
        if given != (stored := getattr(identity, name)):
            raise InvalidInput.field(f"/{name}", "is another one than the identity's", f"{stored}, or no id")
    return replace(identity, person_id=row.person_id)


def _new_goal(goal_id: UUID, row: GoalRow) -> Goal:
    if row.status not in (None, Status.DRAFT):
        raise InvalidInput.field("/status", "a new goal is a draft", "draft, or nothing")
    return draft(goal_id, row.terms(_ANY_CALENDAR))


def _changed_goal(goal: Goal, row: GoalRow) -> Goal:
    if row.status not in (None, goal.status):
        raise InvalidInput.field("/status", f"the goal is {goal.status}, which no table changes", goal.status)
    return replace(goal, terms=row.terms(_ANY_CALENDAR))


async def _store_goals(
    goals: Goals,
    tx: Transaction,
    tenant_id: UUID,
    created: Sequence[tuple[str, Goal]],
    changed: Sequence[Changed[Goal]],
    refusals: Refusals,
) -> None:
    """Drafts are added and changed, active goals are revised for the reason of the transaction."""
    await goals.add_drafts(tx, tenant_id, created, refusals, WHOLE_TENANT)
    wanted = [_goal_change(each, tx.reason) for each in changed]
    await goals.change_goals(tx, tenant_id, wanted, refusals, actor=tx.actor, sight=WHOLE_TENANT)


def _goal_change(changed: Changed[Goal], reason: str | None) -> GoalChange:
    goal, is_active = changed.thing, changed.thing.status is Status.ACTIVE

    def terms(_: GoalTerms, __: FiscalCalendar) -> GoalTerms:
        if is_active and reason is None:
            raise InvalidInput("The goal is active, so this is a revision: give the request a `reason`.")
        return goal.terms

    return GoalChange(
        changed.pointer, Verb.REVISE if is_active else Verb.CHANGE, goal.id, changed.version, terms, reason
    )
