"""What is known of the calls to a connection's API, for whoever shows or resets it."""

from services.tracking.intake.calling import store
from services.tracking.intake.calling.domain import CalledConnection, CallState
from shared.db.database import Transaction


async def call_state(tx: Transaction, connection: CalledConnection) -> CallState:
    """What is known of the calls to the connection's API."""
    return await store.read(tx, connection)


async def forget_calls(tx: Transaction, connection: CalledConnection) -> None:
    """Forget what is known of calls and tokens, as the access is another one or none."""
    await store.reset(tx, connection)
