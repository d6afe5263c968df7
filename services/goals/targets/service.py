"""The use cases of goals: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked still holds when it is committed, and the snapshots of a goal
are published in the order of their versions.
"""

from collections.abc import Callable
from datetime import date
from uuid import UUID

from services.goals.org import service as org
from services.goals.publishing import publish
from services.goals.targets import store
from services.goals.targets.domain import (
    Goal,
    GoalNotFound,
    Owner,
    Revision,
    Status,
    Terms,
    activated,
    cancelled,
    check_parent,
    closed,
    draft,
    edited,
    revised,
)
from services.goals.targets.events import goal_event
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, check_no_own_interest
from shared.kernel.errors import check_version
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar
from shared.kernel.sight import WHOLE_TENANT, Sight

TermsOf = Callable[[FiscalCalendar], Terms]
"""The terms of a new goal, given the calendar its period may be named by."""

ChangeOf = Callable[[Terms, FiscalCalendar], Terms]
"""The changed terms of a goal."""


async def goals(
    tx: Transaction,
    tenant_id: UUID,
    sight: Sight,
    *,
    status: Status | None,
    owner_id: UUID | None,
    parent_id: UUID | None,
    on: date | None,
    after: UUID | None,
    limit: int,
) -> list[Goal]:
    """Those of owners in view, by id; `on` is a day of their period."""
    return await store.list_goals(
        tx,
        tenant_id,
        sight,
        status=status,
        owner_id=owner_id,
        parent_id=parent_id,
        on=on,
        after=after,
        limit=limit,
    )


async def goal(tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight) -> Goal:
    """Raises GoalNotFound, also for one of an owner out of view."""
    held = await store.goal(tx, tenant_id, goal_id)
    if held is None or not _shows(sight, held.terms.owner):
        raise GoalNotFound(f"There is no goal {goal_id}.")
    return held


async def revisions(
    tx: Transaction, tenant_id: UUID, goal_id: UUID, sight: Sight, *, after: int | None, limit: int
) -> list[Revision]:
    """The terms the goal has been active with, the newest first. Raises GoalNotFound."""
    await goal(tx, tenant_id, goal_id, sight)
    return await store.list_revisions(tx, tenant_id, goal_id, after=after, limit=limit)


async def create_draft(tx: Transaction, tenant_id: UUID, terms_of: TermsOf) -> Goal:
    """A new draft. Raises UnknownPerson, UnknownTeam, UnknownParent, InvalidInput."""
    await tx.lock_tenants_exclusive([tenant_id])
    created = draft(tx.new_id(), terms_of(await org.fiscal_calendar(tx, tenant_id)))
    await _check_references(tx, tenant_id, created)
    await store.add_goal(tx, tenant_id, created)
    await publish(tx, [goal_event(tenant_id, created)])
    return created


async def edit_draft(tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, change: ChangeOf) -> Goal:
    """Raises GoalNotFound, VersionMismatch, GoalNotDraft, UnknownPerson, UnknownTeam, UnknownParent, GoalCircle."""
    held = await _held(tx, tenant_id, goal_id, expected_version)
    changed = edited(held, change(held.terms, await org.fiscal_calendar(tx, tenant_id)))
    await _check_references(tx, tenant_id, changed)
    return await _saved(tx, tenant_id, changed)


async def activate(tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor) -> Goal:
    """Let a draft count.

    Raises GoalNotFound, VersionMismatch, GoalNotDraft, GoalTermsRefused; OwnInterest when it measures the actor.
    """
    changed = activated(await _held(tx, tenant_id, goal_id, expected_version))
    _check_not_own(actor, changed)
    await _check_references(tx, tenant_id, changed)
    await store.add_revision(tx, tenant_id, changed, reason=None, revised_by=actor.person_id)
    return await _saved(tx, tenant_id, changed)


async def revise(
    tx: Transaction,
    tenant_id: UUID,
    goal_id: UUID,
    expected_version: int,
    change: ChangeOf,
    *,
    reason: str,
    actor: Actor,
) -> Goal:
    """Give an active goal other terms, for a reason; the old ones are kept.

    Raises GoalNotFound, VersionMismatch, GoalNotActive, GoalTermsRefused, UnknownPerson, UnknownTeam, UnknownParent,
    GoalCircle; OwnInterest when it measures the actor, before or after.
    """
    held = await _held(tx, tenant_id, goal_id, expected_version)
    _check_not_own(actor, held)
    changed = revised(held, change(held.terms, await org.fiscal_calendar(tx, tenant_id)))
    _check_not_own(actor, changed)
    await _check_references(tx, tenant_id, changed)
    await store.add_revision(tx, tenant_id, changed, reason=reason, revised_by=actor.person_id)
    return await _saved(tx, tenant_id, changed)


async def close(tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int) -> Goal:
    """End an active goal. Raises GoalNotFound, VersionMismatch, GoalNotActive."""
    return await _saved(tx, tenant_id, closed(await _held(tx, tenant_id, goal_id, expected_version)))


async def cancel(tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int) -> Goal:
    """Let a goal count nothing any more. Raises GoalNotFound, VersionMismatch, GoalEnded."""
    return await _saved(tx, tenant_id, cancelled(await _held(tx, tenant_id, goal_id, expected_version)))


def _check_not_own(actor: Actor, goal: Goal) -> None:
    owner = goal.terms.owner
    check_no_own_interest(actor, [owner.id] if owner.kind is OwnerKind.PERSON else [], "a goal in force")


async def _held(tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int) -> Goal:
    await tx.lock_tenants_exclusive([tenant_id])
    held = await goal(tx, tenant_id, goal_id, WHOLE_TENANT)
    check_version(held.version, expected_version)
    return held


async def _saved(tx: Transaction, tenant_id: UUID, changed: Goal) -> Goal:
    await store.save_goal(tx, tenant_id, changed)
    await publish(tx, [goal_event(tenant_id, changed)])
    return changed


async def _check_references(tx: Transaction, tenant_id: UUID, checked: Goal) -> None:
    owner, parent_id = checked.terms.owner, checked.terms.parent_id
    await org.require_owner(tx, tenant_id, owner.kind, owner.id, "/owner/id")
    if parent_id is not None:
        check_parent(await store.line_of(tx, tenant_id, parent_id), checked.id, parent_id)


def _shows(sight: Sight, owner: Owner) -> bool:
    return sight.sees_person(owner.id) if owner.kind is OwnerKind.PERSON else sight.sees_team(owner.id)
