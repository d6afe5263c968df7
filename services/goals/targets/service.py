"""The use cases of goals: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked is still true when it is committed, and the snapshots of a
goal are published in the order of their versions.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.org.service import Organisation
from services.goals.targets import store
from services.goals.targets.domain import (
    Goal,
    GoalFilter,
    GoalNotFound,
    GoalTerms,
    NewWeight,
    NotAPart,
    Revision,
    Status,
    activated,
    approval_of,
    cancelled,
    check_may_decide,
    check_may_propose,
    check_parent,
    check_weights,
    closed,
    draft,
    edited,
    revised,
    reweighed,
)
from services.goals.targets.events import goal_event
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, check_no_own_interest
from shared.kernel.errors import AnyVersionOf
from shared.kernel.measures import Aggregate
from shared.kernel.periods import FiscalCalendar
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published, each
from shared.outbox.republishing import ReadNext
from shared.outbox.trail import Trail

TermsOf = Callable[[FiscalCalendar], GoalTerms]
"""The terms of a new goal, given the calendar its period may be named by."""

ChangeOf = Callable[[GoalTerms, FiscalCalendar], GoalTerms]
"""The changed terms of a goal."""


class Goals:
    """The goals of every tenant."""

    def __init__(self, outbox: Outbox, organisation: Organisation, calendars: Calendars, trail: Trail) -> None:
        self._organisation = organisation
        self._calendars = calendars
        self._trail = trail
        self._goals = Published(store.GOALS, each(goal_event), outbox)

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        return [self._goals.read_next]

    async def list_goals(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: GoalFilter, *, after: UUID | None, limit: int
    ) -> list[Goal]:
        """Those of owners in view, by id."""
        return await store.list_goals(tx, tenant_id, sight, wanted, after=after, limit=limit)

    async def get_goal(self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight) -> Goal:
        """Raises GoalNotFound, also for one of an owner out of view."""
        return await store.GOALS.get(tx, tenant_id, goal_id, store.goal_in(sight))

    async def list_revisions(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, *, after: int | None, limit: int
    ) -> list[Revision]:
        """The terms the goal has been active with, the newest first. Raises GoalNotFound."""
        await self.get_goal(tx, tenant_id, goal_id, sight)
        return await store.list_revisions(tx, tenant_id, goal_id, after=after, limit=limit)

    async def create_goal(self, tx: Transaction, tenant_id: UUID, terms_of: TermsOf, sight: Sight) -> Goal:
        """A new draft. Raises UnknownPerson, UnknownTeam, UnknownParent, InvalidInput, GoalOutOfReach."""
        await tx.lock_tenants_exclusive([tenant_id])
        created = draft(tx.new_id(), terms_of(await self._calendars.fiscal_calendar(tx, tenant_id)))
        check_may_propose(sight, created.terms.owner)
        await self._check_references(tx, tenant_id, created)
        return await self._goals.add(tx, tenant_id, created)

    async def change_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, change: ChangeOf, sight: Sight
    ) -> Goal:
        """Give a draft other terms.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, UnknownPerson, UnknownTeam, UnknownParent, GoalCircle,
        GoalOutOfReach.
        """
        stored = await self._in_sight(tx, tenant_id, goal_id, expected_version, sight)
        changed = edited(stored, change(stored.terms, await self._calendars.fiscal_calendar(tx, tenant_id)))
        check_may_propose(sight, changed.terms.owner)
        await self._check_references(tx, tenant_id, changed)
        return await self._goals.save(tx, tenant_id, changed)

    async def activate_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Goal:
        """Let a draft count: the approval of its terms. A service, which has approved them elsewhere, wrote nothing.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, GoalTermsRefused, WeightsNotWhole, GoalOutOfReach;
        OwnInterest when it measures the actor; ApprovalNotIndependent when the actor wrote a part of it.
        """
        stored = await self._in_sight(tx, tenant_id, goal_id, expected_version, sight)
        changed = activated(stored)
        authors = await self._trail.authors(tx, tenant_id, f"goal/{goal_id}")
        await self._check_decision(tx, tenant_id, changed, actor, sight, authors=authors)
        await self._check_references(tx, tenant_id, changed)
        await store.add_revision(tx, tenant_id, changed, reason=tx.reason, revised_by=actor.person_id)
        return await self._weighed(tx, tenant_id, await self._goals.save(tx, tenant_id, changed))

    async def revise_goal(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        expected_version: int,
        change: ChangeOf,
        *,
        reason: str,
        authors: Collection[Actor],
        actor: Actor,
        sight: Sight,
    ) -> Goal:
        """Give an active goal other terms, for a reason; the old ones stay on record. `authors` wrote the new ones.

        Raises GoalNotFound, VersionMismatch, GoalNotActive, GoalTermsRefused, UnknownPerson, UnknownTeam,
        UnknownParent, GoalCircle, WeightsNotWhole, GoalOutOfReach; OwnInterest when it measures the actor, before or
        after; ApprovalNotIndependent when the actor is an author.
        """
        stored = await self._in_sight(tx, tenant_id, goal_id, expected_version, sight)
        await self._check_decision(tx, tenant_id, stored, actor, sight, authors=())
        changed = revised(stored, change(stored.terms, await self._calendars.fiscal_calendar(tx, tenant_id)))
        await self._check_decision(tx, tenant_id, changed, actor, sight, authors=authors)
        await self._check_references(tx, tenant_id, changed)
        await store.add_revision(tx, tenant_id, changed, reason=reason, revised_by=actor.person_id)
        tx.reason = reason
        return await self._weighed(tx, tenant_id, await self._goals.save(tx, tenant_id, changed), stored)

    async def reweigh_parts(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        expected_version: int,
        weights: Sequence[NewWeight],
        *,
        reason: str,
        actor: Actor,
        sight: Sight,
    ) -> Goal:
        """Give active parts of a goal other weights, all at once, each under its next revision; the goal.

        Raises GoalNotFound, VersionMismatch, NotAPart, GoalNotActive, GoalTermsRefused, WeightsNotWhole,
        GoalOutOfReach; OwnInterest when the goal or one of these parts measures the actor.
        """
        goal = await self._in_sight(tx, tenant_id, goal_id, expected_version, sight)
        await self._check_decision(tx, tenant_id, goal, actor, sight, authors=())
        if goal.terms.measure.aggregate is not Aggregate.CHILDREN:
            raise NotAPart(f"Goal {goal_id} is not made of its parts: their weights decide nothing.")
        tx.reason = reason
        for index, new in enumerate(weights):
            stored = await self._in_sight(tx, tenant_id, new.goal_id, AnyVersionOf(None), sight)
            await self._check_decision(tx, tenant_id, stored, actor, sight, authors=())
            part = reweighed(stored, goal_id, new.weight, f"/weights/{index}/goal_id")
            await store.add_revision(tx, tenant_id, part, reason=reason, revised_by=actor.person_id)
            await self._goals.save(tx, tenant_id, part)
        check_weights(await store.weighings(tx, tenant_id, [goal_id]))
        return await self._goals.save(tx, tenant_id, replace(goal, version=goal.version + 1))

    async def check_change(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, change: ChangeOf, sight: Sight
    ) -> Goal:
        """The active goal in sight that a change is proposed of, if its terms could become these, whoever decides.

        Raises GoalNotFound, GoalNotActive, GoalTermsRefused, UnknownPerson, UnknownTeam, UnknownParent, GoalCircle,
        GoalOutOfReach.
        """
        stored = await self.get_goal(tx, tenant_id, goal_id, sight)
        changed = revised(stored, change(stored.terms, await self._calendars.fiscal_calendar(tx, tenant_id)))
        check_may_propose(sight, stored.terms.owner)
        check_may_propose(sight, changed.terms.owner)
        await self._check_references(tx, tenant_id, changed)
        return stored

    async def close_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Goal:
        """End an active goal. Raises GoalNotFound, VersionMismatch, GoalNotActive, GoalOutOfReach, OwnInterest."""
        stored = await self._in_sight(tx, tenant_id, goal_id, expected_version, sight)
        await self._check_decision(tx, tenant_id, stored, actor, sight, authors=())
        return await self._goals.save(tx, tenant_id, closed(stored))

    async def cancel_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Goal:
        """Let a goal count nothing any more; a draft is taken back or refused by this.

        Raises GoalNotFound, VersionMismatch, GoalEnded, WeightsNotWhole, GoalOutOfReach; OwnInterest for an active
        goal.
        """
        stored = await self._in_sight(tx, tenant_id, goal_id, expected_version, sight)
        if stored.status is Status.DRAFT:
            check_may_propose(sight, stored.terms.owner)
        else:
            await self._check_decision(tx, tenant_id, stored, actor, sight, authors=())
        return await self._weighed(tx, tenant_id, await self._goals.save(tx, tenant_id, cancelled(stored)))

    async def check_decides(self, tx: Transaction, tenant_id: UUID, goal: Goal, actor: Actor, sight: Sight) -> None:
        """Raises GoalOutOfReach or OwnInterest unless the actor decides on this goal."""
        await self._check_decision(tx, tenant_id, goal, actor, sight, authors=())

    async def _in_sight(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, sight: Sight
    ) -> Goal:
        """The goal to be changed. One out of sight is not found."""
        stored = await self._goals.for_change(tx, tenant_id, goal_id, expected_version)
        if not sight.sees_owner(stored.terms.owner.id):
            raise GoalNotFound(f"There is no goal {goal_id}.")
        return stored

    async def _check_decision(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal: Goal,
        actor: Actor,
        sight: Sight,
        *,
        authors: Collection[Actor],
    ) -> None:
        owner = goal.terms.owner
        check_may_decide(sight, owner)
        if actor.person_id is None:
            return
        concerned = await self._organisation.measured_by(tx, tenant_id, owner.kind, owner.id)
        check_no_own_interest(actor, concerned, "a goal in force")
        approval_of(goal, authors, concerned).check(actor)

    async def _weighed(self, tx: Transaction, tenant_id: UUID, *states: Goal) -> Goal:
        """The first of these states of a goal, which is stored. Raises WeightsNotWhole for one it concerns."""
        changed = states[0]
        concerned = {state.terms.parent_id for state in states if state.terms.parent_id is not None}
        if changed.terms.measure.aggregate is Aggregate.CHILDREN:
            concerned.add(changed.id)
        if concerned:
            check_weights(await store.weighings(tx, tenant_id, concerned))
        return changed

    async def _check_references(self, tx: Transaction, tenant_id: UUID, checked: Goal) -> None:
        owner, parent_id = checked.terms.owner, checked.terms.parent_id
        await self._organisation.require_owner(tx, tenant_id, owner.kind, owner.id, "/owner/id")
        if parent_id is not None:
            check_parent(await store.line_of(tx, tenant_id, parent_id), checked.id, parent_id)
