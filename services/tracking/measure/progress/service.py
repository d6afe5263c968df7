"""What moves progress, and actuals with it: changed records, changed definitions, rebuilds; and progress' events.

Locks, per tenant, held to the end of the transaction: a batch of records shares it; a change of definitions, once it is
stored, and a rebuild have it alone. So the definitions and the stale marks that a batch reads stay true until it
commits, and a rebuild sees every record whose change it replaces and none that is half applied.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, partial
from itertools import groupby
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from services.tracking.measure.actuals import service as actuals
from services.tracking.measure.actuals.domain import Moves
from services.tracking.measure.progress import contributions, stated, store
from services.tracking.measure.progress.definitions import NOTHING_HELD, DefinitionsCache, Held, Redefinition, matters
from services.tracking.measure.progress.domain import Movement, Movements, Rule
from services.tracking.measure.progress.tables import COUNTING_STRIPE, COUNTING_STRIPES_MAX
from services.tracking.records import service as records
from services.tracking.records.domain.snapshots import NOTHING_SUPERSEDED, Change, CountedLater, Recorded, Superseded
from services.tracking.records.domain.uncredited import GapMoves
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts import progress as contract
from shared.contracts.activities import Activity
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.contracts.goals import Direction, Goal, GoalStatus, StatedValue
from shared.db.database import Statements, Transaction
from shared.kernel.activities import ActivityFacts
from shared.kernel.attainment import Actual, actual, attained, attainment, shown, weighted
from shared.kernel.deals import DealFacts
from shared.kernel.measures import Aggregate
from shared.kernel.org import CrmUser
from shared.kernel.records import RecordFacts
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import Outbox
from shared.outbox.republishing import marking
from shared.worker.turns import Turns

# A chunk holds up the tenant's records for as long as it takes, and that grows with whose records it looks at.
_CHUNK_GOALS_MAX: Final = 100
_CHUNK_SPANS_MAX: Final = 300
# While thousands of goals begin to count, chunk after chunk, the way through the topic would wait for the lock as well.
_PATIENCE_MILLISECONDS: Final = 100
_COMMITTER_SECONDS: Final = 0.002
_GOAL_SUBJECT: Final = "goal/"
_ZERO: Final = Decimal(0)

FactsT = TypeVar("FactsT", DealFacts, ActivityFacts)
SnapshotT = TypeVar("SnapshotT", Deal, Activity)
FilterT = TypeVar("FilterT")


class Counted(NamedTuple):
    """What became of versions that were to be counted as they are published."""

    accepted: Sequence[datetime]
    """When the delivery of each version that became the newest of its record was accepted."""
    superseded: Superseded
    unread: Collection[UUID]
    """The tenants whose definitions would have had to be read."""
    behind: Collection[UUID]
    """The tenants that were counted by older definitions, as nothing newer is about these records."""


NOTHING_COUNTED: Final = Counted((), NOTHING_SUPERSEDED, (), ())


class ProgressTracker:
    """Keeps the progress of every goal. One per process."""

    def __init__(self, outbox: Outbox, definitions: DefinitionsCache) -> None:
        self._outbox = outbox
        self._definitions = definitions

    async def apply(
        self,
        tx: Transaction,
        tenant_ids: Collection[UUID],
        pieces: Iterable[Sequence[Deal]],
        *,
        stripe: int,
        published_beside: bool = False,
    ) -> list[datetime]:
        """Record versions of the tenants' deals and move the goals they change, each goal once.

        A piece is taken while the one before it is being recorded, so whatever making it takes costs no time of its
        own. `stripe` is one that no other transaction writes at the same time, else they wait for each other. Returns
        when the delivery of each version that became the newest of its deal was accepted. Repeating it changes nothing.

        Deals whose last published version is not the newest are published again, so that the compacted topic ends with
        the newest. `published_beside`: what is stored may have been counted as it was published, before or behind
        these, so every deal of which something was stored is.
        """
        recording = partial(DEALS.recording, published_beside=published_beside)
        counting = await self._applied(
            tx, tenant_ids, _recorded(tx, pieces, recording), _Counting.add_deals, stripe=stripe
        )
        if counting.superseded:
            await DEALS.publish_again(tx, self._outbox, counting.superseded)
        return counting.accepted

    async def apply_activities(
        self,
        tx: Transaction,
        tenant_ids: Collection[UUID],
        pieces: Iterable[Sequence[Activity]],
        *,
        stripe: int,
        published_beside: bool = False,
    ) -> list[datetime]:
        """The same for activities."""
        recording = partial(ACTIVITIES.recording, published_beside=published_beside)
        counting = await self._applied(
            tx, tenant_ids, _recorded(tx, pieces, recording), _Counting.add_activities, stripe=stripe
        )
        if counting.superseded:
            await ACTIVITIES.publish_again(tx, self._outbox, counting.superseded)
        return counting.accepted

    async def count(self, tx: Transaction, deals: Sequence[Deal], activities: Sequence[Activity]) -> Counted:
        """Record versions that are about to be published in this transaction, and move the goals they change.

        It waits for a change of definitions or a rebuild only as long as a few short ones take, and reads no
        definitions: whatever it cannot count soon it leaves to `apply`. Older definitions do for records of users whom
        nothing newer is about; raises CountedLater where something is. What is superseded the caller publishes again,
        behind these.
        """
        wanted = {each.tenant_id for each in (*deals, *activities)}
        tenant_ids, stripe = await tx.try_lock_tenants_shared(wanted, places=COUNTING_STRIPES_MAX)
        if stripe is None:
            return NOTHING_COUNTED
        busy = wanted - tenant_ids
        if busy and await tx.wait_for_tenants_shared(busy, milliseconds_max=_PATIENCE_MILLISECONDS):
            tenant_ids |= busy
        if not tenant_ids:
            return NOTHING_COUNTED
        states = await store.definition_states(tx, tenant_ids)
        unread = self._unread(states)
        if unread:
            # What has just been committed here is in memory as soon as its committer has heard of that.
            await asyncio.sleep(_COMMITTER_SECONDS)
            unread = self._unread(states)
        held = {each: known for each in unread if (known := self._definitions.held(each)) is not None}
        unknown = unread - held.keys()
        counted = tenant_ids - unknown
        counting = await self._counting(
            tx, {each: state for each, state in states.items() if each in counted}, held=held
        )
        recorded_deals = await DEALS.record(tx, [each for each in deals if each.tenant_id in counted])
        counting.add_deals(recorded_deals)
        recorded_activities = await ACTIVITIES.record(tx, [each for each in activities if each.tenant_id in counted])
        counting.add_activities(recorded_activities)
        for tenant_id, known in held.items():
            users = _users(tenant_id, (*recorded_deals.changes, *recorded_activities.changes))
            # Those in memory may be newer as well, by drafts alone: all else waits for the lock that is held here.
            if known.revision < states[tenant_id].revision and await store.has_changed_for(
                tx, tenant_id, users, since=known.revision, revision=states[tenant_id].revision
            ):
                raise CountedLater(f"The definitions of tenant {tenant_id} have changed for whoever has these records.")
        await self._move(tx, counting, stripe=COUNTING_STRIPE + stripe)
        superseded = Superseded(recorded_deals.superseded, recorded_activities.superseded)
        return Counted(counting.accepted, superseded, unknown, held.keys())

    async def _applied(
        self,
        tx: Transaction,
        tenant_ids: Collection[UUID],
        recorded_pieces: AsyncGenerator[Recorded[FactsT]],
        add: Callable[["_Counting", Recorded[FactsT]], None],
        *,
        stripe: int,
    ) -> "_Counting":
        """Add every piece up, and move the goals."""
        await tx.lock_tenants_shared(tenant_ids)
        counting = await self._counting(tx, await store.definition_states(tx, tenant_ids))
        async with aclosing(recorded_pieces) as every_piece:
            async for recorded in every_piece:
                add(counting, recorded)
        await self._move(tx, counting, stripe=stripe)
        return counting

    async def _move(self, tx: Transaction, counting: "_Counting", *, stripe: int) -> None:
        """Move the goals by what was added up."""
        movements = counting.movements()
        unsure = [key for key in movements if key[0] in counting.many_stale]
        for key in await store.stale_among(tx, unsure) if unsure else ():
            del movements[key]
        if movements:
            await store.move(tx, movements, stripe=stripe)
            await self._publish(tx, movements, stripe=stripe)
        await records.move_uncredited(tx, counting.gaps.net(), stripe=stripe)
        await actuals.move(tx, counting.actuals, stripe=stripe)

    async def define(self, tx: Transaction, events: Sequence[Event]) -> None:
        """Store newer definitions. What is new counts at once; goals whose number may change with them are stale until
        `rebuild` gets to them, and so are new ones that would take long.

        The tenants are locked last, for as long as counting takes; drafts alone need no lock. Goals of which only
        something else changed, such as the name or the target, are published anew, with those that are made of them. A
        stated value is stored as one more version, and its goal is stale. Kinds of definitions that progress does not
        depend on are passed over.
        """
        by_tenant: defaultdict[UUID, list[Event]] = defaultdict(list)
        for event in events:
            if matters(event):
                by_tenant[event.tenant_id].append(event)
        values = [event for event in events if isinstance(event, StatedValue)]
        redefined: list[tuple[UUID, Redefinition, Collection[UUID]]] = []
        for tenant_id, revision in sorted((await self._definitions.lock_revisions(tx, by_tenant)).items()):
            newer = await self._definitions.store_newest(tx, tenant_id, revision, by_tenant[tenant_id])
            if newer is not None:
                await store.add_change(tx, tenant_id, revision + 1, newer.users)
            if newer is not None and not newer.is_of_drafts:
                redefined.append((tenant_id, newer, await self._begin(tx, tenant_id, newer)))
        locked = {tenant_id for tenant_id, _, _ in redefined} | {value.tenant_id for value in values}
        await tx.lock_tenants_exclusive(locked)
        for tenant_id, newer, begun in redefined:
            await self._define(tx, tenant_id, newer, begun)
        for tenant_id, goal_ids in sorted((await stated.record(tx, values)).items()):
            await store.mark_known_stale(tx, tenant_id, goal_ids)

    async def rebuild(self, tx: Transaction, tenant_id: UUID) -> int:
        """Bring a few stale goals of a tenant, or else the actuals of a few people, to where the stored records say.

        How many, 0 when none was left.
        """
        # What of the definitions is new to this process may be much, and nobody need wait for that.
        await self._definitions.current(tx, tenant_id)
        await tx.lock_tenants_exclusive([tenant_id])
        stale = await store.stale_goals(tx, tenant_id, limit=_CHUNK_GOALS_MAX)
        if not stale:
            return await self._recount(tx, tenant_id)
        definitions = await self._definitions.current(tx, tenant_id)
        chunk = _chunk(stale, definitions.index.rules)
        rules = {goal_id: definitions.index.rules[goal_id] for goal_id in chunk if goal_id in definitions.index.rules}
        await store.clear(tx, tenant_id, chunk)
        await self._stand(tx, tenant_id, chunk, rules)
        above = definitions.index.above(chunk).difference(chunk)
        restated = await store.restate(tx, tenant_id, above) if above else []
        await self._publish(tx, [(tenant_id, goal_id) for goal_id in (*chunk, *restated)], patient=True)
        return len(chunk)

    async def _stand(
        self, tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID], rules: Mapping[UUID, Rule]
    ) -> None:
        """Let goals that nothing has moved stand where the stored records say; those without a rule at nothing."""
        totals = dict.fromkeys(goal_ids, contributions.NOTHING) | await contributions.totals(tx, tenant_id, rules)
        distinct_values = await contributions.distinct_values(tx, tenant_id, rules)
        parts = [(goal_id, child) for goal_id, rule in rules.items() for child in rule.children]
        await store.stand(tx, tenant_id, totals, distinct_values, parts)

    async def _recount(self, tx: Transaction, tenant_id: UUID) -> int:
        outdated = await actuals.next_outdated(tx, tenant_id)
        if outdated:
            definitions = await self._definitions.current(tx, tenant_id)
            await actuals.recount(tx, tenant_id, definitions.chart, outdated)
        return len(outdated)

    def _unread(self, states: Mapping[UUID, store.DefinitionState]) -> frozenset[UUID]:
        """The tenants of these whose definitions of just this revision are not in memory."""
        return frozenset(each for each, state in states.items() if not self._definitions.has(each, state.revision))

    async def _counting(
        self,
        tx: Transaction,
        states: Mapping[UUID, store.DefinitionState],
        *,
        held: Mapping[UUID, Held] = NOTHING_HELD,
    ) -> "_Counting":
        """What will move the goals of each tenant that has definitions: as `held`, or else of just the revision."""
        moving: dict[UUID, Movements] = {}
        for tenant_id, state in states.items():
            known = held.get(tenant_id)
            definitions = (
                await self._definitions.at(tx, tenant_id, state.revision) if known is None else known.definitions
            )
            moving[tenant_id] = Movements(definitions.index, state.stale or ())
        return _Counting(moving, frozenset(tenant_id for tenant_id, state in states.items() if state.stale is None))

    async def _begin(self, tx: Transaction, tenant_id: UUID, newer: Redefinition) -> Collection[UUID]:
        """Begin the progress of some goals that never counted before, as many as soon do: nobody else knows them yet.

        What is above a part has to be rebuilt with it, so parts are left to that.
        """
        before, rules = newer.before.index, newer.after.index.rules
        new = {goal_id: rules[goal_id] for goal_id in newer.moved if goal_id in rules and goal_id not in before.rules}
        chunk = _chunk(sorted(new), new) if new else []
        alone = [goal_id for goal_id in chunk if not newer.after.index.above([goal_id])]
        begun = await store.add(tx, tenant_id, alone) if alone else []
        await self._publish(tx, [(tenant_id, goal_id) for goal_id in begun], patient=True)
        return begun

    async def _define(self, tx: Transaction, tenant_id: UUID, newer: Redefinition, begun: Collection[UUID]) -> None:
        if newer.after.chart is not newer.before.chart:
            users, users_before = newer.after.chart.identities.keys(), newer.before.chart.identities.keys()
            if users != users_before:
                await records.recount_users(tx, tenant_id, gained=users - users_before, lost=users_before - users)
            await actuals.redefine(tx, tenant_id, newer.before.chart, newer.after.chart)
        if begun:
            await self._stand(tx, tenant_id, begun, {goal_id: newer.after.index.rules[goal_id] for goal_id in begun})
        stale = newer.moved.difference(begun)
        if stale:
            await store.mark_stale(tx, tenant_id, stale)
        goals = [event for event in newer.events if isinstance(event, Goal) and event.status is not GoalStatus.DRAFT]
        restated = {goal.id for goal in goals} - newer.moved
        if restated:
            published = await store.restate(tx, tenant_id, restated | newer.after.index.above(restated))
            await self._publish(tx, [(tenant_id, goal_id) for goal_id in published], patient=True)

    async def _publish(
        self, tx: Transaction, goals: Collection[store.GoalKey], *, stripe: int = 0, patient: bool = False
    ) -> None:
        subjects = [(tenant_id, f"{_GOAL_SUBJECT}{goal_id}") for tenant_id, goal_id in goals]
        await self._outbox.mark(tx, contract.TOPIC, subjects, stripe=stripe, patient=patient)


class _Counting:
    """What records that were recorded in one transaction change, added up."""

    def __init__(self, moving: Mapping[UUID, Movements], many_stale: Collection[UUID]) -> None:
        """`moving`: what moves the goals of each tenant that has definitions; `many_stale`: those stale ones too."""
        self._moving = moving
        self.many_stale = many_stale
        self.gaps = GapMoves()
        self.actuals = Moves()
        self.accepted: list[datetime] = []
        self.superseded: set[tuple[UUID, UUID]] = set()

    def add_deals(self, recorded: Recorded[DealFacts]) -> None:
        """Take what became of some deals into account."""
        for changed, moves in self._taken(recorded):
            self.gaps.add(changed, () if moves is None else moves.chart.named_users)
            if moves is not None:
                self.actuals.add(changed[0].tenant_id, moves.chart, changed)

    def add_activities(self, recorded: Recorded[ActivityFacts]) -> None:
        """Take what became of some activities into account."""
        for _ in self._taken(recorded):
            pass

    def movements(self) -> dict[store.GoalKey, Movement]:
        """By how much each goal moves."""
        return {
            (tenant_id, goal_id): movement
            for tenant_id, moves in self._moving.items()
            for goal_id, movement in moves.net().items()
        }

    def _taken(self, recorded: Recorded[FactsT]) -> Iterator[tuple[Sequence[Change[FactsT]], Movements | None]]:
        """The changes of each tenant, added to what moves its goals."""
        self.superseded |= recorded.superseded
        self.accepted.extend(change.received_at for change in recorded.changes)
        for _, group in groupby(recorded.changes, key=lambda change: change.tenant_id.int):
            changed = list(group)
            moves = self._moving.get(changed[0].tenant_id)
            if moves is not None:
                moves.add(changed)
            yield changed, moves


def _users(tenant_id: UUID, changes: Iterable[Change[RecordFacts]]) -> frozenset[CrmUser]:
    """Who has a part of a tenant's changed records, or had."""
    return frozenset(
        CrmUser(facts.source, user)
        for change in changes
        if change.tenant_id == tenant_id
        for facts in (change.before, change.after)
        if facts is not None
        for user in (facts.owner_external_id, *(split.owner_external_id for split in facts.splits))
        if user is not None
    )


