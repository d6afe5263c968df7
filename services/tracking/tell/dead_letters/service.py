"""What waits in the dead letters: counted, listed, and dropped once it is replayed to its consumer."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from services.tracking.tell.dead_letters import store
from services.tracking.tell.dead_letters.store import DeadLetter
from shared.db.database import Database, Scope, Transaction

_PAGE: Final = 500


async def waiting(database: Database, topic: str | None = None) -> AsyncIterator[Sequence[DeadLetter]]:
    """All that wait, of every tenant, of one topic or of all, page by page."""
    place = None
    while True:
        async with database.transaction(Scope.every()) as tx:
            page = await store.after(tx, topic, place, limit=_PAGE)
        if page:
            yield page
        if len(page) < _PAGE:
            return
        place = page[-1].place


async def counts(tx: Transaction) -> Mapping[tuple[UUID, str], int]:
    """How many wait of each tenant in scope, by topic."""
    return await store.counts(tx)


async def drop(database: Database, letters: Sequence[DeadLetter]) -> None:
    """Drop these, as their consumers read them again; a consumer that refuses one again brings it back."""
    async with database.transaction(Scope.of(*{letter.tenant_id for letter in letters})) as tx:
        await store.drop(tx, letters)
