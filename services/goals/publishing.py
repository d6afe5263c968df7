"""How the rooms of this service say what changed."""

from collections.abc import Sequence
from typing import Final

from services.goals.metadata import transport
from shared.contracts.base import Event
from shared.contracts.envelope import to_message
from shared.db.database import Transaction
from shared.outbox.outbox import Outbox
from shared.telemetry.tracing import current_traceparent

_OUTBOX: Final = Outbox(transport)


async def publish(tx: Transaction, events: Sequence[Event]) -> None:
    """Publish these snapshots once the transaction is committed, in this order for each subject."""
    traceparent = current_traceparent()
    await _OUTBOX.append(
        tx,
        [
            to_message(event, event_id=tx.new_id(), source="goals", time=tx.now, traceparent=traceparent)
            for event in events
        ],
    )
