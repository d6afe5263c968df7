"""The use cases of goals: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked is still true when it is committed, and the snapshots of a
goal are published in the order of their versions.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.org.service import Organisation
from services.goals.targets import store
from services.goals.targets.domain import (
    Goal,
    GoalFilter,
    GoalTerms,
    NewWeight,
    NotAPart,
    Revision,
    activated,
    cancelled,
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
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published, each
from shared.outbox.republishing import ReadNext

TermsOf = Callable[[FiscalCalendar], GoalTerms]
"""The terms of a new goal, given the calendar its period may be named by."""

ChangeOf = Callable[[GoalTerms, FiscalCalendar], GoalTerms]
"""The changed terms of a goal."""


class Goals:
    """The goals of every tenant."""

    def __init__(self, outbox: Outbox, organisation: Organisation, calendars: Calendars) -> None:
        self._organisation = organisation
        self._calendars = calendars
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

    async def create_goal(self, tx: Transaction, tenant_id: UUID, terms_of: TermsOf) -> Goal:
        """A new draft. Raises UnknownPerson, UnknownTeam, UnknownParent, InvalidInput."""
        await tx.lock_tenants_exclusive([tenant_id])
        created = draft(tx.new_id(), terms_of(await self._calendars.fiscal_calendar(tx, tenant_id)))
        await self._check_references(tx, tenant_id, created)
        return await self._goals.add(tx, tenant_id, created)

    async def change_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, change: ChangeOf
    ) -> Goal:
        """Give a draft other terms.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, UnknownPerson, UnknownTeam, UnknownParent, GoalCircle.
        """
        stored = await self._goals.for_change(tx, tenant_id, goal_id, expected_version)
        changed = edited(stored, change(stored.terms, await self._calendars.fiscal_calendar(tx, tenant_id)))
        await self._check_references(tx, tenant_id, changed)
        return await self._goals.save(tx, tenant_id, changed)

    async def activate_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor
    ) -> Goal:
        """Let a draft count.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, GoalTermsRefused, WeightsNotWhole; OwnInterest when it
        measures the actor.
        """
        changed = activated(await self._goals.for_change(tx, tenant_id, goal_id, expected_version))
        _check_not_own(actor, changed)
        await self._check_references(tx, tenant_id, changed)
        await store.add_revision(tx, tenant_id, changed, reason=None, revised_by=actor.person_id)
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
        actor: Actor,
    ) -> Goal:
        """Give an active goal other terms, for a reason; the old ones stay on record.

        Raises GoalNotFound, VersionMismatch, GoalNotActive, GoalTermsRefused, UnknownPerson, UnknownTeam,
        UnknownParent, GoalCircle, WeightsNotWhole; OwnInterest when it measures the actor, before or after.
        """
        stored = await self._goals.for_change(tx, tenant_id, goal_id, expected_version)
        _check_not_own(actor, stored)
        changed = revised(stored, change(stored.terms, await self._calendars.fiscal_calendar(tx, tenant_id)))
        _check_not_own(actor, changed)
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
    ) -> Goal:
        """Give active parts of a goal other weights, all at once, each under its next revision; the goal.

        Raises GoalNotFound, VersionMismatch, NotAPart, GoalNotActive, GoalTermsRefused, WeightsNotWhole; OwnInterest
        when the goal or one of these parts measures the actor.
        """
        goal = await self._goals.for_change(tx, tenant_id, goal_id, expected_version)
        _check_not_own(actor, goal)
        if goal.terms.measure.aggregate is not Aggregate.CHILDREN:
            raise NotAPart(f"Goal {goal_id} is not made of its parts: their weights decide nothing.")
        tx.reason = reason
        for index, new in enumerate(weights):
            stored = await self._goals.for_change(tx, tenant_id, new.goal_id, AnyVersionOf(None))
            _check_not_own(actor, stored)
            part = reweighed(stored, goal_id, new.weight, f"/weights/{index}/goal_id")
            await store.add_revision(tx, tenant_id, part, reason=reason, revised_by=actor.person_id)
            await self._goals.save(tx, tenant_id, part)
        check_weights(await store.weighings(tx, tenant_id, [goal_id]))
        return await self._goals.save(tx, tenant_id, replace(goal, version=goal.version + 1))

    async def close_goal(self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int) -> Goal:
        """End an active goal. Raises GoalNotFound, VersionMismatch, GoalNotActive."""
        changed = closed(await self._goals.for_change(tx, tenant_id, goal_id, expected_version))
        return await self._goals.save(tx, tenant_id, changed)

    async def cancel_goal(self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int) -> Goal:
        """Let a goal count nothing any more. Raises GoalNotFound, VersionMismatch, GoalEnded, WeightsNotWhole."""
        changed = cancelled(await self._goals.for_change(tx, tenant_id, goal_id, expected_version))
        return await self._weighed(tx, tenant_id, await self._goals.save(tx, tenant_id, changed))

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


def _check_not_own(actor: Actor, goal: Goal) -> None:
    owner = goal.terms.owner
    check_no_own_interest(actor, [owner.id] if owner.kind is OwnerKind.PERSON else [], "a goal in force")
