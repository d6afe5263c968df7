"""Deals won around the end of June, and a tenant of tracking with a goal for June and one for July."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from services.tracking.measure.progress import store
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.measure.progress.work import Rebuilder
from services.tracking.metadata import transport
from shared.contracts import deals, goals, org
from shared.contracts.base import Event
from shared.db.database import Database, Scope
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import deal_id
from shared.kernel.money import format_amount
from shared.kernel.periods import Period
from shared.outbox.outbox import Outbox

NOW = datetime(2026, 7, 15, tzinfo=UTC)
CONNECTION = UUID(int=1)
JUNE = Period(date(2026, 6, 1), date(2026, 7, 1))
JULY = Period(date(2026, 7, 1), date(2026, 8, 1))


def won(tenant_id: UUID, number: int, closed_at: datetime | None, *, amount: int = 1) -> deals.Deal:
    external_id = f"D-{number}"
    return deals.Deal(
        tenant_id=tenant_id,
        id=deal_id(CONNECTION, external_id),
        connection_id=CONNECTION,
        source="crm",
        external_id=external_id,
        kind=DealKind.UPSERTED,
        modified_at=NOW,
        sequence=number,
        delivery_id=UUID(int=number),
        received_at=NOW,
        status=DealStatus.WON,
        owner_external_id="u1",
        name=None,
        amount=Decimal(amount),
        currency="EUR",
        created_at=None,
        expected_close_on=None,
        closed_at=closed_at,
        closed_on=None,
        stage=None,
        pipeline=None,
        probability=None,
        type=None,
        channel=None,
        region=None,
        account_id=None,
        account_name=None,
        merged_into=None,
        splits=(),
        products=(),
        custom={},
    )


class Tenant:
    """One whose calendar is in a zone and which has a goal of won euros in June and one in July."""

    def __init__(self, database: Database) -> None:
        self.id = uuid4()
        self.database = database
        self.scope = Scope.of(self.id)
        self.definitions = DefinitionsCache()
        self.tracker = ProgressTracker(Outbox(transport), self.definitions)
        self.person, self.june, self.july = uuid4(), uuid4(), uuid4()

    async def define(self, *events: Event) -> None:
        async with self.database.transaction(self.scope) as tx:
            await self.tracker.define(tx, events)

    async def found(self, zone: str) -> None:
        await self.define(
            org.Calendar(tenant_id=self.id, version=1, start_month=1, time_zone=zone, currency="EUR"),
            self.goal(self.june, JUNE),
            self.goal(self.july, JULY),
        )

    def goal(self, goal_id: UUID, period: Period) -> goals.Goal:
        return goals.Goal.model_validate(
            {
                "tenant_id": self.id,
                "id": goal_id,
                "version": 1,
                "revision": 1,
                "status": "active",
                "name": "Won",
                "owner": {"kind": "person", "id": self.person},
                "metric": {
                    "aggregate": "sum",
                    "value_field": "amount",
                    "date_field": "closed",
                    "filter": {"all": []},
                    "currency": "EUR",
                },
                "target": Decimal(1000),
                "baseline": Decimal(0),
                "unit": "EUR",
                "direction": "higher",
                "start": period.start,
                "end": period.end,
                "parent_id": None,
                "weight": Decimal(1),
            }
        )

    def mapped(self) -> org.Identity:
        return org.Identity(
            tenant_id=self.id,
            id=uuid4(),
            version=1,
            source="crm",
            external_user_id="u1",
            person_id=self.person,
            deleted=False,
        )

    async def take(self, batch: Sequence[deals.Deal]) -> None:
        async with self.database.transaction(self.scope) as tx:
            await self.tracker.apply(tx, [self.id], [batch], stripe=0)

    async def values(self) -> tuple[str, str]:
        """What June and July stand at."""
        async with self.database.transaction(self.scope) as tx:
            states = await store.states(tx, [(self.id, self.june), (self.id, self.july)])
        values = {state.goal_id: format_amount(state.value) for state in states if not state.stale}
        return values[self.june], values[self.july]

    async def rebuild(self) -> None:
        await Rebuilder(self.database, self.tracker).rebuild_all()
