"""This service's copy of the organisation and the goals of each tenant, and the index made of it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.tracking.definitions.service import PROJECTION
from services.tracking.measure.progress.domain import GoalIndex, GoalTerms
from shared.contracts.base import Event
from shared.contracts.chart import org_chart
from shared.contracts.goals import Goal, GoalStatus
from shared.contracts.org import Calendar, ExchangeRates, Identity, Membership, Person, Team
from shared.contracts.topics import EVENT_TYPES
from shared.db.database import Transaction
from shared.db.projection import Snapshot
from shared.kernel.errors import AttainError
from shared.kernel.org import OrgChart, OwnerKind
from shared.kernel.periods import DatedRange, Period

COUNTING: Final = frozenset({GoalStatus.ACTIVE, GoalStatus.CLOSED})
"""A closed goal still follows late changes of its deals; a draft and a cancelled one count nothing."""

_TENANTS_MAX: Final = 32
_INDEXED_TYPES: Final = frozenset(
    event.event_type for event in (Calendar, Team, Membership, Identity, ExchangeRates, Goal)
)
_KEPT_TYPES: Final = _INDEXED_TYPES | {Person.event_type}


class UnusableDefinition(AttainError):
    """A definition whose parts are well-formed and contradict each other. Its detail holds nothing of their values."""

    code = "unusable_definition"


@dataclass(frozen=True, slots=True)
class Definitions:
    """One tenant's definitions at one revision."""

    events: Mapping[str, Event]
    """The newest snapshot of each subject that matters here."""
    index: GoalIndex

    @property
    def goals(self) -> Iterable[Goal]:
        """Every goal, whatever its status."""
        return (event for event in self.events.values() if isinstance(event, Goal))

    def goal(self, goal_id: UUID) -> Goal | None:
        """The goal of that id."""
        event = self.events.get(f"goal/{goal_id}")
        return event if isinstance(event, Goal) else None

    @property
    def chart(self) -> OrgChart:
        """The organisation."""
        return self.index.chart


class DefinitionsCache:
    """The definitions of the tenants worked on last, by revision."""

    def __init__(self, *, tenants_max: int = _TENANTS_MAX) -> None:
        self._tenants_max = tenants_max
        self._held: OrderedDict[UUID, tuple[int, Definitions]] = OrderedDict()

    async def at(self, tx: Transaction, tenant_id: UUID, revision: int) -> Definitions:
        """The tenant's definitions, read if those held are of another revision.

        `revision` was read in this transaction from what is committed. To be sure that the definitions are of just
        this revision the caller holds the tenant's lock; without it they may be newer.
        """
        held = self._held.get(tenant_id)
        if held is None or held[0] != revision:
            snapshots = await PROJECTION.load(tx, tenant_id)
            events = (_event_of(snapshot) for snapshot in snapshots if snapshot.event_type in _INDEXED_TYPES)
            before = None if held is None else held[1]
            held = (revision, definitions_of({event.subject: event for event in events}, held=before))
            self._held[tenant_id] = held
            while len(self._held) > self._tenants_max:
                self._held.popitem(last=False)
        self._held.move_to_end(tenant_id)
        return held[1]

    async def current(self, tx: Transaction, tenant_id: UUID) -> Definitions:
        """The tenant's definitions as they are, for reading."""
        revisions = await PROJECTION.revisions(tx, [tenant_id])
        return await self.at(tx, tenant_id, revisions[tenant_id])


def definitions_of(events: Mapping[str, Event], *, held: Definitions | None = None) -> Definitions:
    """The definitions of one tenant from the newest event of each of its subjects.

    `held` are the tenant's at another time: where the rates are the same, what these have worked out is kept.
    """
    rates = held.chart.rates if held is not None and _rates_in(held.events) == _rates_in(events) else None
    goals = (event for event in events.values() if isinstance(event, Goal))
    counting = (terms_of(goal) for goal in goals if goal.status in COUNTING)
    return Definitions(events, GoalIndex(org_chart(events.values(), rates=rates), counting))


def terms_of(goal: Goal) -> GoalTerms:
    """What of a goal decides which deals count. Raises InvalidInput or ValueError for one that no rule fits."""
    return GoalTerms(
        goal.id, OwnerKind(goal.owner.kind), goal.owner.id, goal.metric.measure(), Period(goal.start, goal.end)
    )


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
    """Whether this kind of definition is kept: progress depends on it, or it says who somebody is."""
    return event.event_type in _KEPT_TYPES


def snapshot_of(event: Event) -> Snapshot:
    """The snapshot to keep of an event that matters."""
    if not isinstance(event, Calendar | Person | Team | Membership | Identity | ExchangeRates | Goal):
        raise TypeError(f"{event.event_type} does not matter here")
    return Snapshot(event.tenant_id, event.subject, event.event_type, event.version, event.model_dump_json())


def _rates_in(events: Mapping[str, Event]) -> dict[str, int]:
    """Versions of everything that rates depend on."""
    return {subject: event.version for subject, event in events.items() if isinstance(event, Calendar | ExchangeRates)}


def _event_of(snapshot: Snapshot) -> Event:
    return EVENT_TYPES[snapshot.event_type].from_json(snapshot.body)
