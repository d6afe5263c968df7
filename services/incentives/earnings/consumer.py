"""The Kafka edge: deals, and the definitions that goals publishes."""

from collections.abc import Collection, Iterator
from uuid import UUID

from services.incentives.credits.store import StoredDeal
from services.incentives.earnings import service
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.contracts.envelope import MalformedEvent, from_record, tenant_of
from shared.contracts.goals import Goal
from shared.contracts.org import Calendar, ExchangeRates, Identity, Membership, Person, Team
from shared.db.database import Transaction
from shared.db.projection import Snapshot
from shared.kafka.consumer import Batch, Poison, Record

DEALS_GROUP = "attain.incentives.deals"
DEFINITIONS_GROUP = "attain.incentives.definitions"


class DealsHandler:
    """Credits deals."""

    def tenants(self, batch: Batch) -> Collection[UUID]:
        """Whose deals these are."""
        return _tenants(batch)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Settle a batch of deals."""
        incoming = [
            StoredDeal(event.tenant_id, event.facts(), _text(record))
            for record, event in _events(batch)
            if isinstance(event, Deal)
        ]
        await service.apply_deals(tx, _tenants(batch), incoming)


class DefinitionsHandler:
    """Keeps the organisation, the exchange rates and the goals."""

    def tenants(self, batch: Batch) -> Collection[UUID]:
        """Whose definitions these are."""
        return _tenants(batch)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        """Keep a batch of snapshots."""
        snapshots = [
            Snapshot(event.tenant_id, event.subject, event.event_type, event.version, _text(record))
            for record, event in _events(batch)
            if isinstance(event, Calendar | Person | Team | Membership | Identity | ExchangeRates | Goal)
        ]
        await service.apply_definitions(tx, _tenants(batch), snapshots)


def _tenants(batch: Batch) -> set[UUID]:
    found = set()
    for record in batch:
        try:
            found.add(tenant_of(record.headers))
        except MalformedEvent as error:
            raise Poison(record, str(error), reason="malformed") from error
    return found


def _events(batch: Batch) -> Iterator[tuple[Record, Event]]:
    for record in batch:
        try:
            event = from_record(record.headers, record.value)
        except MalformedEvent as error:
            raise Poison(record, str(error), reason="malformed") from error
        if event is not None:
            yield record, event


def _text(record: Record) -> str:
    return (record.value or b"").decode()