async def _recorded(
    tx: Transaction,
    pieces: Iterable[Sequence[SnapshotT]],
    recording_of: Callable[[Sequence[SnapshotT]], records.Recording[SnapshotT, FactsT, FilterT]],
) -> AsyncGenerator[Recorded[FactsT]]:
    """What became of each piece, yielded while the next one is being recorded."""
    running: asyncio.Task[None] | None = None
    before: records.Recording[SnapshotT, FactsT, FilterT] | None = None
    try:
        for recording in map(recording_of, pieces):
            if running is not None:
                await running
            running = asyncio.create_task(recording.run(tx))
            # Lets the statement get on its way before the caller keeps this thread busy.
            await asyncio.sleep(0)
            if before is not None:
                yield before.recorded()
            before = recording
        if running is not None and before is not None:
            await running
            yield before.recorded()
    except asyncio.CancelledError:
        if running is not None:
            running.cancel()
        raise
    finally:
        # The transaction is the caller's again only when nothing is under way in it.
        if running is not None:
            await asyncio.gather(running, return_exceptions=True)


publish_next: Final = marking(contract.TOPIC, _GOAL_SUBJECT, store.goals_after)
"""Has the progress of the next goals published once more."""


async def render_progress(statements: Statements, subjects: Sequence[tuple[UUID, str]]) -> list[OutboxMessage]:
    """The events of the subjects (`goal/<id>`) that have progress.

    A stale goal is left out: its rebuild will publish it.
    """
    goals = [(tenant_id, UUID(subject.removeprefix(_GOAL_SUBJECT))) for tenant_id, subject in subjects]
    messages: list[OutboxMessage] = []
    turns = Turns()
    for state in await store.states(statements, goals):
        if not state.is_stale:
            event, event_id = progress_event(state), statements.new_id()
            messages.append(to_message(event, event_id=event_id, source="tracking", time=state.changed_at))
            await turns.give()
    return messages


