"""The Kafka edge: deals, and the definitions that goals publishes."""

from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.earnings.service import Earnings
from shared.contracts.deals import Deal
from shared.contracts.goals import Goal
from shared.contracts.org import Calendar, ExchangeRates, Identity, Membership, Person, Team
from shared.db.database import Scope, TenantLock, Transaction
from shared.db.projection import Snapshot
from shared.kafka.domain import Batch, Record
from shared.kafka.events import events_of, tenants_of

DEALS_GROUP = "attain.incentives.deals"
DEFINITIONS_GROUP = "attain.incentives.definitions"


class DealsHandler:
    """Credits deals."""

    def __init__(self, earnings: Earnings) -> None:
        self._earnings = earnings

    def scope(self, batch: Batch) -> Scope:
        """Whose deals these are, beside others who settle some. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.SHARED)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Settle a batch of deals. Raises Poison."""
        incoming = [
            ReceivedDeal(event.tenant_id, event.facts(), _text(record), event.connection_id)
            for record, event in events_of(batch)
            if isinstance(event, Deal)
        ]
        await self._earnings.apply_deals(tx, tenants_of(batch), incoming)


class DefinitionsHandler:
    """Stores the organisation, the exchange rates and the goals."""

    def __init__(self, earnings: Earnings) -> None:
        self._earnings = earnings

    def scope(self, batch: Batch) -> Scope:
        """Whose definitions these are, for itself alone. Raises Poison."""
        return Scope.of(*tenants_of(batch), lock=TenantLock.EXCLUSIVE)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Apply a batch of snapshots. Raises Poison."""
        snapshots = [
            Snapshot(event.tenant_id, event.subject, event.event_type, event.version, _text(record))
            for record, event in events_of(batch)
            if isinstance(event, Calendar | Person | Team | Membership | Identity | ExchangeRates | Goal)
        ]
        await self._earnings.apply_definitions(tx, tenants_of(batch), snapshots)


def _text(record: Record) -> str:
    return (record.value or b"").decode()
