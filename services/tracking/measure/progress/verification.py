"""Does progress stand where the raw deals say? Recomputed from every version ever recorded, for `attain verify`."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.tracking.measure.actuals import verification as actuals
from services.tracking.measure.progress import contributions, store
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.records import service as records
from services.tracking.records.domain.uncredited import GapCount
from shared.db.database import Database, Scope, Transaction
from shared.kernel.difference import Difference
from shared.kernel.money import format_amount
from shared.kernel.org import CrmUser
from shared.kernel.words import counted

_GOALS_MAX: Final = 1000
_NO_GAP: Final = GapCount()
_ZERO: Final = Decimal(0)
_CHUNK_GOALS: Final = 500
_CHUNK_PEOPLE: Final = 20
_EVER: Final = datetime.max.replace(tzinfo=UTC)


async def tenants(database: Database) -> list[UUID]:
    """Every tenant that has definitions or deals here."""
    async with database.snapshot(Scope.every()) as tx:
        return sorted({*await store.tenants(tx), *await records.tenants(tx)})


async def differences(database: Database) -> list[Difference]:
    """Every goal whose progress is not what its deals add up to, and every wrong count of uncredited deals."""
    return [
        difference
        for tenant_id in await tenants(database)
        async for difference in of_tenant(database, tenant_id, Counter())
    ]


async def of_tenant(database: Database, tenant_id: UUID, compared: Counter[str]) -> AsyncIterator[Difference]:
    """The goals of a tenant, and months of people, that are not what its deals add up to.

    `compared` counts what was looked at.

    Nothing waits for it: each chunk of goals is compared within one snapshot of the database, which has a batch of
    deals with all it moved or not at all. Memory has the tenant's definitions and one chunk, whatever the number of
    deals. A goal that still waits to be rebuilt is a difference that passes.
    """
    cache = DefinitionsCache(tenants_max=1)
    async with database.snapshot(Scope.of(tenant_id)) as tx:
        rules = (await cache.current(tx, tenant_id)).index.rules
        goal_ids = sorted({*rules, *await _goals_with_progress(tx, tenant_id)})
    for first in range(0, len(goal_ids), _CHUNK_GOALS):
        chunk = goal_ids[first : first + _CHUNK_GOALS]
        async with database.snapshot(Scope.of(tenant_id)) as tx:
            found = await _of_goals(tx, cache, tenant_id, chunk)
        compared["goal"] += len(chunk)
        for difference in found:
            yield difference
    async with database.snapshot(Scope.of(tenant_id)) as tx:
        chart = (await cache.current(tx, tenant_id)).chart
        uncounted = await _uncredited(tx, tenant_id, chart.identities)
        people = await actuals.people(tx, tenant_id, chart)
    for difference in uncounted:
        yield difference
    for first in range(0, len(people), _CHUNK_PEOPLE):
        async with database.snapshot(Scope.of(tenant_id)) as tx:
            chart = (await cache.current(tx, tenant_id)).chart
            found = await actuals.of_people(tx, tenant_id, chart, people[first : first + _CHUNK_PEOPLE], compared)
        for difference in found:
            yield difference


async def _of_goals(
    tx: Transaction, cache: DefinitionsCache, tenant_id: UUID, goal_ids: Sequence[UUID]
) -> list[Difference]:
    known = (await cache.current(tx, tenant_id)).index.rules
    rules = {goal_id: known[goal_id] for goal_id in goal_ids if goal_id in known}
    recomputed = await contributions.totals(tx, tenant_id, rules, as_of=_EVER)
    states = {state.goal_id: state for state in await store.states(tx, [(tenant_id, each) for each in goal_ids])}
    found: list[Difference] = []
    for goal_id in goal_ids:
        state, expected = states.get(goal_id), recomputed.get(goal_id, contributions.NOTHING)
        if state is None and goal_id not in rules:
            continue
        parts = rules[goal_id].children if goal_id in rules else ()
        known_parts = () if state is None else tuple(part.goal_id for part in state.parts)
        is_right = state is not None and _sums(state) == _sums(expected) and known_parts == parts
        if is_right and state is not None and not state.stale:
            continue
        stored = "nothing" if state is None else _described(*_sums(state), parts=known_parts)
        is_passing = state is not None and state.stale
        if is_passing:
            stored += ", waiting to be rebuilt"
        found.append(
            Difference(
                "progress",
                tenant_id,
                f"goal/{goal_id}",
                stored,
                _described(*_sums(expected), parts=parts),
                is_passing=is_passing,
            )
        )
    return found


async def _uncredited(tx: Transaction, tenant_id: UUID, known: Collection[CrmUser]) -> list[Difference]:
    """Where what is counted of won deals that nobody is credited with is not what the deals come to."""
    counted, recomputed = await records.uncredited_counts(tx, tenant_id, known)
    found: list[Difference] = []
    for key in sorted(counted.keys() | recomputed.keys()):
        stored, expected = counted.get(key, _NO_GAP), recomputed.get(key, _NO_GAP)
        if stored != expected:
            of_user = f" of {key.user}" if key.user else ""
            subject = f"{key.reason.value}{of_user} in {key.currency or 'no currency'}, connection/{key.connection_id}"
            found.append(
                Difference(
                    "uncredited",
                    tenant_id,
                    subject,
                    _described(stored.amount, stored.deals),
                    _described(expected.amount, expected.deals),
                )
            )
    return found


async def _goals_with_progress(tx: Transaction, tenant_id: UUID) -> list[UUID]:
    found: list[UUID] = []
    after = (tenant_id, UUID(int=0))
    while goals := await store.goals_after(tx, after, limit=_GOALS_MAX):
        after = goals[-1]
        found.extend(goal_id for _, goal_id in goals)
    return found


def _sums(stands: store.State | contributions.Total) -> tuple[Decimal, int, Decimal]:
    return stands.value, stands.deals, stands.denominator


def _described(value: Decimal, deals: int, denominator: Decimal = _ZERO, *, parts: Sequence[UUID] = ()) -> str:
    if parts:
        return f"made of {', '.join(str(part) for part in parts)}"
    above = format_amount(value) if not denominator else f"{format_amount(value)} of {format_amount(denominator)}"
    return f"{above} by {counted(deals, 'deal')}"
