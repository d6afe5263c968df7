"""What a change would post: the same rules as when it is made, without a lock and without a write."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import Owners
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.earnings import store
from services.incentives.earnings.domain.cells import StoredCell
from services.incentives.earnings.domain.preview import Effect, Preview, effects
from services.incentives.earnings.domain.settlement import Settlement
from services.incentives.earnings.supposing import SupposedRate, supposed_calendar, supposed_rates
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import Cause
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.assigning import Act, AssignmentRequest, Assignments
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.versions import PlanVersion, VersionStatus
from services.incentives.plans.scoring import Scoring, WantedScore
from services.incentives.plans.service import Plans
from shared.contracts.base import Event
from shared.contracts.org import CalendarState
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts
from shared.kernel.errors import InvalidInput, Refusals
from shared.kernel.sight import Sight

_SUPPOSED: Final = Cause.of_definitions(["preview v1"])
_ASSIGNMENTS_AT_ONCE: Final = 20
DEALS_MAX: Final = 100_000
"""How many deals are read at once, for some assignments."""
DEALS_READ_MAX: Final = 500_000
"""How many are read for one preview, some 20 seconds for each 100,000."""
_AT_ONCE: Final = 2


class PreviewTooLarge(InvalidInput):
    """A change moves more pay than one answer can be worked out for."""

    code = "preview_too_large"
    title = "Preview is too large"


class Previews:
    """Says where, for whom and for which pay period a change would post how much."""

    def __init__(
        self, plans: Plans, assignments: Assignments, scoring: Scoring, credits: Credits, pay_periods: PayPeriods
    ) -> None:
        self._plans = plans
        self._assignments = assignments
        self._scoring = scoring
        self._credits = credits
        self._pay_periods = pay_periods
        self.turn = asyncio.Semaphore(_AT_ONCE)
        """To be had before a connection to the database is: a preview may take long, and others need one as well."""

    async def of_version(self, tx: Transaction, tenant_id: UUID, version: PlanVersion) -> Preview:
        """Of letting a plan version pay; of one that pays already, what is still to be posted."""
        known = await self._credits.definitions(tx, tenant_id)
        plan_id, number = version.plan_id, version.number
        others = [each for each in known.versions.get(plan_id, ()) if each.number != number]
        active = replace(version, status=VersionStatus.ACTIVE)
        after = replace(known, versions={**known.versions, plan_id: [*others, active]})
        paid = [each.id for each in known.assignments.values() if each.plan_id == plan_id]
        return await self._of(tx, tenant_id, after, paid)

    async def of_assignment(self, tx: Transaction, tenant_id: UUID, stored: Assignment) -> Preview:
        """Of approving what is proposed of an assignment; of one without a proposal, what is still to be posted."""
        if stored.is_pending:
            request = AssignmentRequest("", stored.id, stored.version, Act.APPROVE)
            return await self.of_assignments(tx, tenant_id, [], [request], Refusals(alone=True))
        known = await self._credits.definitions(tx, tenant_id)
        return await self._of(tx, tenant_id, known, {stored.id, *known.sharing_pools([stored.id])})

    async def of_assignments(
        self,
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, Callable[[UUID], Assignment]]],
        requests: Sequence[AssignmentRequest],
        refusals: Refusals,
    ) -> Preview:
        """Of doing all of this to assignments and approving it. Raises what `Assignments.supposed` does."""
        known = await self._credits.definitions(tx, tenant_id)
        supposed = await self._assignments.supposed(tx, tenant_id, created, requests, refusals)
        changed = {each.id: each for each in supposed}
        after = replace(known, assignments={**known.assignments, **changed})
        return await self._of(tx, tenant_id, after, {*changed, *after.sharing_pools(changed)})

    async def of_calendar(self, tx: Transaction, tenant_id: UUID, states: Sequence[CalendarState]) -> Preview:
        """Of another fiscal calendar, other working days or another home currency. InvalidInput for what is none."""
        return await self._of_organisation(tx, tenant_id, lambda known: [supposed_calendar(tenant_id, known, states)])

    async def of_rates(self, tx: Transaction, tenant_id: UUID, rates: Sequence[SupposedRate]) -> Preview:
        """Of other exchange rates on some days. InvalidInput for what cannot be stated."""
        return await self._of_organisation(tx, tenant_id, lambda known: supposed_rates(tenant_id, known, rates))

    async def of_targets(self, tx: Transaction, tenant_id: UUID, targets: Mapping[UUID, Decimal]) -> Preview:
        """Of other targets of goals, which may be quotas. InvalidInput for a goal that has not arrived."""
        known = await self._credits.definitions(tx, tenant_id)
        goals = {}
        for number, (goal_id, target) in enumerate(targets.items()):
            goal = known.goals.get(goal_id)
            if goal is None:
                raise InvalidInput.field(f"/goals/{number}/goal_id", "is no goal that has arrived", "a goal")
            goals[goal_id] = replace(goal, target=target)
        after = replace(known, goals=known.goals.changed(goals))
        return await self._of(tx, tenant_id, after, after.touched_since(known))

    async def of_scores(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        wanted: Sequence[tuple[str, WantedScore]],
        refusals: Refusals,
    ) -> Preview:
        """Of giving objectives these scores. Raises what `Scoring.supposed` does."""
        known = await self._credits.definitions(tx, tenant_id)
        scores = dict(known.scores)
        given = await self._scoring.supposed(tx, tenant_id, sight, wanted, refusals)
        for assignment_id, of_assignment in given.items():
            counting = dict(scores.get(assignment_id, {}))
            for period, of_period in of_assignment.items():
                counting[period] = {**counting.get(period, {}), **of_period}
            scores[assignment_id] = counting
        after = replace(known, scores=scores)
        return await self._of(tx, tenant_id, after, {*given, *after.sharing_pools(given)})

    async def _of_organisation(
        self, tx: Transaction, tenant_id: UUID, arriving: Callable[[Mapping[str, Event]], Iterable[Event]]
    ) -> Preview:
        before, after = await self._credits.supposing(tx, tenant_id, arriving)
        return await self._of(tx, tenant_id, after, after.touched_since(before))

    async def _of(
        self, tx: Transaction, tenant_id: UUID, after: Definitions, assignment_ids: Collection[UUID]
    ) -> Preview:
        """Of working out these assignments anew by other definitions, some at a time, and who takes over from them."""
        wanted = set(assignment_ids)
        if after.asks_for_owners:
            leavers = [each for each in assignment_ids if after.hands_over(after.assignments[each])]
            takers = await self._credits.takers(tx, tenant_id, after, leavers)
            wanted.update(each for taking in takers.values() for each in taking)
        calendar = await self._pay_periods.calendar(tx, tenant_id, after.chart.calendar)
        opens = await ledger.opens(tx, tenant_id)
        found: list[Effect] = []
        read = 0
        ordered = sorted(wanted)
        for start in range(0, len(ordered), _ASSIGNMENTS_AT_ONCE):
            some = ordered[start : start + _ASSIGNMENTS_AT_ONCE]
            deals = await self._credits.facts_of_assignments(tx, tenant_id, after, some, limit=DEALS_MAX + 1)
            read += len(deals)
            if len(deals) > DEALS_MAX or read > DEALS_READ_MAX:
                raise PreviewTooLarge(
                    f"More than {DEALS_MAX} deals count for some people together, or {DEALS_READ_MAX} for all."
                )
            owners = await self._credits.owners(tx, tenant_id, after, [deal.deal_id for deal in deals])
            stored = await store.of_assignments(tx, tenant_id, some)
            # Pure and long: other requests are answered meanwhile.
            settlement = await asyncio.to_thread(_settled, after, some, deals, owners, list(stored.values()))
            found += effects(calendar, opens, settlement.postings, [each.cell for each in stored.values()])
        stale = (await self._plans.stale_ids(tx, [tenant_id])).get(tenant_id, set())
        return Preview(tuple(sorted(found, key=lambda each: each.order)), len(wanted & stale))


def _settled(
    after: Definitions,
    assignment_ids: Collection[UUID],
    deals: Iterable[DealFacts],
    owners: Mapping[UUID, Owners],
    stored: Collection[StoredCell],
) -> Settlement:
    """Some assignments worked out anew by other definitions."""
    only = frozenset(assignment_ids)
    credits = [credit for deal in deals for credit in after.credits(deal, owners.get(deal.deal_id, ()), only=only)]
    settlement = Settlement(after, {each.cell.key: each.cell for each in stored})
    settlement.rebuild(dict.fromkeys(only, _SUPPOSED), [each.cell.key for each in stored], credits)
    return settlement
