"""The Kafka edge of evidence: what people reached, as tracking publishes it."""

from typing import Final

from services.goals.evidence.service import Evidence
from shared.contracts.actuals import Actuals
from shared.db.database import Scope, Transaction
from shared.kafka.domain import Batch
from shared.kafka.events import events_of, tenants_of

EVIDENCE_GROUP: Final = "attain.goals.evidence"


class ActualsHandler:
    """Batches of `attain.actuals.v1`: stored. No change of a goal or a person waits for it."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    def scope(self, batch: Batch) -> Scope:
        """The tenants in the records' headers, without a lock. Raises Poison."""
        return Scope.of(*tenants_of(batch))

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Store what is newer. Raises Poison."""
        await self._evidence.store_newest(tx, [event for _, event in events_of(batch) if isinstance(event, Actuals)])
