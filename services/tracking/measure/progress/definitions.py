"""This service's copy of the organisation and the goals of each tenant, and the index made of it."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from uuid import UUID

from services.tracking.definitions.service import PublishedDefinitions
from services.tracking.measure.progress.domain import GoalIndex, GoalTerms, affected_owners, changed_rules
from shared.contracts.base import Event
from shared.contracts.chart import org_chart
from shared.contracts.goals import Goal, GoalStatus
from shared.contracts.org import Calendar, ExchangeRates, Identity, Membership, Person, Team
from shared.contracts.topics import EVENT_TYPES
from shared.db.database import Transaction
from shared.db.projection import Snapshot
from shared.kernel.errors import AttainError
from shared.kernel.layers import Layered
from shared.kernel.org import CrmUser, OrgChart, OwnerKind
from shared.kernel.periods import DatedRange, Period
from shared.worker.turns import Turns

COUNTING: Final = frozenset({GoalStatus.ACTIVE, GoalStatus.CLOSED})
"""A closed goal still follows late changes of its deals; a draft and a cancelled one count nothing."""

_TENANTS_MAX: Final = 32
_PIECE_GOALS: Final = 50
_USERS_MAX: Final = 1000
"""Of a change, to be told one by one."""
_INDEXED_TYPES: Final = frozenset(
    event.event_type for event in (Calendar, Team, Membership, Identity, ExchangeRates, Goal)
)
_STORED_TYPES: Final = _INDEXED_TYPES | {Person.event_type}


class UnusableDefinition(AttainError):
    """A definition whose parts are well-formed and contradict each other. Its detail has none of their values."""

    code = "unusable_definition"


@dataclass(frozen=True, slots=True)
class Definitions:
    """One tenant's definitions at one revision. Never changed: `changed` makes another one."""

    organisation: Mapping[str, Event]
    """The newest snapshot of each subject of the organisation that matters here."""
    goals: Layered[UUID, GoalTerms]
    """Every goal, whatever its status."""
    goals_of: Layered[UUID, frozenset[UUID]]
    """The goals of each person and team."""
    parts_of: Layered[UUID, frozenset[UUID]]
    """The counting goals whose parent each goal is."""
    index: GoalIndex

    @property
    def chart(self) -> OrgChart:
        """The organisation."""
        return self.index.chart

    def changed(self, events: Collection[Event]) -> tuple["Definitions", frozenset[UUID]]:
        """With these newer snapshots; and the goals whose number may be another one.

        It costs what the events are about, whatever the number of goals: a goal itself, a change of the organisation
        the goals of those whom it moves. Only another calendar or other rates are about all of them.
        """
        goals = {event.id: event for event in events if isinstance(event, Goal)}
        organisation = {event.subject: event for event in events if not isinstance(event, Goal)}
        terms = {goal_id: terms_of(goal) for goal_id, goal in goals.items()}
        parts = self._parts(goals, terms)
        chart, moved = self.chart, set(goals)
        if organisation:
            organisation = {**self.organisation, **organisation}
            rates = self.chart.rates if _rates_in(self.organisation) == _rates_in(organisation) else None
            chart = org_chart(organisation.values(), rates=rates)
            owners = affected_owners(self.chart, chart)
            if owners is None:
                moved |= set(self.index.rules)
            else:
                moved |= {goal_id for owner in owners for goal_id in self.goals_of.get(owner, ())}
        of_parts = {each for each in parts if (parent := terms.get(each) or self.goals.get(each)) and parent.has_parts}
        moved |= of_parts
        parts_of = self.parts_of.changed(parts)
        counting = [
            _with_parts(terms.get(goal_id) or self.goals[goal_id], parts_of)
            for goal_id in moved
            if (goals[goal_id].status in COUNTING if goal_id in goals else goal_id in self.index.rules)
        ]
        ended = [goal_id for goal_id in goals if goals[goal_id].status not in COUNTING and goal_id in self.index.rules]
        after = Definitions(
            organisation or self.organisation,
            self.goals.changed(terms),
            self.goals_of.changed(self._owned(terms)),
            parts_of,
            self.index.changed(chart, counting, ended),
        )
        return after, changed_rules(self.index, after.index, moved)

    def _parts(self, goals: Mapping[UUID, Goal], terms: Mapping[UUID, GoalTerms]) -> Mapping[UUID, frozenset[UUID]]:
        """The counting parts of the goals that one of these joins or leaves."""
        parts: dict[UUID, set[UUID]] = {}
        for goal_id, goal in goals.items():
            before = self.goals[goal_id].parent_id if goal_id in self.index.rules else None
            after = terms[goal_id].parent_id if goal.status in COUNTING else None
            if before == after:
                continue
            for parent_id in (before, after):
                if parent_id is not None:
                    parts.setdefault(parent_id, set(self.parts_of.get(parent_id, ()))).discard(goal_id)
            if after is not None:
                parts[after].add(goal_id)
        return {parent_id: frozenset(of_parent) for parent_id, of_parent in parts.items()}

    def _owned(self, terms: Mapping[UUID, GoalTerms]) -> Mapping[UUID, frozenset[UUID]]:
        """The goals of those who own one of these now, or did."""
        owned: dict[UUID, set[UUID]] = {}
        for goal_id, each in terms.items():
            before = self.goals.get(goal_id)
            for owner in {each.owner_id} if before is None else {each.owner_id, before.owner_id}:
                owned.setdefault(owner, set(self.goals_of.get(owner, ()))).discard(goal_id)
            owned[each.owner_id].add(goal_id)
        return {owner: frozenset(goals) for owner, goals in owned.items()}


