"""The use cases of assignments: proposed by one, approved by another, taken back; one, or many at once.

Nothing that is proposed pays. What is approved marks the assignment stale in the same transaction; the worker works it
out anew.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from services.incentives.plans import store
from services.incentives.plans.content.assignments import assignment_terms_document
from services.incentives.plans.domain.assignments import (
    Assignment,
    AssignmentChangeKind,
    AssignmentNotFound,
    AssignmentStatus,
    QuotaGoal,
    approved_assignment,
    check_approver_unpaid,
    check_no_overlap,
    check_quota_goals,
    check_quota_keys,
    proposal_for,
    proposed,
    require_proposed,
    taken_back,
    withdrawn,
)
from services.incentives.plans.domain.components import quota_keys
from services.incentives.plans.domain.history import AssignmentChange
from services.incentives.plans.domain.versions import Plan, PlanNotFound, PlanVersion
from services.incentives.plans.service import Plans
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, check_no_own_interest
from shared.kernel.errors import InvalidInput, Refusals, check_version
from shared.kernel.periods import FiscalCalendar

Edit = Callable[[Assignment], Assignment]
"""From the terms that are wanted now to those that are to be."""


class Act(StrEnum):
    """What is done to an assignment that is there."""

    PROPOSE = "propose"
    APPROVE = "approve"
    WITHDRAW = "withdraw"
    """The change that was proposed."""
    TAKE_BACK = "take_back"
    """The assignment, as if it had never been made; to end one, its last day is set."""


@dataclass(frozen=True, slots=True)
class AssignmentRequest:
    """Something to be done to one assignment, in the version it was decided on. `pointer` is where it was asked for."""

    pointer: str
    assignment_id: UUID
    expected_version: int
    act: Act
    edit: Edit | None = None


@dataclass(frozen=True, slots=True)
class _Decided:
    pointer: str
    before: Assignment | None
    after: Assignment
    kind: AssignmentChangeKind


class Assignments:
    """Who is on which plan, by whose proposal and whose approval."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    async def page(
        self,
        tx: Transaction,
        tenant_id: UUID,
        *,
        people: frozenset[UUID] | None,
        plan_id: UUID | None,
        is_pending: bool | None,
        in_force: bool,
        after: UUID | None,
        limit: int,
    ) -> list[Assignment]:
        """Assignments in the order of their ids, of some people (None: everyone) and of one plan or all.

        `is_pending`: only those of which something waits for an approval, or only the others. `in_force`: not those
        that were never approved.
        """
        return await store.list_assignments(
            tx,
            tenant_id,
            people=people,
            plan_id=plan_id,
            is_pending=is_pending,
            in_force=in_force,
            after=after,
            limit=limit,
        )

    async def get(self, tx: Transaction, tenant_id: UUID, assignment_id: UUID) -> Assignment:
        """Raises AssignmentNotFound, also for a deleted one."""
        return await store.ASSIGNMENTS.get(tx, tenant_id, assignment_id)

    async def list_changes(
        self, tx: Transaction, tenant_id: UUID, assignment_id: UUID, *, after: int, limit: int
    ) -> list[AssignmentChange]:
        """What was done to an assignment after its version `after`, oldest first; also to one that was deleted.

        Raises AssignmentNotFound.
        """
        if not await store.ASSIGNMENTS.used_ids(tx, tenant_id, [assignment_id]):
            raise AssignmentNotFound(f"There is no assignment {assignment_id}.")
        return await store.list_assignment_changes(tx, tenant_id, assignment_id, after=after, limit=limit)

    async def create(
        self, tx: Transaction, tenant_id: UUID, made: Callable[[UUID], Assignment], actor: Actor
    ) -> Assignment:
        """Propose to put a person on a plan. The person may not be known here yet.

        Raises PlanNotFound, AssignmentOverlaps; OwnInterest when the actor is the person; AssignmentPaysApprover when
        the person approved the terms; InvalidInput for a quota of a component the plan does not have.
        """
        [created], _ = await self.put(tx, tenant_id, actor, [("", made)], [], Refusals(alone=True))
        return created

    async def act(self, tx: Transaction, tenant_id: UUID, request: AssignmentRequest, actor: Actor) -> Assignment:
        """Do one thing to one assignment.

        Proposing raises AssignmentNotFound, VersionMismatch, and what `create` does. Approving raises
        AssignmentNotProposed, ApprovalNotIndependent, and what stands in the way by now. Withdrawing raises
        AssignmentNotProposed.
        """
        _, [acted] = await self.put(tx, tenant_id, actor, [], [request], Refusals(alone=True))
        return acted

    async def put(
        self,
        tx: Transaction,
        tenant_id: UUID,
        actor: Actor,
        created: Sequence[tuple[str, Callable[[UUID], Assignment]]],
        requests: Sequence[AssignmentRequest],
        refusals: Refusals,
    ) -> tuple[list[Assignment], list[Assignment]]:
        """All of it or nothing: the new assignments, and those that something was done to, each in order.

        Raises ItemsRefused.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        decided = await self._decided(tx, tenant_id, actor, requests, refusals)
        for pointer, make in created:
            with refusals.at(pointer):
                added = replace(make(tx.new_id()), status=AssignmentStatus.PROPOSED)
                check_no_own_interest(actor, [added.person_id], "an assignment or a quota")
                decided.append(_Decided(pointer, None, added, AssignmentChangeKind.PROPOSED))
        await self._check(tx, tenant_id, decided, refusals)
        refusals.check()
        new = [each.after for each in decided if each.before is None]
        changed = [each.after for each in decided if each.before is not None]
        await store.ASSIGNMENTS.add_many(tx, tenant_id, new)
        await store.ASSIGNMENTS.save_many(tx, tenant_id, changed)
        await store.add_assignment_changes(tx, tenant_id, [_recorded(tx, actor, each) for each in decided])
        settled = {
            each.after.id: [f"assignment/{each.after.id} v{each.after.version}"]
            for each in decided
            if each.kind is AssignmentChangeKind.APPROVED
        }
        await self._plans.assignments_changed(tx, tenant_id, settled)
        return new, changed

    async def supposed(
        self,
        tx: Transaction,
        tenant_id: UUID,
        created: Sequence[tuple[str, Callable[[UUID], Assignment]]],
        requests: Sequence[AssignmentRequest],
        refusals: Refusals,
    ) -> list[Assignment]:
        """The assignments as they would be in force if `put` did all of this and somebody approved it.

        Whoever asks may be anybody who sees them, whoever wrote or will approve it. Nothing is stored and nothing
        waits. Raises what `put` raises for what can never be right.
        """
        stored = await store.assignments_with_ids(tx, tenant_id, {each.assignment_id for each in requests})
        decided: list[_Decided] = []
        for before, request in _each_once(requests, stored, refusals):
            with refusals.at(request.pointer):
                check_version(before.version, request.expected_version)
                after = _in_force(request, before)
                decided.append(_Decided(request.pointer, before, after, AssignmentChangeKind.APPROVED))
        for pointer, make in created:
            with refusals.at(pointer):
                decided.append(_Decided(pointer, None, make(tx.new_id()), AssignmentChangeKind.APPROVED))
        await self._check(tx, tenant_id, decided, refusals)
        refusals.check()
        return [each.after for each in decided]

    async def _decided(
        self, tx: Transaction, tenant_id: UUID, actor: Actor, requests: Sequence[AssignmentRequest], refusals: Refusals
    ) -> list[_Decided]:
        stored = await store.ASSIGNMENTS.locked_many(tx, tenant_id, {each.assignment_id for each in requests})
        asked = [each.assignment_id for each in requests if each.act is Act.APPROVE]
        authors = await store.assignment_authors(tx, tenant_id, asked) if asked else {}
        decided: list[_Decided] = []
        for before, request in _each_once(requests, stored, refusals):
            with refusals.at(request.pointer):
                decided.append(_decide(request, before, actor, authors.get(before.id, set())))
        return decided

    async def _check(self, tx: Transaction, tenant_id: UUID, decided: Sequence[_Decided], refusals: Refusals) -> None:
        """Refuse what can never be right, by plans, goals and other assignments as they are."""
        wanted = [
            each
            for each in decided
            if each.kind is not AssignmentChangeKind.WITHDRAWN and not each.after.wanted.deleted
        ]
        plans = await self._known_plans(tx, tenant_id, {each.after.plan_id for each in wanted})
        goals = await self._plans.quota_goals(tx, tenant_id, [each.after.wanted for each in wanted])
        calendar = await self._plans.fiscal_calendar(tx, tenant_id)
        people = frozenset(each.after.person_id for each in wanted)
        of_person: defaultdict[UUID, dict[UUID, Assignment]] = defaultdict(dict)
        for other in await store.assignments_of_people(tx, tenant_id, people):
            of_person[other.person_id][other.id] = other
        for each in decided:
            if each.before is not None:
                of_person[each.after.person_id][each.after.id] = each.after
        for each in wanted:
            with refusals.at(each.pointer):
                _check_terms(each, plans, goals, calendar)
                check_no_overlap(each.after.wanted, of_person[each.after.person_id].values())
                of_person[each.after.person_id][each.after.id] = each.after

    async def _known_plans(
        self, tx: Transaction, tenant_id: UUID, plan_ids: Collection[UUID]
    ) -> dict[UUID, tuple[Plan, list[PlanVersion]]]:
        found = {}
        for plan_id in sorted(plan_ids):
            plan = await store.PLANS.find(tx, tenant_id, plan_id)
            if plan is not None:
                found[plan_id] = plan, await store.versions(tx, tenant_id, plan)
        return found


def _each_once(
    requests: Sequence[AssignmentRequest], stored: Mapping[UUID, Assignment], refusals: Refusals
) -> list[tuple[Assignment, AssignmentRequest]]:
    """Each request that names an assignment for the first time, with that one."""
    found: dict[UUID, tuple[Assignment, AssignmentRequest]] = {}
    for request in requests:
        with refusals.at(request.pointer):
            before = store.ASSIGNMENTS.found(request.assignment_id, stored.get(request.assignment_id))
            if before.id in found:
                raise InvalidInput.field("/id", "is named twice", "each assignment once")
            found[before.id] = before, request
    return list(found.values())


def _in_force(request: AssignmentRequest, before: Assignment) -> Assignment:
    """The assignment with what is requested, as if it were approved."""
    match request.act:
        case Act.PROPOSE:
            wanted = before.wanted if request.edit is None else request.edit(before.wanted)
        case Act.APPROVE:
            require_proposed(before)
            wanted = before.wanted
        case Act.TAKE_BACK:
            wanted = replace(before, deleted=True)
        case Act.WITHDRAW:
            wanted = before
    return replace(wanted, version=before.version + 1, status=AssignmentStatus.APPROVED, change=None)


def _decide(request: AssignmentRequest, before: Assignment, actor: Actor, authors: Collection[Actor]) -> _Decided:
    check_version(before.version, request.expected_version)
    match request.act:
        case Act.APPROVE:
            after = approved_assignment(before, actor, proposal_for(before, authors))
            return _Decided(request.pointer, before, after, AssignmentChangeKind.APPROVED)
        case Act.WITHDRAW:
            check_no_own_interest(actor, [before.person_id], "an assignment or a quota")
            return _Decided(request.pointer, before, withdrawn(before), AssignmentChangeKind.WITHDRAWN)
        case Act.TAKE_BACK:
            check_no_own_interest(actor, [before.person_id], "an assignment or a quota")
            after = taken_back(before)
            kind = AssignmentChangeKind.WITHDRAWN if after.deleted else AssignmentChangeKind.PROPOSED
            return _Decided(request.pointer, before, after, kind)
        case Act.PROPOSE:
            check_no_own_interest(actor, [before.person_id], "an assignment or a quota")
            wanted = before.wanted if request.edit is None else request.edit(before.wanted)
            after = proposed(before, wanted)
            return _Decided(request.pointer, before, after, AssignmentChangeKind.PROPOSED)


def _check_terms(
    decided: _Decided,
    plans: Mapping[UUID, tuple[Plan, Sequence[PlanVersion]]],
    goals: Mapping[UUID, QuotaGoal],
    calendar: FiscalCalendar,
) -> None:
    candidate, before = decided.after.wanted, decided.before
    if candidate.plan_id not in plans:
        raise PlanNotFound(f"There is no plan {candidate.plan_id}.")
    plan, versions = plans[candidate.plan_id]
    in_force = None if before is None or before.status is AssignmentStatus.PROPOSED else before
    known = {key for version in versions for component in version.components for key in quota_keys(component)}
    check_quota_keys(candidate.quotas.keys(), known)
    check_approver_unpaid(candidate, in_force, plan, versions)
    check_quota_goals(candidate, goals, plan, versions, calendar)


def _recorded(tx: Transaction, actor: Actor, decided: _Decided) -> AssignmentChange:
    """What is recorded of it: the terms in force before and those that are proposed or in force after."""
    before, after = decided.before, decided.after
    was_in_force = before is not None and before.status is AssignmentStatus.APPROVED
    is_withdrawn = decided.kind is AssignmentChangeKind.WITHDRAWN
    compared = before.wanted if before is not None and is_withdrawn else before if was_in_force else None
    return AssignmentChange(
        after.id,
        after.version,
        decided.kind,
        actor,
        tx.now,
        tx.reason,
        None if compared is None else assignment_terms_document(compared),
        None if is_withdrawn else assignment_terms_document(after.wanted),
    )
