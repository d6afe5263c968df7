"""Does progress stand where the raw deals say? Recomputed from every version ever recorded, for `attain verify`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.tracking.progress import contributions, store
from services.tracking.progress.definitions import DefinitionsCache
from shared.db.database import Database, Scope, Transaction
from shared.kernel.money import format_amount

_GOALS_MAX: Final = 1000
_EVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something stored that is not what it should be."""

    kind: str
    tenant_id: UUID
    subject: str
    stored: str
    recomputed: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.subject} (tenant {self.tenant_id}): {self.stored} stored, {self.recomputed} recomputed"
        )


async def differences(database: Database) -> list[Difference]:
    """Every goal of every tenant whose progress is not what its deals add up to.

    Holds off a tenant's deals while its goals are looked at. A goal that still waits to be rebuilt is a difference.
    """
    cache = DefinitionsCache(tenants_max=1)
    async with database.transaction(Scope.every()) as tx:
        tenant_ids = await store.tenants(tx)
    found: list[Difference] = []
    for tenant_id in tenant_ids:
        async with database.transaction(Scope.of(tenant_id)) as tx:
            await tx.lock_tenants_exclusive([tenant_id])
            found.extend(await _of_tenant(tx, cache, tenant_id))
    return found


async def _of_tenant(tx: Transaction, cache: DefinitionsCache, tenant_id: UUID) -> list[Difference]:
    rules = (await cache.current(tx, tenant_id)).index.rules
    recomputed = await contributions.totals(tx, tenant_id, rules, as_of=_EVER)
    states = {state.goal_id: state for state in await _states(tx, tenant_id)}
    found: list[Difference] = []
    for goal_id in sorted(rules.keys() | states.keys()):
        state, expected = states.get(goal_id), recomputed.get(goal_id, contributions.NOTHING)
        if state is not None and not state.stale and (state.value, state.deals) == (expected.value, expected.deals):
            continue
        stored = "nothing" if state is None else _described(state.value, state.deals)
        if state is not None and state.stale:
            stored += ", waiting to be rebuilt"
        subject = f"goal/{goal_id}"
        found.append(Difference("progress", tenant_id, subject, stored, _described(expected.value, expected.deals)))
    return found


async def _states(tx: Transaction, tenant_id: UUID) -> list[store.State]:
    states: list[store.State] = []
    after = (tenant_id, UUID(int=0))
    while goals := await store.goals_after(tx, after, limit=_GOALS_MAX):
        after = goals[-1]
        states.extend(await store.states(tx, goals))
    return states


def _described(value: Decimal, deals: int) -> str:
    return f"{format_amount(value)} by {deals} deals"