NOTHING_DEFINED: Final = Definitions({}, Layered(), Layered(), Layered(), GoalIndex.of(OrgChart(), ()))
_UNREAD: Final = (-1, NOTHING_DEFINED)


class Held(NamedTuple):
    """A tenant's definitions as they were at a revision."""

    revision: int
    definitions: Definitions


NOTHING_HELD: Final[Mapping[UUID, Held]] = {}


class Redefinition(NamedTuple):
    """What newer definitions change."""

    before: Definitions
    after: Definitions
    events: Sequence[Event]
    """Those that are newer."""
    moved: frozenset[UUID]
    """The goals whose number may be another one."""

    @property
    def users(self) -> frozenset[CrmUser] | None:
        """Whose records count otherwise: None where that may be everybody, or those of very many do."""
        if self.after.chart is not self.before.chart:
            return None
        users: set[CrmUser] = set()
        for index in (self.before.index, self.after.index):
            for goal_id in self.moved:
                rule = index.rules.get(goal_id)
                if rule is None:
                    continue
                users.update(span.user for span in rule.spans)
                if rule.children or len(users) > _USERS_MAX:
                    return None
        return frozenset(users)

    @property
    def is_of_drafts(self) -> bool:
        """Whether all of it is about drafts, which nothing moves and nobody publishes."""
        return not self.moved and all(isinstance(e, Goal) and e.status is GoalStatus.DRAFT for e in self.events)


