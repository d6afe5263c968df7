"""Every statement on what all workers know together of the calls to a connection's API."""

from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from pydantic import TypeAdapter
from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.tracking.intake.calling.domain import CalledConnection, CallState
from services.tracking.intake.calling.tables import api_states
from services.tracking.records.changes import changed
from shared.db.database import Transaction

_CALLS: Final = TypeAdapter(CallState)
# Locks the row, made if need be, until the end of the transaction; the clock is read once it is locked.
_LOCK: Final = text(
    """
    INSERT INTO tracking.api_states AS stored (tenant_id, connection_id, access, calls)
    VALUES (:tenant_id, :connection_id, :access, CAST(:calls AS jsonb))
    ON CONFLICT (tenant_id, connection_id) DO UPDATE SET access = stored.access
    RETURNING access, calls, clock_timestamp() AS now
    """
)


class LockedCalls(NamedTuple):
    """The state of a connection's calls, nobody else's until the end of the transaction."""

    is_current: bool
    """Whether it is of the access that the connection has."""
    calls: CallState
    now: datetime
    """By the clock that all workers share."""


class StoredToken(NamedTuple):
    """A sealed token and when it is to be taken for expired."""

    ciphertext: str
    expires_at: datetime


async def lock(tx: Transaction, connection: CalledConnection) -> LockedCalls:
    """The state of a connection's calls, to change with `save`."""
    (row,) = await tx.rows(
        _LOCK,
        {
            "tenant_id": connection.tenant_id,
            "connection_id": connection.id,
            "access": access_of(connection),
            "calls": _CALLS.dump_json(CallState()).decode(),
        },
    )
    return LockedCalls(row["access"] == access_of(connection), _CALLS.validate_python(row["calls"]), row["now"])


async def save(tx: Transaction, connection: CalledConnection, locked: LockedCalls, calls: CallState) -> None:
    """Store the next state of locked calls."""
    await tx.execute(
        update(api_states)
        .where(api_states.c.tenant_id == connection.tenant_id, api_states.c.connection_id == connection.id)
        .values(calls=_CALLS.dump_python(calls, mode="json"))
    )
    if (calls.circuit, calls.credits_remaining) != (locked.calls.circuit, locked.calls.credits_remaining):
        await changed(tx, [(connection.tenant_id, connection.id)])


async def read(tx: Transaction, connection: CalledConnection) -> CallState:
    """The state of a connection's calls."""
    row = await tx.one_or_none(
        select(api_states.c.access, api_states.c.calls).where(
            api_states.c.tenant_id == connection.tenant_id, api_states.c.connection_id == connection.id
        )
    )
    return CallState() if row is None else _CALLS.validate_python(row["calls"])


async def token(tx: Transaction, connection: CalledConnection) -> StoredToken | None:
    """The token of the access that the connection has."""
    row = await tx.one_or_none(
        select(api_states.c.token, api_states.c.token_expires_at).where(
            api_states.c.tenant_id == connection.tenant_id,
            api_states.c.connection_id == connection.id,
            api_states.c.access == access_of(connection),
            api_states.c.token.is_not(None),
        )
    )
    return None if row is None else StoredToken(row["token"], row["token_expires_at"])


async def put_token(tx: Transaction, connection: CalledConnection, ciphertext: str, expires_at: datetime) -> None:
    """Store a token, unless the connection has been given another access meanwhile."""
    await tx.execute(
        update(api_states)
        .where(
            api_states.c.tenant_id == connection.tenant_id,
            api_states.c.connection_id == connection.id,
            api_states.c.access == access_of(connection),
        )
        .values(token=ciphertext, token_expires_at=expires_at)
    )


async def reset(tx: Transaction, connection: CalledConnection) -> None:
    """Forget what is known of calls and tokens, as the access is another one or none."""
    if connection.api is None:
        await tx.execute(
            delete(api_states).where(
                api_states.c.tenant_id == connection.tenant_id, api_states.c.connection_id == connection.id
            )
        )
        return
    fresh = {
        "access": access_of(connection),
        "calls": _CALLS.dump_python(CallState(), mode="json"),
        "token": None,
        "token_expires_at": None,
    }
    await tx.execute(
        insert(api_states)
        .values(tenant_id=connection.tenant_id, connection_id=connection.id, **fresh)
        .on_conflict_do_update(index_elements=["tenant_id", "connection_id"], set_=fresh)
    )


def access_of(connection: CalledConnection) -> str:
    """A digest that differs for another access of a connection, and reveals nothing of the credentials."""
    return sha256((connection.api or "").encode()).hexdigest()
