"""Answers remembered by Idempotency-Key, in the transaction that did the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from shared.db.database import Database, Scope, Transaction
from shared.db.tables import TransportTables
from shared.http.problems import ParameterError
from shared.kernel.errors import InvalidInput
from shared.worker.rounds import Rounds

RETENTION_HOURS: Final = 24
_SWEEP_SECONDS: Final = 3600.0


class IdempotencyKeyReused(InvalidInput):
    """The key was used before, for another request."""

    code = "idempotency_key_reused"
    title = "Idempotency-Key reused"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as it was sent."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


async def claim(
    tx: Transaction, tables: TransportTables, *, tenant_id: UUID, key: str, fingerprint: bytes
) -> StoredAnswer | None:
    """Make the key this transaction's, or return the answer it already has.

    A second request with the same key waits here until the first has committed or rolled back. Raises
    IdempotencyKeyReused when the key belongs to a request with another fingerprint.
    """
    keys = tables.idempotency_keys
    claimed = await tx.one_or_none(
        insert(keys)
        .values(tenant_id=tenant_id, key=key, fingerprint=fingerprint, created_at=tx.now)
        .on_conflict_do_nothing(index_elements=[keys.c.tenant_id, keys.c.key])
        .returning(keys.c.key)
    )
    if claimed is not None:
        return None
    stored = await tx.one_or_none(select(keys).where(keys.c.tenant_id == tenant_id, keys.c.key == key))
    if stored is None:
        # The sweep removed it between the two statements: as old as that, the key is free again.
        return await claim(tx, tables, tenant_id=tenant_id, key=key, fingerprint=fingerprint)
    if stored["fingerprint"] != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used for another request.",
            fields=[ParameterError("/Idempotency-Key", "is taken", "a new key for every new request", "header")],
        )
    return StoredAnswer(
        status=stored["response_status"],
        headers=[(name, value) for name, value in stored["response_headers"]],
        body=stored["response_body"],
    )


async def remember(
    tx: Transaction, tables: TransportTables, *, tenant_id: UUID, key: str, answer: StoredAnswer
) -> None:
    """Store the answer under a key this transaction has claimed."""
    keys = tables.idempotency_keys
    await tx.execute(
        update(keys)
        .where(keys.c.tenant_id == tenant_id, keys.c.key == key)
        .values(
            response_status=answer.status,
            response_headers=[list(header) for header in answer.headers],
            response_body=answer.body,
        )
    )


class IdempotencySweep(Rounds):
    """Worker component: forgets answers older than a day, once an hour."""

    def __init__(self, database: Database, tables: TransportTables) -> None:
        super().__init__("idempotency", every_seconds=_SWEEP_SECONDS)
        self._database = database
        self._tables = tables

    async def round(self) -> bool:
        await self.sweep()
        return False

    async def sweep(self) -> None:
        """Forget what is older than RETENTION_HOURS."""
        keys = self._tables.idempotency_keys

        async def forget(tx: Transaction) -> None:
            await tx.execute(delete(keys).where(keys.c.created_at < tx.now - timedelta(hours=RETENTION_HOURS)))

        await self._database.run(Scope.every(), forget)
