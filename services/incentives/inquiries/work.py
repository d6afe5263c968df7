"""The round that reports inquiries when the day they were due is over."""

from uuid import UUID

from services.incentives.inquiries.service import DUE_CHANNEL, Inquiries
from shared.db.database import Database, Scope
from shared.worker.rounds import Rounds


class OverdueInquiries(Rounds):
    """Comes when the next inquiry becomes overdue, and whenever that may be at another moment than before."""

    def __init__(self, database: Database, inquiries: Inquiries) -> None:
        super().__init__("overdue_inquiries", every_seconds=None, woken_by=database.channels(DUE_CHANNEL))
        self._database = database
        self._inquiries = inquiries

    async def round(self) -> bool:
        for tenant_id, due_on in await self._database.run(Scope.every(), self._inquiries.next_due):
            async with self._database.transaction(Scope.of(tenant_id)) as tx:
                overdue_at, now = await self._inquiries.end_of_day(tx, tenant_id, due_on), tx.now
            if now < overdue_at:
                self.come_again_at(overdue_at, now)
                continue
            while not self.is_stopping and await self._report_overdue(tenant_id):
                pass
            self.wake()
        return False

    async def _report_overdue(self, tenant_id: UUID) -> int:
        return await self._database.run(Scope.of(tenant_id), lambda tx: self._inquiries.report_overdue(tx, tenant_id))