def progress_event(state: store.State) -> contract.Progress:
    """A goal's state as it is published."""
    goal = _goal(state.definition)
    aggregate = goal.metric.later_aggregate or goal.metric.aggregate
    lower_is_better = goal.direction is Direction.LOWER
    stands = actual_of(state)
    reached = [each for each in goal.stretch if stands.has_reached(each.target, lower_is_better=lower_is_better)]
    numerator, denominator = _sides(state, aggregate, stands)
    return contract.Progress(
        tenant_id=state.tenant_id,
        goal_id=goal.id,
        version=state.version,
        goal_version=goal.version,
        status=goal.status,
        name=goal.name,
        owner=goal.owner,
        value=stands.shown or _ZERO,
        target=goal.target,
        baseline=goal.baseline,
        attainment=shown(
            attainment(
                stands.dividend,
                target=goal.target,
                baseline=goal.baseline,
                lower_is_better=lower_is_better,
                divisor=stands.divisor,
            )
        ),
        direction=goal.direction,
        unit=goal.unit,
        currency=None if aggregate is Aggregate.RATIO else goal.metric.currency,
        start=goal.start,
        end=goal.end,
        deals=state.deals,
        changed_at=state.changed_at,
        received_at=_received_at(state),
        aggregate=aggregate.value,
        numerator=numerator,
        denominator=denominator,
        stretch_reached=reached[-1] if reached else None,
    )