class DefinitionsCache:
    """The definitions of every tenant; those of the tenants worked on last are held, by revision. One a process."""

    def __init__(self, *, tenants_max: int = _TENANTS_MAX) -> None:
        self._published = PublishedDefinitions()
        self._tenants_max = tenants_max
        self._stored: OrderedDict[UUID, tuple[int, Definitions]] = OrderedDict()

    def held(self, tenant_id: UUID) -> Held | None:
        """What is in memory of a tenant, of whichever revision."""
        known, definitions = self._stored.get(tenant_id, _UNREAD)
        return None if known < 0 else Held(known, definitions)

    def has(self, tenant_id: UUID, revision: int) -> bool:
        """Whether the tenant's definitions of this revision need not be read."""
        return self._stored.get(tenant_id, _UNREAD)[0] == revision

    async def at(self, tx: Transaction, tenant_id: UUID, revision: int) -> Definitions:
        """The tenant's definitions; what is newer than those stored is read if they are of another revision.

        `revision` was read in this transaction from what is committed. To be sure that the definitions are of just
        this revision the caller holds the tenant's lock; without it they may be newer.
        """
        known, definitions = self._stored.get(tenant_id, _UNREAD)
        if known != revision:
            snapshots = await self._published.since(tx, tenant_id, known)
            turns, events = Turns(), list[Event]()
            for each in snapshots:
                if each.event_type in _INDEXED_TYPES:
                    events.append(EVENT_TYPES[each.event_type].from_json(each.body))
                    await turns.give()
            definitions, _ = await _changed(definitions, events)
            self._cache(tenant_id, revision, definitions)
        else:
            self._stored.move_to_end(tenant_id)
        return definitions

    async def catch_up(self, tx: Transaction, tenant_id: UUID) -> bool:
        """Read what is newer of the tenant's definitions than what is stored here; whether anything was."""
        revision = (await self.revisions(tx, [tenant_id]))[tenant_id]
        if self.has(tenant_id, revision):
            return False
        await self.at(tx, tenant_id, revision)
        return True

    async def current(self, tx: Transaction, tenant_id: UUID) -> Definitions:
        """The tenant's definitions as they are, for reading."""
        revisions = await self.revisions(tx, [tenant_id])
        return await self.at(tx, tenant_id, revisions[tenant_id])

    async def revisions(self, tx: Transaction, tenant_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """The revision of each tenant's definitions; 0 where nothing was ever stored."""
        return await self._published.revisions(tx, tenant_ids)

    async def lock_revisions(self, tx: Transaction, tenant_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """The revision of each tenant's definitions; nobody else stores any before the end of the transaction."""
        return await self._published.lock_revisions(tx, tenant_ids)

    async def store_newest(
        self, tx: Transaction, tenant_id: UUID, revision: int, events: Iterable[Event]
    ) -> Redefinition | None:
        """Store those of a tenant's events that are newer; what they change, None when none is.

        The caller has locked the revision. The tenant itself need not be locked before something is to move its goals.
        """
        before = await self.at(tx, tenant_id, revision)
        turns, incoming = Turns(), dict[Snapshot, Event]()
        for event in events:
            incoming[snapshot_of(event)] = event
            await turns.give()
        newer = [incoming[snapshot] for snapshot in await self._published.store_newest(tx, list(incoming))]
        if not newer:
            return None
        after, moved = await _changed(before, newer)
        # A revision of a transaction that is rolled back will stand for something else.
        tx.after_commit(lambda: self._cache(tenant_id, revision + 1, after))
        return Redefinition(before, after, newer, moved)

    def _cache(self, tenant_id: UUID, revision: int, definitions: Definitions) -> None:
        # Another transaction may have read something newer meanwhile.
        if self._stored.get(tenant_id, _UNREAD)[0] <= revision:
            self._stored[tenant_id] = (revision, definitions)
            self._stored.move_to_end(tenant_id)
        while len(self._stored) > self._tenants_max:
            self._stored.popitem(last=False)


async def _changed(before: Definitions, events: Sequence[Event]) -> tuple[Definitions, frozenset[UUID]]:
    """What `Definitions.changed` makes of these events, while others have their turn."""
    after, moved = before, set[UUID]()
    turns = Turns()
    for piece in _pieces(events):
        after, moved_by_piece = after.changed(piece)
        moved |= moved_by_piece
        await turns.give()
    return after, frozenset(moved)


def _pieces(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """The events in pieces that take some milliseconds: what is about the organisation at once, goals behind it."""
    goals = [event for event in events if isinstance(event, Goal)]
    if len(goals) < len(events):
        yield [event for event in events if not isinstance(event, Goal)]
    for first in range(0, len(goals), _PIECE_GOALS):
        yield goals[first : first + _PIECE_GOALS]


def terms_of(goal: Goal) -> GoalTerms:
    """What of a goal decides which deals count. Raises InvalidInput or ValueError for one that no rule fits."""
    return GoalTerms(
        goal.id,
        OwnerKind(goal.owner.kind),
        goal.owner.id,
        goal.metric.measure(),
        Period(goal.start, goal.end),
        goal.parent_id,
    )


def _with_parts(terms: GoalTerms, parts_of: Mapping[UUID, frozenset[UUID]]) -> GoalTerms:
    if not terms.has_parts:
        return terms
    return replace(terms, children=tuple(sorted(parts_of.get(terms.goal_id, ()))))


def check_usable(event: Event) -> None:
    """Raise UnusableDefinition for an event that no index could be made with."""
    try:
        match event:
            case Goal():
                terms_of(event)
            case Calendar():
                event.fiscal()
            case Membership():
                DatedRange(event.start, event.end)
    except (AttainError, ValueError) as error:
        fields = error.fields if isinstance(error, AttainError) else ()
        where = ", ".join(field.pointer for field in fields) or "its members"
        raise UnusableDefinition(f"{event.event_type} contradicts itself at {where}") from None


def matters(event: Event) -> bool:
    """Whether this kind of definition is stored: progress depends on it, or it names a person."""
    return event.event_type in _STORED_TYPES


def snapshot_of(event: Event) -> Snapshot:
    """The snapshot to store of an event that matters."""
    if not isinstance(event, Calendar | Person | Team | Membership | Identity | ExchangeRates | Goal):
        raise TypeError(f"{event.event_type} does not matter here")
    return Snapshot(event.tenant_id, event.subject, event.event_type, event.version, event.model_dump_json())


def _rates_in(organisation: Mapping[str, Event]) -> dict[str, int]:
    """Versions of everything that rates depend on."""
    return {
        subject: event.version for subject, event in organisation.items() if isinstance(event, Calendar | ExchangeRates)
    }
