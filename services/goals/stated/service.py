"""The use cases of stated values. Every change holds the tenant's lock and is published with its transaction."""

from collections.abc import Callable, Sequence
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.stated import store
from services.goals.stated.domain import (
    GoalNotStated,
    StatedValue,
    StatedValueNotFound,
    Statement,
    check_day,
    check_stated,
    corrected,
    taken_back,
)
from services.goals.stated.events import stated_value_event
from services.goals.targets.domain import Goal, Status
from services.goals.targets.service import Goals
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, check_no_own_interest
from shared.kernel.errors import InvalidInput, Refusals
from shared.kernel.org import OwnerKind
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Published, each
from shared.outbox.republishing import ReadNext


class StatedValues:
    """The values that are stated of the goals of every tenant."""

    def __init__(self, outbox: Outbox, calendars: Calendars, goals: Goals) -> None:
        self._calendars = calendars
        self._goals = goals
        self._values = Published(store.STATED_VALUES, each(stated_value_event), outbox)

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        return [self._values.read_next]

    async def require_seen(self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight) -> None:
        """Raises GoalNotFound, also for a goal out of view."""
        await self._goals.get_goal(tx, tenant_id, goal_id, sight)

    async def list_values(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, *, after: UUID | None, limit: int
    ) -> list[StatedValue]:
        """Those of a goal in view, in the order they were stated. Raises GoalNotFound."""
        await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        return await store.STATED_VALUES.page(tx, tenant_id, after, limit, store.of_goal(goal_id))

    async def get_value(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, value_id: UUID, sight: Sight
    ) -> StatedValue:
        """Raises GoalNotFound, and StatedValueNotFound also for one that was deleted."""
        await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        return await store.STATED_VALUES.get(tx, tenant_id, value_id, store.of_goal(goal_id))

    async def state_value(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, statement: Statement, actor: Actor
    ) -> StatedValue:
        """State a value of a goal in view.

        Raises GoalNotFound, GoalNotStated, InvalidInput for the day; OwnInterest when the goal measures the actor.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        goal = await self._goal(tx, tenant_id, goal_id, sight, actor)
        await self._check_day(tx, tenant_id, goal, statement)
        stated = StatedValue(tx.new_id(), 1, goal_id, statement, actor.person_id, tx.now)
        return await self._values.add(tx, tenant_id, stated)

    async def state_values(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        sight: Sight,
        statements: Sequence[tuple[str, Statement]],
        refusals: Refusals,
        actor: Actor,
    ) -> int:
        """State values of a goal in view, all or none, each with where it is found; how many of them are new.

        One that is stated in the same words already is stated once: a file may be sent again. Raises what `state_value`
        does, and `refusals` for days.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        goal = await self._goal(tx, tenant_id, goal_id, sight, actor)
        today = await self._calendars.today(tx, tenant_id)
        stored = await store.STATED_VALUES.matching(tx, tenant_id, store.of_goal(goal_id))
        known = {value.statement for value in stored}
        new: dict[Statement, StatedValue] = {}
        for pointer, statement in statements:
            with refusals.at(pointer):
                check_day(statement.day, goal.terms, today)
                if statement in new:
                    raise InvalidInput.field("", "states the same as another one", "a note that tells them apart")
                if statement not in known:
                    new[statement] = StatedValue(tx.new_id(), 1, goal_id, statement, actor.person_id, tx.now)
        refusals.check()
        await self._values.add_many(tx, tenant_id, list(new.values()))
        return len(new)

    async def change_value(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        value_id: UUID,
        expected_version: int,
        sight: Sight,
        change: Callable[[Statement], Statement],
        actor: Actor,
    ) -> StatedValue:
        """Correct a value; what was stated before stays on the audit trail.

        Raises what `state_value` does, StatedValueNotFound and VersionMismatch.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        goal = await self._goal(tx, tenant_id, goal_id, sight, actor)
        stored = await self._for_change(tx, tenant_id, goal_id, value_id, expected_version)
        changed = corrected(stored, change(stored.statement), stated_by=actor.person_id, now=tx.now)
        await self._check_day(tx, tenant_id, goal, changed.statement)
        return await self._values.save(tx, tenant_id, changed)

    async def delete_value(
        self,
        tx: Transaction,
        tenant_id: UUID,
        goal_id: UUID,
        value_id: UUID,
        expected_version: int,
        sight: Sight,
        actor: Actor,
    ) -> None:
        """Take a value back, as if never stated; it stays on the audit trail.

        Raises GoalNotFound, GoalNotStated, StatedValueNotFound, VersionMismatch, OwnInterest.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        await self._goal(tx, tenant_id, goal_id, sight, actor)
        stored = await self._for_change(tx, tenant_id, goal_id, value_id, expected_version)
        await self._values.save(tx, tenant_id, taken_back(stored, stated_by=actor.person_id, now=tx.now))

    async def _goal(self, tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, actor: Actor) -> Goal:
        """A goal in view, whose values the actor may state."""
        goal = await self._goals.get_goal(tx, tenant_id, goal_id, sight)
        owner = goal.terms.owner
        measured = [owner.id] if owner.kind is OwnerKind.PERSON else []
        check_no_own_interest(actor, measured, "what is stated of a goal")
        check_stated(goal.terms, goal_id)
        if goal.status is Status.CANCELLED:
            raise GoalNotStated("This goal is cancelled: nothing counts for it any more.")
        return goal

    async def _for_change(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, value_id: UUID, expected_version: int
    ) -> StatedValue:
        stored = await self._values.for_change(tx, tenant_id, value_id, expected_version)
        if stored.goal_id != goal_id:
            raise StatedValueNotFound(f"There is no stated value {value_id} of goal {goal_id}.")
        return stored

    async def _check_day(self, tx: Transaction, tenant_id: UUID, goal: Goal, statement: Statement) -> None:
        check_day(statement.day, goal.terms, await self._calendars.today(tx, tenant_id))