def actual_of(state: store.State) -> Actual:
    """A goal's number, exactly."""
    if state.has_parts:
        return weighted((weight_of(part), attained_of(part)) for part in state.parts)
    metric = _goal(state.definition).metric
    return actual(metric.later_aggregate or metric.aggregate, state.value, state.denominator)


def attained_of(state: store.State) -> Fraction | None:
    """What of a goal has been attained, exactly; None where that cannot be told."""
    goal = _goal(state.definition)
    return attained(
        actual_of(state),
        target=goal.target,
        baseline=goal.baseline,
        lower_is_better=goal.direction is Direction.LOWER,
    )


def weight_of(state: store.State) -> Decimal:
    """By how much a goal counts in the one it is a part of."""
    return _goal(state.definition).weight


def _sides(state: store.State, aggregate: Aggregate, stands: Actual) -> tuple[Decimal | None, Decimal | None]:
    """Numerator and denominator as they are published."""
    if not aggregate.counts_records:
        return stands.published
    return (state.value, state.denominator) if aggregate.is_quotient else (None, None)


def _received_at(state: store.State) -> datetime | None:
    moments = [state.received_at, *(_received_at(part) for part in state.parts)]
    return max((moment for moment in moments if moment is not None), default=None)


# A goal is published far more often than it is changed.
@lru_cache(maxsize=2048)
def _goal(definition: str) -> Goal:
    return Goal.from_json(definition)


def _chunk(goal_ids: Sequence[UUID], rules: Mapping[UUID, Rule]) -> list[UUID]:
    """The first of the goals, as many as may be counted at once, and at least one."""
    chunk: list[UUID] = []
    spans = 0
    for goal_id in goal_ids[:_CHUNK_GOALS_MAX]:
        rule = rules.get(goal_id)
        spans += 0 if rule is None else len(rule.spans)
        if chunk and spans > _CHUNK_SPANS_MAX:
            break
        chunk.append(goal_id)
    return chunk
