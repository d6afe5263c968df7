"""What a change of definitions would post: the same rules as when it is made, without a lock and without a write."""

from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.earnings import store
from services.incentives.earnings.domain.preview import Effect, effects
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import Cause
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.domain.versions import PlanVersion, VersionStatus
from shared.db.database import Transaction


class Previews:
    """Says where, for whom and for which pay period a change would post how much."""

    def __init__(self, credits: Credits, pay_periods: PayPeriods) -> None:
        self._credits = credits
        self._pay_periods = pay_periods

    async def of_version(self, tx: Transaction, tenant_id: UUID, version: PlanVersion) -> list[Effect]:
        """Of letting a plan version pay."""
        known = await self._credits.definitions(tx, tenant_id)
        plan_id, number = version.plan_id, version.number
        others = [each for each in known.versions.get(plan_id, ()) if each.number != number]
        active = replace(version, status=VersionStatus.ACTIVE)
        after = replace(known, versions={**known.versions, plan_id: [*others, active]})
        paid = [each.id for each in known.assignments.values() if each.plan_id == plan_id]
        return await self.of_definitions(tx, tenant_id, after, paid, f"plan/{plan_id} v{number}")

    async def of_definitions(
        self, tx: Transaction, tenant_id: UUID, after: Definitions, assignment_ids: Collection[UUID], change: str
    ) -> list[Effect]:
        """Of working out these assignments anew by other definitions, because of a change."""
        credits = await self._credits.worked_out(tx, tenant_id, after, assignment_ids)
        stored = await store.of_assignments(tx, tenant_id, assignment_ids)
        settlement = Settlement(after, {key: each.cell for key, each in stored.items()})
        settlement.rebuild(dict.fromkeys(assignment_ids, Cause.of_definitions([change])), stored, credits)
        calendar = await self._pay_periods.calendar(tx, tenant_id, after.chart.calendar)
        return effects(calendar, await ledger.opens(tx, tenant_id), settlement.postings)
