"""Making, changing and reading connections."""

import json
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from services.tracking.intake.calling import service as calling
from services.tracking.intake.connections import store
from services.tracking.intake.connections.domain import (
    Connection,
    ConnectionStatus,
    InvalidAllowList,
    InvalidApiAccess,
    OpenSecret,
    Sender,
)
from services.tracking.intake.sources.domain import Source, SourceMapping
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import ApiCredentials
from services.tracking.records.changes import changed
from shared.db.database import Transaction
from shared.db.sealing import SecretsBox
from shared.kernel.errors import FieldError
from shared.kernel.rotation import SealedSecret

CHANNEL: Final = "tracking_connections"
"""Notified with the id of a connection whenever it was made or changed."""

_ENTROPY_BYTES: Final = 32


OnMappingSaved = Callable[[Transaction, Connection, SourceMapping], Awaitable[None]]
"""What is to follow from the saving of a mapping, which is not known here; it is given the mapping before, too."""


@dataclass(frozen=True, slots=True)
class WithSecret:
    """A connection and a secret just given to it, shown this once."""

    connection: Connection
    secret: str


class Connections:
    """The use cases. Secrets are sealed before they are stored."""

    def __init__(self, box: SecretsBox, *, on_mapping_saved: OnMappingSaved | None = None) -> None:
        """`on_mapping_saved` is called with a connection whose mapping is being saved, within the same transaction."""
        self.box = box
        self._on_mapping_saved = on_mapping_saved
        self._opened: dict[str, str] = {}

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
        await store.CONNECTIONS.add(tx, tenant_id, connection)
        await _notify(tx, connection)
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
        """Change what is given. Raises ConnectionNotFound, VersionMismatch and InvalidAllowList."""
        current = await store.CONNECTIONS.for_change(tx, tenant_id, connection_id, expected_version)
        if allowed is not None:
            _check_allowed(current.source, allowed)
        edited = current.edited(name=name, status=status, mapping=mapping, allowed=allowed, now=tx.now)
        saved = await _saved(tx, edited)
        if mapping is not None and self._on_mapping_saved is not None:
            await self._on_mapping_saved(tx, saved, current.mapping)
        return saved

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

        Raises ConnectionNotFound, VersionMismatch, RotationUnderWay and InvalidSecret.
        """
        current = await store.CONNECTIONS.for_change(tx, tenant_id, connection_id, expected_version)
        value = _secret_value(current.source, secret)
        rotated = current.rotated(self._sealed(tx, value), overlap=overlap, now=tx.now)
        return WithSecret(await _saved(tx, rotated), value)

    async def retire_secret(
        self, tx: Transaction, tenant_id: UUID, connection_id: UUID, secret_id: UUID, *, expected_version: int
    ) -> Connection:
        """Make a secret invalid at once. Raises ConnectionNotFound, VersionMismatch, SecretNotFound, LastSecret."""
        current = await store.CONNECTIONS.for_change(tx, tenant_id, connection_id, expected_version)
        return await _saved(tx, current.with_retired(secret_id, now=tx.now))

    async def give_access(
        self,
        tx: Transaction,
        tenant_id: UUID,
        connection_id: UUID,
        credentials: ApiCredentials,
        *,
        expected_version: int,
    ) -> Connection:
        """Let the source's API be called with these credentials; what is known of calls so far is forgotten.

        Raises ConnectionNotFound, VersionMismatch and InvalidApiAccess.
        """
        current = await store.CONNECTIONS.for_change(tx, tenant_id, connection_id, expected_version)
        _check_access(current.source, credentials)
        sealed = self.box.seal(credentials.model_dump_json())
        saved = await _saved(tx, current.with_api(sealed, now=tx.now))
        await calling.forget_calls(tx, saved)
        return saved

    async def withdraw_access(
        self, tx: Transaction, tenant_id: UUID, connection_id: UUID, *, expected_version: int
    ) -> Connection:
        """Let the source's API no longer be called. Raises ConnectionNotFound and VersionMismatch."""
        current = await store.CONNECTIONS.for_change(tx, tenant_id, connection_id, expected_version)
        saved = await _saved(tx, current.with_api(None, now=tx.now))
        await calling.forget_calls(tx, saved)
        return saved

    def addresses(self, connection: Connection) -> dict[str, str]:
        """Which addresses the access to the API is for, by their names; empty without access."""
        if connection.api is None:
            return {}
        known: dict[str, object] = json.loads(self.box.open(connection.api))
        return {name: str(value) for name, value in known.items() if name.endswith("_url")}

    def newest_secret(self, connection: Connection) -> tuple[UUID, str]:
        """The secret given to the connection last: its id and its value."""
        newest = max(connection.secrets, key=lambda each: (each.created_at, each.id))
        return newest.id, self.box.open(newest.ciphertext)

    def sender(self, connection: Connection) -> Sender:
        """What is needed to verify that a delivery is from this connection's sender."""
        return Sender(
            connection.tenant_id,
            connection.id,
            connection.source,
            [
                OpenSecret(
                    self._open(secret.ciphertext),
                    None if secret.expires_at is None else secret.expires_at.timestamp(),
                )
                for secret in connection.secrets
            ],
            {name: frozenset(values) for name, values in connection.allowed.items()},
        )

    async def senders(self, tx: Transaction, ids: Collection[UUID] | None = None) -> list[Sender]:
        """Those who may send, in the scope of the transaction: all, or those of these connections."""
        connections = await store.accepting(tx, ids)
        # Opening a secret costs more than reading its connection, and few are new.
        ciphertexts = {secret.ciphertext for connection in connections for secret in connection.secrets}
        opened = {each: self._open(each) for each in ciphertexts}
        if ids is None:
            self._opened = opened
        else:
            self._opened.update(opened)
        return [self.sender(connection) for connection in connections]

    def _open(self, ciphertext: str) -> str:
        return self._opened.get(ciphertext) or self.box.open(ciphertext)

    def _sealed(self, tx: Transaction, value: str) -> SealedSecret:
        return SealedSecret(tx.new_id(), self.box.seal(value), tx.now)


