"""The kinds of tables: which things of the organisation and which goals are given as rows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

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
    team_rows,
)
from services.goals.org.domain import (
    Identity,
    IdentityFilter,
    Membership,
    MembershipFilter,
    Person,
    PersonFilter,
    Team,
    TeamFilter,
)
from services.goals.org.service import Organisation
from services.goals.targets.domain import Goal, GoalFilter
from services.goals.targets.service import Goals
from shared.db.database import Transaction
from shared.kernel.sight import Sight
from shared.tables.columns import Column

COLUMNS: Final[Mapping[str, Sequence[Column]]] = {
    "people": PEOPLE,
    "teams": TEAMS,
    "memberships": MEMBERSHIPS,
    "identities": IDENTITIES,
    "goals": GOALS,
}
"""By the name of the kind, which is also the name of its list."""
_PAGE: Final = 500


class Thing(Protocol):
    """Something that is found by its id."""

    @property
    def id(self) -> UUID: ...


class AnyKind(Protocol):
    """A kind of table, whatever its things are."""

    def pages(self, tx: Transaction, tenant_id: UUID, sight: Sight) -> AsyncIterator[Sequence[Values]]: ...


ThingT = TypeVar("ThingT", bound=Thing)


@dataclass(frozen=True, slots=True)
class TableKind(Generic[ThingT]):
    """Things of one kind as rows. `page` are the next of those in view after an id, by id."""

    page: Callable[[Transaction, UUID, Sight, UUID | None], Awaitable[Sequence[ThingT]]]
    rows: Callable[[ThingT], Iterable[Values]]

    async def pages(self, tx: Transaction, tenant_id: UUID, sight: Sight) -> AsyncIterator[Sequence[Values]]:
        """The rows of everything in view, some at a time."""
        after: UUID | None = None
        while page := await self.page(tx, tenant_id, sight, after):
            yield [row for thing in page for row in self.rows(thing)]
            after = page[-1].id


class Tables:
    """The tables of every tenant, by the name of their kind."""

    def __init__(self, org: Organisation, goals: Goals) -> None:
        self.kinds: Mapping[
            str, TableKind[Person] | TableKind[Team] | TableKind[Membership] | TableKind[Identity] | TableKind[Goal]
        ] = {
            "people": TableKind(
                lambda tx, tenant_id, sight, after: org.list_people(
                    tx, tenant_id, sight, PersonFilter(), after=after, limit=_PAGE
                ),
                lambda person: [person_row(person)],
            ),
            "teams": TableKind(
                lambda tx, tenant_id, sight, after: org.list_teams(
                    tx, tenant_id, sight, TeamFilter(), after=after, limit=_PAGE
                ),
                team_rows,
            ),
            "memberships": TableKind(
                lambda tx, tenant_id, sight, after: org.list_memberships(
                    tx, tenant_id, sight, MembershipFilter(), after=after, limit=_PAGE
                ),
                lambda membership: [membership_row(membership)],
            ),
            "identities": TableKind(
                lambda tx, tenant_id, sight, after: org.list_identities(
                    tx, tenant_id, sight, IdentityFilter(), after=after, limit=_PAGE
                ),
                lambda identity: [identity_row(identity)],
            ),
            "goals": TableKind(
                lambda tx, tenant_id, sight, after: goals.list_goals(
                    tx, tenant_id, sight, GoalFilter(), after=after, limit=_PAGE
                ),
                lambda goal: [goal_row(goal)],
            ),
        }
