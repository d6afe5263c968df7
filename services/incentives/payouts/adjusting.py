"""The use cases of manual adjustments: propose, approve, reject, withdraw."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from services.incentives.credits.domain.credit import PersonNotInSight
from services.incentives.credits.service import Credits
from services.incentives.ledger import service as ledger
from services.incentives.payouts import store
from services.incentives.payouts.domain.adjustments import (
    Adjustment,
    AdjustmentNotFound,
    AdjustmentStatus,
    approved,
    posting_of,
    rejected,
    withdrawn,
)
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, Decision, check_no_own_interest
from shared.kernel.sight import WHOLE_TENANT, Sight


class Adjustments:
    """The manual adjustments of every tenant."""

    def __init__(self, plans: Plans, credits: Credits, pay_periods: PayPeriods) -> None:
        self._plans = plans
        self._credits = credits
        self._pay_periods = pay_periods

    async def list_adjustments(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        *,
        person_id: UUID | None,
        status: AdjustmentStatus | None,
        after: UUID | None,
        limit: int,
    ) -> list[Adjustment]:
        """Those of people in sight, the oldest first."""
        people = sight.narrowed(person_id)
        return await store.list_adjustments(tx, tenant_id, people=people, status=status, after=after, limit=limit)

    async def get_adjustment(self, tx: Transaction, tenant_id: UUID, adjustment_id: UUID, sight: Sight) -> Adjustment:
        """Raises AdjustmentNotFound, also for one of somebody out of sight."""
        found = await store.ADJUSTMENTS.get(tx, tenant_id, adjustment_id)
        if not sight.sees_person(found.person_id):
            raise AdjustmentNotFound(f"There is no adjustment {adjustment_id}.")
        return found

    async def propose(
        self,
        tx: Transaction,
        tenant_id: UUID,
        person_id: UUID,
        plan_id: UUID,
        amount: Decimal,
        reason: str,
        *,
        actor: Actor,
    ) -> Adjustment:
        """Raises PlanNotFound, PersonNotInSight for somebody who was never on the plan, OwnInterest, InvalidInput."""
        plan = await self._plans.get_plan(tx, tenant_id, plan_id, WHOLE_TENANT)
        known = await self._credits.definitions(tx, tenant_id)
        if not any(
            (each.person_id, each.plan_id) == (person_id, plan_id) and not each.deleted
            for each in known.assignments.values()
        ):
            raise PersonNotInSight(f"Person {person_id} is not on the plan {plan.name}.")
        check_no_own_interest(actor, [person_id], "an adjustment")
        proposed = Adjustment(tx.new_id(), 1, person_id, plan_id, plan.currency, amount, reason, actor, tx.now)
        return await store.ADJUSTMENTS.add(tx, tenant_id, proposed)

    async def approve(
        self, tx: Transaction, tenant_id: UUID, adjustment_id: UUID, expected_version: int, decision: Decision
    ) -> Adjustment:
        """Post it in the pay period of today, or the first that still takes postings.

        Raises AdjustmentNotFound, AdjustmentDecided, VersionMismatch, ApprovalNotIndependent.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        saved = await self._decide(tx, tenant_id, adjustment_id, expected_version, approved, decision)
        fiscal = (await self._credits.chart(tx, tenant_id)).calendar
        calendar = await self._pay_periods.calendar(tx, tenant_id, fiscal)
        period = calendar.containing(fiscal.business_date(tx.now)).period
        await ledger.post(tx, tenant_id, [posting_of(saved, period)])
        return saved

    async def reject(
        self, tx: Transaction, tenant_id: UUID, adjustment_id: UUID, expected_version: int, decision: Decision
    ) -> Adjustment:
        """Raises AdjustmentNotFound, AdjustmentDecided, OwnInterest, VersionMismatch."""
        return await self._decide(tx, tenant_id, adjustment_id, expected_version, rejected, decision)

    async def withdraw(
        self, tx: Transaction, tenant_id: UUID, adjustment_id: UUID, expected_version: int, decision: Decision
    ) -> Adjustment:
        """Raises AdjustmentNotFound, AdjustmentDecided, NotTheProposer, VersionMismatch."""
        return await self._decide(tx, tenant_id, adjustment_id, expected_version, withdrawn, decision)

    async def _decide(
        self,
        tx: Transaction,
        tenant_id: UUID,
        adjustment_id: UUID,
        expected_version: int,
        decided: Callable[[Adjustment, Decision], Adjustment],
        decision: Decision,
    ) -> Adjustment:
        stored = await store.ADJUSTMENTS.for_change(tx, tenant_id, adjustment_id, expected_version)
        return await store.ADJUSTMENTS.save(tx, tenant_id, decided(stored, decision))
