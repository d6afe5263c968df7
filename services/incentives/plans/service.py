"""The use cases of plans, and what depends on them.

Every change holds its tenant's lock. One that changes what is paid marks the assignments it touches stale in the same
transaction; the worker, woken at the commit, works them out anew.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from services.incentives.plans import store
from services.incentives.plans.domain.assignments import Assignment, QuotaGoal
from services.incentives.plans.domain.components import Component, check_periods
from services.incentives.plans.domain.history import VersionChange
from services.incentives.plans.domain.re_earnings import ReEarning, ReEarningNotFound, ReEarningState, worked_at
from services.incentives.plans.domain.rules import NO_RULES, PeriodRules
from services.incentives.plans.domain.scores import Scores, counting
from services.incentives.plans.domain.versions import (
    ChangeKind,
    Plan,
    PlanNotFound,
    PlanVersion,
    VersionStatus,
    activated,
    approved,
    edited,
    numbered,
    proposal_of,
)
from services.incentives.plans.store import PlanState, StaleAssignment
from services.incentives.plans.tables import projection
from shared.contracts.goals import Direction, Goal, GoalStatus
from shared.contracts.org import Calendar, Person
from shared.db.database import Transaction
from shared.db.projection import Projection, Snapshot
from shared.kernel.approvals import Actor, Proposal
from shared.kernel.errors import check_version
from shared.kernel.money import known_currency
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind
from shared.kernel.sight import Sight

STALE_CHANNEL: Final = "incentives_stale"
"""Notified when assignments were marked stale."""
_RE_EARNINGS_KEPT: Final = timedelta(days=90)
_COUNTING: Final = (GoalStatus.ACTIVE, GoalStatus.CLOSED)


class Plans:
    """The plans, versions and assignments of every tenant, and what goals published that pay depends on."""

    def __init__(self) -> None:
        self._projection = Projection(projection)

    async def list_plans(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, *, after: UUID | None, limit: int
    ) -> list[Plan]:
        """The plans in sight, in the order of their ids."""
        return await store.list_plans(tx, tenant_id, people=sight.people, after=after, limit=limit)

    async def get_plan(self, tx: Transaction, tenant_id: UUID, plan_id: UUID, sight: Sight) -> Plan:
        """Raises PlanNotFound, also for a plan that is out of sight."""
        found = await store.PLANS.get(tx, tenant_id, plan_id)
        if not sight.is_whole and not sight.sees_plan(await store.paid_by(tx, tenant_id, plan_id)):
            raise PlanNotFound(f"There is no plan {plan_id}.")
        return found

    async def create_plan(self, tx: Transaction, tenant_id: UUID, name: str, currency: str, period: PeriodKind) -> Plan:
        """A plan without terms. InvalidInput for what is no currency."""
        created = Plan(tx.new_id(), name, known_currency(currency), period)
        return await store.PLANS.add(tx, tenant_id, created)

    async def change_plan(
        self, tx: Transaction, tenant_id: UUID, plan_id: UUID, name: str, *, expected_version: int
    ) -> Plan:
        """Raises PlanNotFound, VersionMismatch."""
        stored = await store.PLANS.for_change(tx, tenant_id, plan_id, expected_version)
        return await store.PLANS.save(tx, tenant_id, replace(stored, name=name, version=stored.version + 1))

    async def list_versions(self, tx: Transaction, tenant_id: UUID, plan_id: UUID, sight: Sight) -> list[PlanVersion]:
        """The versions of a plan whose terms are in sight, by number. Raises PlanNotFound as `get_plan` does."""
        found = await store.versions(tx, tenant_id, await self.get_plan(tx, tenant_id, plan_id, sight))
        return [
            each
            for each in found
            if sight.sees_terms(
                is_approved=each.status is VersionStatus.APPROVED, is_active=each.status is VersionStatus.ACTIVE
            )
        ]

    async def every_version(self, tx: Transaction, tenant_id: UUID, plan: Plan) -> list[PlanVersion]:
        """All versions of a plan, by number."""
        return await store.versions(tx, tenant_id, plan)

    async def create_version(
        self,
        tx: Transaction,
        tenant_id: UUID,
        plan_id: UUID,
        *,
        effective_from: date,
        components: tuple[Component, ...],
        note: str | None,
        author: Actor,
        rules: PeriodRules = NO_RULES,
    ) -> PlanVersion:
        """A draft with the next number. Raises PlanNotFound; InvalidInput for terms that do not fit the plan."""
        stored = await store.PLANS.locked(tx, tenant_id, plan_id)
        check_periods(components, stored.period)
        number = 1 + max((known.number for known in await store.versions(tx, tenant_id, stored)), default=0)
        draft = PlanVersion(
            plan_id, number, VersionStatus.DRAFT, effective_from, components, note, author.person_id, rules=rules
        )
        await store.add_version(tx, tenant_id, draft)
        await store.add_change(tx, tenant_id, ChangeKind.DRAFTED, author, before=None, after=draft)
        return draft

    async def change_version(
        self,
        tx: Transaction,
        tenant_id: UUID,
        plan_id: UUID,
        number: int,
        *,
        effective_from: date,
        components: tuple[Component, ...],
        rules: PeriodRules,
        note: str | None,
        editor: Actor,
        expected_version: int,
    ) -> PlanVersion:
        """Put other terms into a draft, of which the editor is an author from then on.

        Raises PlanVersionNotDraft, VersionMismatch and what `create_version` does.
        """
        plan, current = await _locked_version(tx, tenant_id, plan_id, number, expected_version)
        check_periods(components, plan.period)
        saved = edited(current, effective_from=effective_from, components=components, rules=rules, note=note)
        await store.save_version(tx, tenant_id, saved)
        await store.add_change(tx, tenant_id, ChangeKind.EDITED, editor, before=current, after=saved)
        return saved

    async def approve_version(
        self, tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, *, approver: Actor, expected_version: int
    ) -> PlanVersion:
        """Raises PlanVersionNotDraft, ApprovalNotIndependent, VersionMismatch."""
        plan, current = await _locked_version(tx, tenant_id, plan_id, number, expected_version)
        saved = approved(current, approver, await _proposal(tx, tenant_id, plan, current))
        await store.save_version(tx, tenant_id, saved)
        await store.add_change(tx, tenant_id, ChangeKind.APPROVED, approver, before=current, after=saved)
        return saved

    async def activate_version(
        self, tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, *, actor: Actor, expected_version: int
    ) -> PlanVersion:
        """Let the terms pay; every assignment of the plan is worked out anew.

        Raises PlanVersionNotApproved, VersionMismatch; ApprovalNotIndependent when who approved is paid by them by now.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        plan, current = await _locked_version(tx, tenant_id, plan_id, number, expected_version)
        saved = activated(current, await _proposal(tx, tenant_id, plan, current))
        await store.save_version(tx, tenant_id, saved)
        await store.add_change(tx, tenant_id, ChangeKind.ACTIVATED, actor, before=current, after=saved)
        await self._projection.bump(tx, [tenant_id])
        touched = await store.assignment_ids_of_plan(tx, tenant_id, plan_id)
        await self.mark_stale(tx, tenant_id, {each: [f"plan/{plan_id} v{number}"] for each in touched})
        return saved

    async def list_version_changes(
        self, tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, *, after: int, limit: int
    ) -> list[VersionChange]:
        """What was done to a version after its revision `after`, oldest first."""
        return await store.changes(tx, tenant_id, plan_id, number, after=after, limit=limit)

    async def people(self, tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> dict[UUID, Person]:
        """Those of these people that are known yet."""
        stored = await store.bodies(tx, tenant_id, {f"person/{person_id}" for person_id in person_ids})
        people = [Person.from_json(body) for body in stored.values()]
        return {person.id: person for person in people}

    async def person_names(self, tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> dict[UUID, str]:
        """The names of those people that are known yet."""
        known = await self.people(tx, tenant_id, person_ids)
        return {person.id: person.name for person in known.values()}

    async def inactive_people(self, tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of these people who are known and not active any more."""
        stored = await store.bodies(tx, tenant_id, {f"person/{person_id}" for person_id in person_ids})
        people = [Person.from_json(body) for body in stored.values()]
        return frozenset(person.id for person in people if not person.active)

    async def quota_goals(
        self, tx: Transaction, tenant_id: UUID, assignments: Iterable[Assignment]
    ) -> dict[UUID, QuotaGoal]:
        """The goals that quotas of these assignments name, as far as they have arrived."""
        wanted = {
            goal_id for each in assignments for quota in each.quotas.values() for _, goal_id in quota.named_goals()
        }
        stored = await store.bodies(tx, tenant_id, {f"goal/{goal_id}" for goal_id in wanted}) if wanted else {}
        goals = (Goal.from_json(body) for body in stored.values())
        return {goal.id: quota_goal(goal) for goal in goals}

    async def fiscal_calendar(self, tx: Transaction, tenant_id: UUID) -> FiscalCalendar:
        """The tenant's calendar; January and UTC until it has set one."""
        return await _fiscal_calendar(tx, tenant_id)

    async def assignments_changed(
        self, tx: Transaction, tenant_id: UUID, changes: Mapping[UUID, Sequence[str]]
    ) -> None:
        """Let everybody read the assignments anew, and have each worked out because of its changes.

        Whoever shares a pool with one of them is worked out as well.
        """
        if changes:
            await self._projection.bump(tx, [tenant_id])
            touched: dict[UUID, list[str]] = {each: list(causes) for each, causes in changes.items()}
            for changed, other in await store.sharing_pools(tx, tenant_id, changes.keys()):
                causes = touched.setdefault(other, [])
                causes += [cause for cause in changes[changed] if cause not in causes]
            await self.mark_stale(tx, tenant_id, touched)

    async def mark_stale(self, tx: Transaction, tenant_id: UUID, changes: Mapping[UUID, Sequence[str]]) -> None:
        """Have assignments worked out anew, each because of its changes (each `<subject> v<version>`).

        A re-earning counts them from now on.
        """
        if changes:
            await store.mark_stale(tx, tenant_id, changes)
            await tx.notify(STALE_CHANNEL)

    async def take_stale(self, tx: Transaction, tenant_id: UUID, limit: int) -> list[StaleAssignment]:
        """The longest stale assignments of a tenant that nobody else has taken, unmarked.

        The caller works them out before it commits.
        """
        return await store.take_stale(tx, tenant_id, limit)

    async def advance_re_earnings(
        self, tx: Transaction, tenant_id: UUID, worked_out: Sequence[StaleAssignment], *, worked_ms: int
    ) -> None:
        """Count what was taken as worked out, in so long."""
        worked = worked_at([each.re_earnings for each in worked_out], worked_ms)
        if worked:
            await store.advance(tx, tenant_id, worked)

    async def fail_re_earnings(self, tx: Transaction, tenant_id: UUID, failure: str) -> None:
        """Say why no stale assignment of a tenant can be worked out; until one is."""
        await store.fail_re_earnings(tx, tenant_id, failure)

    async def tidy_re_earnings(self, tx: Transaction, tenant_id: UUID) -> None:
        """Forget those that ended months ago, and end those whose assignments no process has counted."""
        await store.tidy_re_earnings(tx, tenant_id, tx.now - _RE_EARNINGS_KEPT)

    async def list_re_earnings(
        self,
        tx: Transaction,
        tenant_id: UUID,
        *,
        state: ReEarningState | None,
        cause: str | None,
        after: UUID | None,
        limit: int,
    ) -> list[ReEarning]:
        """By id, which is the order of the changes; those in a state, and of one change."""
        return await store.list_re_earnings(tx, tenant_id, state=state, cause=cause, after=after, limit=limit)

    async def get_re_earning(self, tx: Transaction, tenant_id: UUID, re_earning_id: UUID) -> ReEarning:
        """Raises ReEarningNotFound."""
        found = await store.find_re_earning(tx, tenant_id, re_earning_id)
        if found is None:
            raise ReEarningNotFound(f"There is no re-earning {re_earning_id}.")
        return found

    async def lock_assignments(self, tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]) -> None:
        """Be the only one to settle these assignments until the end of the transaction.

        For who holds the tenant's lock together with others. Lock all at once: who locks more later may be rolled back
        as a deadlock.
        """
        await store.lock_assignments(tx, tenant_id, assignment_ids)

    async def stale_ids(self, tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
        """The stale assignments of each of these tenants."""
        return await store.stale_ids(tx, tenant_ids)

    async def states(self, tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, PlanState]:
        """The state of the definitions of each of these tenants."""
        return await store.states(tx, tenant_ids)

    async def stale_tenants(self, tx: Transaction) -> list[UUID]:
        """Every tenant with stale assignments, as far as the transaction sees tenants."""
        return await store.stale_tenants(tx)

    async def store_newest(self, tx: Transaction, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Store what goals published, as far as it is newer; those that are."""
        return await self._projection.store_newest(tx, snapshots)

    async def revision(self, tx: Transaction, tenant_id: UUID) -> int:
        """Grows with every change of the tenant's definitions."""
        return (await self._projection.revisions(tx, [tenant_id]))[tenant_id]

    async def published_versions(
        self, tx: Transaction, keys: Sequence[tuple[UUID, str]]
    ) -> Mapping[tuple[UUID, str], int]:
        """The version that has arrived of each of these tenants' subjects; those that have not are left out."""
        return await self._projection.versions(tx, keys)

    async def since(
        self, tx: Transaction, tenant_id: UUID, revision: int
    ) -> tuple[list[Snapshot], dict[UUID, Plan], dict[UUID, list[PlanVersion]], dict[UUID, Assignment]]:
        """What arrived of goals after a revision (-1: ever); all plans, versions and assignments, also deleted ones."""
        return await self._projection.since(tx, tenant_id, revision), *await store.everything(tx, tenant_id)

    async def scores(self, tx: Transaction, tenant_id: UUID) -> dict[UUID, Scores]:
        """The scores of objectives that count, by assignment."""
        return dict(counting(await store.all_scores(tx, tenant_id)))

    async def has_assignments(self, tx: Transaction, tenant_id: UUID) -> bool:
        """Whether anybody of the tenant was ever put on a plan."""
        return await store.has_assignments(tx, tenant_id)

    async def tenants(self, tx: Transaction) -> list[UUID]:
        """Every tenant that ever put someone on a plan, as far as the transaction sees tenants."""
        return await store.tenants(tx)


def quota_goal(goal: Goal) -> QuotaGoal:
    """A goal as a quota sees it."""
    return QuotaGoal(
        Period(goal.start, goal.end),
        goal.target,
        goal.status in _COUNTING,
        OwnerKind(goal.owner.kind),
        goal.owner.id,
        goal.metric.measure().unit,
        goal.direction is Direction.LOWER,
    )


async def _fiscal_calendar(tx: Transaction, tenant_id: UUID) -> FiscalCalendar:
    """The tenant's calendar; January and UTC until it has set one."""
    stored = await store.bodies(tx, tenant_id, ["calendar"])
    if not stored:
        return FiscalCalendar()
    return Calendar.from_json(stored["calendar"]).fiscal()


async def _proposal(tx: Transaction, tenant_id: UUID, plan: Plan, current: PlanVersion) -> Proposal:
    authors = await store.authors(tx, tenant_id, plan.id, current.number)
    paid = await store.paid_from(tx, tenant_id, plan.id, current.effective_from)
    return proposal_of(plan, current, authors, paid)


async def _locked_version(
    tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, expected_version: int
) -> tuple[Plan, PlanVersion]:
    plan = await store.PLANS.locked(tx, tenant_id, plan_id)
    current = numbered(await store.versions(tx, tenant_id, plan), number)
    check_version(current.revision, expected_version)
    return plan, current