async def get(tx: Transaction, tenant_id: UUID, connection_id: UUID) -> Connection:
    """A connection of the tenant. Raises ConnectionNotFound."""
    return await store.CONNECTIONS.get(tx, tenant_id, connection_id)


async def page(tx: Transaction, tenant_id: UUID, *, after: UUID | None, limit: int) -> Sequence[Connection]:
    """Connections of the tenant in the order they were made."""
    return await store.CONNECTIONS.page(tx, tenant_id, after, limit)


async def ids_of_source(tx: Transaction, tenant_id: UUID, identity_source: str) -> Sequence[UUID]:
    """The connections of the tenant whose deals carry a source."""
    return await store.ids_of_source(tx, tenant_id, identity_source)


async def by_id(tx: Transaction, connection_ids: Collection[UUID]) -> dict[UUID, Connection]:
    """Connections of whichever tenants the transaction may see, by id."""
    return await store.by_id(tx, connection_ids)


async def active(tx: Transaction) -> Sequence[tuple[UUID, UUID]]:
    """The active connections of whichever tenants the transaction may see, each by its tenant and its id."""
    return await store.active(tx)


async def with_access(tx: Transaction, ids: Collection[UUID] | None = None) -> list[Connection]:
    """Active connections of whichever tenants the transaction may see, whose source's API may be called.

    All, or those of these ids.
    """
    return [each for each in await store.with_access(tx, ids) if ADAPTERS[each.source].api is not None]


async def _saved(tx: Transaction, connection: Connection) -> Connection:
    await store.CONNECTIONS.save(tx, connection.tenant_id, connection)
    await _notify(tx, connection)
    return connection


async def _notify(tx: Transaction, connection: Connection) -> None:
    await tx.notify(CHANNEL, str(connection.id))
    await changed(tx, [(connection.tenant_id, connection.id)])


def _check_access(source: Source, credentials: ApiCredentials) -> None:
    api = ADAPTERS[source].api
    if api is None:
        raise InvalidApiAccess(f"{source} sends all there is; there is no API of it to call.")
    if not isinstance(credentials, api.credentials):
        raise InvalidApiAccess(
            "The access is for another source than the connection.",
            fields=[FieldError("/source", f"is not {source}", source.value)],
        )


def _check_allowed(source: Source, allowed: Mapping[str, tuple[str, ...]]) -> None:
    known = ADAPTERS[source].allow_keys
    accepted = ", ".join(sorted(known)) or "nothing, as this source states nothing of itself"
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
