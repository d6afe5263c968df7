"""The use cases of evidence: what tracking publishes is stored, and read by whoever plans or looks."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from uuid import UUID

from services.goals.evidence import store
from services.goals.evidence.domain import Actuals, ActualsFilter, MonthOfPerson
from shared.contracts import actuals as contract
from shared.db.database import Transaction
from shared.kernel.sight import Sight


class Evidence:
    """What everybody won and has open, month by month."""

    async def store_newest(self, tx: Transaction, events: Iterable[contract.Actuals]) -> None:
        """Store what is newer than what is stored; duplicates and late ones change nothing."""
        newest: dict[tuple[UUID, MonthOfPerson], Actuals] = {}
        for event in events:
            found = _actuals(event)
            before = newest.get((event.tenant_id, found.of))
            if before is None or before.version < found.version:
                newest[event.tenant_id, found.of] = found
        if newest:
            await store.store_newest(tx, newest)

    async def of(
        self, tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID], months: Collection[date]
    ) -> Mapping[MonthOfPerson, Actuals]:
        """What these people reached in these months, named by their first days; where there is nothing, none.

        A key is a tuple of person and month.
        """
        return {found.of: found for found in await store.of(tx, tenant_id, person_ids, months)}

    async def tenants(self, tx: Transaction) -> Sequence[UUID]:
        """Every tenant in scope of which something is stored."""
        return await store.tenants(tx)

    async def people(self, tx: Transaction, tenant_id: UUID) -> Sequence[UUID]:
        """Everybody of whom something is stored."""
        return await store.people(tx, tenant_id)

    async def published_of(
        self, tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]
    ) -> Sequence[contract.Actuals]:
        """Every month of these people that is stored, as it was published."""
        return [_event(tenant_id, found) for found in await store.of_people(tx, tenant_id, person_ids)]

    async def list_actuals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        *,
        person_id: UUID | None,
        start: date | None,
        end: date | None,
        after: tuple[UUID, date] | None,
        limit: int,
    ) -> Sequence[Actuals]:
        """Those of the people in sight, by person and month."""
        wanted = ActualsFilter(sight.narrowed(person_id), start, end)
        return await store.page(tx, tenant_id, wanted, after=after, limit=limit)


def _actuals(event: contract.Actuals) -> Actuals:
    return Actuals(
        MonthOfPerson(event.person_id, date.fromisoformat(f"{event.month}-01")),
        event.version,
        event.currency,
        event.won_value,
        event.won_number,
        event.open_value,
        event.open_number,
        event.unconverted,
        event.changed_at,
    )


def _event(tenant_id: UUID, found: Actuals) -> contract.Actuals:
    return contract.Actuals(
        tenant_id=tenant_id,
        person_id=found.of.person_id,
        month=f"{found.of.month:%Y-%m}",
        version=found.version,
        currency=found.currency,
        won_value=found.won_value,
        won_number=found.won_number,
        open_value=found.open_value,
        open_number=found.open_number,
        unconverted=found.unconverted,
        changed_at=found.changed_at,
    )
