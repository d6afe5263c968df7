"""What keeps what people won and have open: changed deals, changed organisation; and the events that state it.

It is called in the transactions that move progress, under their locks: whoever moves has the tenant's lock beside
others, whoever marks or counts anew has it alone.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from services.tracking.measure.actuals import domain, store
from services.tracking.measure.actuals.domain import Counting, Moves, Sums
from services.tracking.measure.actuals.store import State, StateKey
from services.tracking.measure.actuals.tables import RECOUNTED_STRIPE
from services.tracking.records import service as records
from shared.contracts import actuals as contract
from shared.contracts.envelope import to_message
from shared.db.database import Statements, Transaction
from shared.db.versioned import Key
from shared.kernel.org import OrgChart
from shared.outbox.message import OutboxMessage
from shared.outbox.outbox import Outbox

_SUBJECT: Final = "actuals/"
_NEVER: Final = date.max
_RECOUNTED_PEOPLE_MAX: Final = 10
"""A recount holds up the tenant's deals for as long as it takes to read those of so many people."""
_MONTHS_OF_ONE: Final = 50
"""About how many months of a person are stored, where chunks are of months and cut by people."""


async def move(tx: Transaction, moves: Moves, *, stripe: int) -> None:
    """Count what changed deals change. `stripe` is one that no other transaction writes at the same time."""
    rows = [store.Row(tenant_id, key, currency, moved, 1) for tenant_id, key, currency, moved in moves.net()]
    await store.add(tx, rows, stripe=stripe)


async def redefine(tx: Transaction, tenant_id: UUID, before: OrgChart, after: OrgChart) -> None:
    """Mark whose months may have other numbers by the organisation as it is now: `recount` gets to them."""
    outdated = domain.outdated(before, after)
    if outdated:
        await store.mark_outdated(tx, tenant_id, outdated)


async def outdated_tenants(tx: Transaction) -> list[UUID]:
    """The tenants in scope with somebody to be counted anew."""
    return await store.outdated_tenants(tx)


async def next_outdated(tx: Transaction, tenant_id: UUID) -> dict[UUID, date]:
    """A few of the people who are to be counted anew, each with the first month that is."""
    return await store.outdated(tx, tenant_id, limit=_RECOUNTED_PEOPLE_MAX)


async def recount(tx: Transaction, tenant_id: UUID, chart: OrgChart, first_months: Mapping[UUID, date]) -> None:
    """Bring these people, from each one's first month on, to where the stored deals say. They are outdated no more."""
    counting = await counted(tx, tenant_id, chart, first_months.keys(), since=min(first_months.values()))
    found = {key: sums for key, sums in counting.net().items() if key.month >= first_months.get(key.person_id, _NEVER)}
    versions = await store.clear(tx, tenant_id, first_months)
    rows = [
        store.Row(tenant_id, key, counting.currency(key.month), found.get(key, Sums()), versions.get(key, 0) + 1)
        for key in versions.keys() | found.keys()
    ]
    await store.add(tx, rows, stripe=RECOUNTED_STRIPE)
    await store.unmark_outdated(tx, tenant_id, first_months.keys())


async def counted(
    tx: Transaction, tenant_id: UUID, chart: OrgChart, person_ids: Collection[UUID], *, since: date
) -> Counting:
    """All that the stored deals of these people add in months from the one of `since` on.

    There may be something of earlier months and of others in it, who share deals with them.
    """
    counting = Counting(chart)
    users = {user for person_id in person_ids for user in chart.users_of(person_id)}
    async for page in records.won_or_open_deals(tx, tenant_id, users, since=since):
        counting.add_all(page)
    return counting


async def mark_due(tx: Transaction, outbox: Outbox, *, limit: int) -> int:
    """Have what changed since the last time published, once, with its newest state; how many stripes that was in."""
    due = await store.take_due(tx, limit=limit)
    await _publish(tx, outbox, due)
    return len(due)


async def publish_next(tx: Transaction, outbox: Outbox, after: Key, limit: int) -> Sequence[Key]:
    """Have all months of the next people published once more."""
    keys = await store.next_keys(tx, after, people=max(1, limit // _MONTHS_OF_ONE))
    await _publish(tx, outbox, keys)
    return [(tenant_id, person_id) for tenant_id, person_id, _ in keys]


async def published_of(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> list[contract.Actuals]:
    """Every month of these people as it is published, or will be once what is due or waits has been."""
    return [actuals_event(state) for state in await store.states_of(tx, tenant_id, person_ids)]


async def people(tx: Transaction, tenant_id: UUID) -> list[UUID]:
    """Everybody of whom something is stored."""
    return await store.people(tx, tenant_id)


async def render_actuals(statements: Statements, subjects: Sequence[tuple[UUID, str]]) -> list[OutboxMessage]:
    """The events of the subjects (`actuals/<person>/<month>`) of which something is stored.

    What waits to be counted anew is left out: that will have it published.
    """
    keys = [(tenant_id, *_key_of(subject)) for tenant_id, subject in subjects]
    return [
        to_message(actuals_event(state), event_id=statements.new_id(), source="tracking", time=state.changed_at)
        for state in await store.states(statements, keys)
    ]


def actuals_event(state: State) -> contract.Actuals:
    """A month as it is published."""
    return contract.Actuals(
        tenant_id=state.tenant_id,
        person_id=state.person_id,
        month=f"{state.month:%Y-%m}",
        version=state.version,
        currency=state.currency,
        won_value=state.won_value,
        won_number=state.won_number,
        open_value=state.open_value,
        open_number=state.open_number,
        unconverted=state.unconverted,
        changed_at=state.changed_at,
    )


async def _publish(tx: Transaction, outbox: Outbox, keys: Sequence[StateKey]) -> None:
    subjects = [(tenant_id, f"{_SUBJECT}{person_id}/{month:%Y-%m}") for tenant_id, person_id, month in keys]
    await outbox.mark(tx, contract.TOPIC, subjects)


def _key_of(subject: str) -> tuple[UUID, date]:
    person_id, month = subject.removeprefix(_SUBJECT).split("/")
    return UUID(person_id), date.fromisoformat(f"{month}-01")
