"""The round that keeps statements after a pay period was cut off or closed."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from services.incentives.periods.service import MOVED_CHANNEL
from services.incentives.plans.service import Plans
from services.incentives.statements.keeping import PayStatements
from shared.db.database import Database, Scope
from shared.kernel.errors import Unavailable
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_KEEP_SECONDS: Final = 900.0


class StatementKeeper(Rounds):
    """Comes when a pay period is cut off or closed; any number may run. What a killed one leaves is still to be kept.

    Each statement is read and kept in a transaction of its own: so many take that much longer, and no more memory.
    """

    def __init__(self, database: Database, plans: Plans, statements: PayStatements) -> None:
        super().__init__("statement_keeper", every_seconds=_KEEP_SECONDS, woken_by=database.channels(MOVED_CHANNEL))
        self._database = database
        self._plans = plans
        self._statements = statements

    async def round(self) -> bool:
        with self.notifications() as notified:
            if notified:
                await self.keep_all([UUID(tenant_id) for tenant_id in notified])
            else:
                await self.keep_all(await self._database.run(Scope.every(), self._plans.tenants))
        return False

    async def keep_all(self, tenant_ids: Sequence[UUID]) -> None:
        """Of these tenants. Raises Unavailable. One whose statements cannot be written is logged; the others go on."""
        for tenant_id in tenant_ids:
            try:
                await self._keep(tenant_id)
            except Unavailable:
                raise
            except Exception:
                _log.exception("statements_not_kept", tenant_id=str(tenant_id))

    async def _keep(self, tenant_id: UUID) -> None:
        scope, statements = Scope.of(tenant_id), self._statements
        for due in await self._database.run(scope, partial(statements.due, tenant_id=tenant_id)):
            for person_id in await self._database.run(scope, partial(statements.missing, tenant_id=tenant_id, due=due)):
                if self.is_stopping:
                    return
                keep = partial(statements.keep, tenant_id=tenant_id, due=due, person_id=person_id)
                await self._database.run(scope, keep)
            await self._database.run(scope, partial(statements.finish, tenant_id=tenant_id, due=due))
