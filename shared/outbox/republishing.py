"""Filling a topic that was lost again from Postgres, chunk by chunk, while the service goes on.

A room says how the next of its things are read or published. Versions stay as they are, so readers that have them take
no notice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from shared.contracts.base import Event
from shared.db.database import Database, Scope, Transaction
from shared.db.versioned import FIRST_KEY, Key
from shared.outbox.outbox import Outbox

_CHUNK: Final = 500


class Newest(NamedTuple):
    """A thing in its newest version, as it is published."""

    key: Key
    version: int
    event: Event


ReadNext = Callable[[Transaction, Key, int], Awaitable[Sequence[Newest]]]
"""Reads the things that follow a key, of all tenants, so many at most and by key.

They do not change before the end of the transaction, so that no old snapshot can follow a newer one into the topic.
"""

ReadKeys = Callable[[Transaction, Key, int], Awaitable[Sequence[Key]]]
"""The keys that follow a key, of all tenants, so many at most and in their order."""

PublishNext = Callable[[Transaction, Outbox, Key, int], Awaitable[Sequence[Key]]]
"""Publishes the things that follow a key, of all tenants, so many at most and by key; which those were."""


def appending(read_next: ReadNext) -> PublishNext:
    """Publishes what is read."""

    async def publish_next(tx: Transaction, outbox: Outbox, after: Key, limit: int) -> Sequence[Key]:
        things = await read_next(tx, after, limit)
        await outbox.publish(tx, [thing.event for thing in things])
        return [thing.key for thing in things]

    return publish_next


def marking(topic: str, subject: str, read_keys: ReadKeys) -> PublishNext:
    """Has the relay publish the newest state; `subject` is what comes before the id, such as `goal/`."""

    async def publish_next(tx: Transaction, outbox: Outbox, after: Key, limit: int) -> Sequence[Key]:
        keys = await read_keys(tx, after, limit)
        await outbox.mark(tx, topic, [(tenant_id, f"{subject}{each}") for tenant_id, each in keys])
        return keys

    return publish_next


async def republish(database: Database, outbox: Outbox, kinds: Sequence[PublishNext]) -> int:
    """Publish the newest version of everything of these kinds again, of all tenants; how many there were."""
    count = 0
    for publish_next in kinds:
        after = FIRST_KEY
        while keys := await database.run(Scope.every(), _chunk(publish_next, outbox, after)):
            count += len(keys)
            after = keys[-1]
    return count


async def versions(database: Database, kinds: Sequence[ReadNext]) -> AsyncIterator[Mapping[tuple[UUID, str], int]]:
    """The version of everything of these kinds by tenant and subject, chunk by chunk, as they are when read."""
    for read_next in kinds:
        after = FIRST_KEY
        while True:
            async with database.transaction(Scope.every()) as tx:
                things = await read_next(tx, after, _CHUNK)
            if not things:
                break
            yield {(thing.event.tenant_id, thing.event.subject): thing.version for thing in things}
            after = things[-1].key


def _chunk(publish_next: PublishNext, outbox: Outbox, after: Key) -> Callable[[Transaction], Awaitable[Sequence[Key]]]:
    return lambda tx: publish_next(tx, outbox, after, _CHUNK)
