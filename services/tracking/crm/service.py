"""Making, changing and reading connections."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from services.tracking.crm import store
from services.tracking.crm.domain import (
    Connection,
    ConnectionChanged,
    ConnectionNotFound,
    ConnectionStatus,
    InvalidAllowList,
    OpenSecret,
    SealedSecret,
    Sender,
    Source,
    SourceMapping,
)
from services.tracking.crm.encryption import SecretsBox
from services.tracking.crm.sources import ADAPTERS
from shared.db.database import Transaction
from shared.kernel.errors import FieldError

CHANNEL: Final = "tracking_connections"
"""Notified whenever a connection was made or changed."""

_ENTROPY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class WithSecret:
    """A connection and a secret just given to it, shown this once."""

    connection: Connection
    secret: str


class Connections:
    """The use cases. Secrets are sealed before they are stored."""

    def __init__(self, box: SecretsBox) -> None:
        self.box = box

    async def create(
        self,
        tx: Transaction,
        tenant_id: UUID,
        *,
        source: Source,
        name: str,
        identity_source: str,
        secret: str | None,
        mapping: SourceMapping,
        allowed: Mapping[str, tuple[str, ...]],
    ) -> WithSecret:
        """Make a connection, with the secret given or a new one. Raises InvalidSecret and InvalidAllowList."""
        value = _secret_value(source, secret)
        _check_allowed(source, allowed)
        connection = Connection(
            tenant_id=tenant_id,
            id=tx.new_id(),
            source=source,
            name=name,
            identity_source=identity_source,
            status=ConnectionStatus.ACTIVE,
            secrets=(self._sealed(tx, value),),
            mapping=mapping,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
            allowed=allowed,
        )
        await store.add(tx, connection)
        await tx.notify(CHANNEL)
        return WithSecret(connection, value)

    async def edit(
        self,
        tx: Transaction,
        tenant_id: UUID,
        connection_id: UUID,
        *,
        expected_version: int,
        name: str | None,
        status: ConnectionStatus | None,
        mapping: SourceMapping | None,
        allowed: Mapping[str, tuple[str, ...]] | None,
    ) -> Connection:
        """Change what is given. Raises ConnectionNotFound, ConnectionChanged and InvalidAllowList."""
        current = await self._expected(tx, tenant_id, connection_id, expected_version)
        if allowed is not None:
            _check_allowed(current.source, allowed)
        return await _saved(tx, current.edited(name=name, status=status, mapping=mapping, allowed=allowed, now=tx.now))

    async def rotate(
        self,
        tx: Transaction,
        tenant_id: UUID,
        connection_id: UUID,
        *,
        expected_version: int,
        secret: str | None,
        overlap: timedelta,
    ) -> WithSecret:
        """Give the connection a new secret; the old one stays valid for `overlap`.

        Raises ConnectionNotFound, ConnectionChanged, RotationUnderWay and InvalidSecret.
        """
        current = await self._expected(tx, tenant_id, connection_id, expected_version)
        value = _secret_value(current.source, secret)
        rotated = current.rotated(self._sealed(tx, value), overlap=overlap, now=tx.now)
        return WithSecret(await _saved(tx, rotated), value)

    async def retire_secret(
        self, tx: Transaction, tenant_id: UUID, connection_id: UUID, secret_id: UUID, *, expected_version: int
    ) -> Connection:
        """Make a secret invalid at once. Raises ConnectionNotFound, ConnectionChanged, SecretNotFound, LastSecret."""
        current = await self._expected(tx, tenant_id, connection_id, expected_version)
        return await _saved(tx, current.with_retired(secret_id, now=tx.now))

    def sender(self, connection: Connection) -> Sender:
        """What is needed to tell whether a delivery is from this connection's sender."""
        return Sender(
            connection.tenant_id,
            connection.id,
            connection.source,
            [
                OpenSecret(
                    self.box.open(secret.ciphertext),
                    None if secret.expires_at is None else secret.expires_at.timestamp(),
                )
                for secret in connection.secrets
            ],
            {name: frozenset(values) for name, values in connection.allowed.items()},
        )

    async def senders(self, tx: Transaction) -> list[Sender]:
        """Everyone who may send, in the scope of the transaction."""
        return [self.sender(connection) for connection in await store.every(tx)]

    async def _expected(self, tx: Transaction, tenant_id: UUID, connection_id: UUID, version: int) -> Connection:
        current = await get(tx, tenant_id, connection_id)
        if current.version != version:
            raise ConnectionChanged(f"The connection is at version {current.version} now.")
        return current

    def _sealed(self, tx: Transaction, value: str) -> SealedSecret:
        return SealedSecret(tx.new_id(), self.box.seal(value), tx.now)


async def get(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Connection:
    """A connection of the tenant. Raises ConnectionNotFound."""
    connection = await store.find(tx, tenant_id, connection_id)
    if connection is None:
        raise ConnectionNotFound(f"There is no connection {connection_id}.")
    return connection


async def page(tx: Transaction, tenant_id: UUID, *, after: UUID | None, limit: int) -> Sequence[Connection]:
    """Connections of the tenant in the order they were made."""
    return await store.page(tx, tenant_id, after=after, limit=limit)


async def by_id(tx: Transaction, connection_ids: Collection[UUID]) -> dict[UUID, Connection]:
    """Connections of whichever tenants the transaction may see, by id."""
    return await store.by_id(tx, connection_ids)


async def _saved(tx: Transaction, connection: Connection) -> Connection:
    if not await store.save(tx, connection):
        raise ConnectionChanged("The connection was changed at the same time.")
    await tx.notify(CHANNEL)
    return connection


def _check_allowed(source: Source, allowed: Mapping[str, tuple[str, ...]]) -> None:
    known = ADAPTERS[source].allow_keys
    accepted = ", ".join(sorted(known)) or "nothing, as this source says nothing of itself"
    problems = [
        FieldError(f"/allowed/{name}", f"is not known of {source}", accepted) for name in sorted(allowed.keys() - known)
    ]
    problems += [
        FieldError(f"/allowed/{name}", "is missing", "a list of the values that the sender may have")
        for name, is_needed in sorted(known.items())
        if is_needed and not allowed.get(name)
    ]
    if problems:
        raise InvalidAllowList("The allow-list does not fit the source.", fields=problems)


def _secret_value(source: Source, given: str | None) -> str:
    adapter = ADAPTERS[source]
    if given is None:
        return adapter.new_secret(os.urandom(_ENTROPY_BYTES))
    adapter.check_secret(given)
    return given
