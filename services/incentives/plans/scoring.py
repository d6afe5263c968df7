"""The use cases of scores: given with evidence by somebody else than the person, kept for good, paid at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from services.incentives.plans import store
from services.incentives.plans.domain.assignments import Assignment, AssignmentNotFound, AssignmentStatus
from services.incentives.plans.domain.scores import Score, ScorerNotPerson, scored_period
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, check_no_own_interest
from shared.kernel.errors import Refusals
from shared.kernel.periods import Period
from shared.kernel.sight import Sight


@dataclass(frozen=True, slots=True)
class WantedScore:
    """`percent` of one objective of an assignment in the period that begins with `start`."""

    assignment_id: UUID
    component: str
    objective: str
    start: date
    percent: Decimal


class Scoring:
    """The scores of people's objectives."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    async def score(
        self,
        tx: Transaction,
        tenant_id: UUID,
        assignment_id: UUID,
        sight: Sight,
        *,
        component: str,
        objective: str,
        start: date,
        percent: Decimal,
        evidence: str,
        scorer: Actor,
    ) -> Score:
        """Give an objective its score in a period, in place of any before. What it pays is worked out anew.

        Raises AssignmentNotFound, also for one that is out of sight; OwnInterest when the scorer is the person;
        ScorerNotPerson for a service; InvalidInput for what cannot be scored so.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        stored = await self._seen(tx, tenant_id, assignment_id, sight)
        if scorer.person_id is None:
            raise ScorerNotPerson("An objective is scored by a person, not by a service.")
        check_no_own_interest(scorer, [stored.person_id], "a score")
        wanted = WantedScore(assignment_id, component, objective, start, percent)
        period = await self._period(tx, tenant_id, stored, wanted)
        number = 1 + await store.last_score(tx, tenant_id, assignment_id)
        score = Score(assignment_id, number, component, objective, period, percent, evidence, scorer, tx.now)
        await store.add_score(tx, tenant_id, score)
        await self._plans.assignments_changed(tx, tenant_id, {assignment_id: [f"score/{assignment_id} v{number}"]})
        return score

    async def supposed(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        wanted: Sequence[tuple[str, WantedScore]],
        refusals: Refusals,
    ) -> dict[UUID, dict[tuple[str, date], dict[str, Decimal]]]:
        """What these scores would be, by assignment, component with first day, and objective. Nothing is stored.

        Each comes with a pointer to where it is asked for. Raises ItemsRefused for assignments that are out of sight,
        and for what cannot be scored so.
        """
        found: dict[UUID, dict[tuple[str, date], dict[str, Decimal]]] = {}
        for pointer, each in wanted:
            with refusals.at(pointer):
                stored = await self._seen(tx, tenant_id, each.assignment_id, sight)
                period = await self._period(tx, tenant_id, stored, each)
                of_assignment = found.setdefault(each.assignment_id, {})
                of_assignment.setdefault((each.component, period.start), {})[each.objective] = each.percent
        refusals.check()
        return found

    async def list_scores(
        self,
        tx: Transaction,
        tenant_id: UUID,
        assignment_id: UUID,
        sight: Sight,
        *,
        counting: bool,
        after: int,
        limit: int,
    ) -> list[Score]:
        """The scores of an assignment above a number, in their order; `counting` leaves out those that were replaced.

        Raises AssignmentNotFound.
        """
        await self._seen(tx, tenant_id, assignment_id, sight)
        return await store.scores(tx, tenant_id, assignment_id, counting=counting, after=after, limit=limit)

    async def _period(self, tx: Transaction, tenant_id: UUID, stored: Assignment, wanted: WantedScore) -> Period:
        plan = await store.PLANS.get(tx, tenant_id, stored.plan_id)
        return scored_period(
            stored,
            plan,
            await store.versions(tx, tenant_id, plan),
            await self._plans.fiscal_calendar(tx, tenant_id),
            component=wanted.component,
            objective=wanted.objective,
            start=wanted.start,
            percent=wanted.percent,
        )

    async def _seen(self, tx: Transaction, tenant_id: UUID, assignment_id: UUID, sight: Sight) -> Assignment:
        stored = await store.ASSIGNMENTS.get(tx, tenant_id, assignment_id)
        if stored.status is not AssignmentStatus.APPROVED or not sight.sees_person(stored.person_id):
            raise AssignmentNotFound(f"There is no assignment {assignment_id} that is approved.")
        return stored
