"""The use cases of goals: each change checked, stored and published in the caller's transaction.

Every change holds its tenant's lock, so what was checked is still true when it is committed, and the snapshots of a
goal are published in the order of their versions.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.org.domain import unknown_owner
from services.goals.org.service import Organisation
from services.goals.targets import store
from services.goals.targets.domain import (
    NOTHING_FILLED,
    Filling,
    Goal,
    GoalFilter,
    GoalNotDraft,
    GoalNotFound,
    GoalTemplate,
    GoalTerms,
    NewWeight,
    NotAPart,
    Owner,
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
from shared.kernel.errors import AnyVersionOf, Refusals
from shared.kernel.measures import Aggregate
from shared.kernel.periods import FiscalCalendar
from shared.kernel.sight import Sight
from shared.outbox.outbox import Outbox
from shared.outbox.published import Change, Published, each
from shared.outbox.republishing import ReadNext
from shared.outbox.trail import Trail

TermsOf = Callable[[FiscalCalendar], GoalTerms]
"""The terms of a new goal, given the calendar its period may be named by."""

ChangeOf = Callable[[GoalTerms, FiscalCalendar], GoalTerms]
"""The changed terms of a goal."""


class Verb(StrEnum):
    """What is done to a goal."""

    CHANGE = "change"
    ACTIVATE = "activate"
    REVISE = "revise"
    CLOSE = "close"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class GoalChange:
    """What is to be done to one of many goals, from which version; `pointer` is where the request has it.

    `terms`, of a change or a revision; `reason` and `authors`, who wrote the new terms, of a revision.
    """

    pointer: str
    verb: Verb
    goal_id: UUID
    expected_version: int
    terms: ChangeOf | None = None
    reason: str | None = None
    authors: Collection[Actor] = ()

    def of(self, goal: Goal, calendar: FiscalCalendar) -> Goal:
        """The goal in its next version. Raises GoalNotDraft, GoalNotActive, GoalEnded, GoalTermsRefused, and more."""
        terms = goal.terms if self.terms is None else self.terms(goal.terms, calendar)
        match self.verb:
            case Verb.CHANGE:
                return edited(goal, terms)
            case Verb.ACTIVATE:
                return activated(goal)
            case Verb.REVISE:
                return revised(goal, terms)
            case Verb.CLOSE:
                return closed(goal)
            case Verb.CANCEL:
                return cancelled(goal)


class ActivationCheck(Protocol):
    """What has to be true of drafts before they count, by what more is known than their terms."""

    async def check_drafts(
        self,
        tx: Transaction,
        tenant_id: UUID,
        drafts: Sequence[tuple[str, Goal]],
        refusals: Refusals,
        *,
        actor: Actor,
    ) -> None:
        """Note in `refusals` CheckFailed or CheckUnacknowledged of those that the actor may not let count."""


FindTemplates = Callable[[Transaction, UUID, Collection[UUID]], Awaitable[Mapping[UUID, GoalTemplate]]]
"""Those of these templates of a tenant that there are."""


class TemplateSource:
    """Where what new goals leave out is found; handed the templates, as these stand on goals."""

    def __init__(self, find: FindTemplates, organisation: Organisation) -> None:
        self._find = find
        self._organisation = organisation

    async def filling(self, tx: Transaction, tenant_id: UUID, template_ids: Collection[UUID]) -> Filling:
        """What fills goals that are to be made from these templates."""
        if not template_ids:
            return NOTHING_FILLED
        named = await self._organisation.names(tx, tenant_id)
        names = {owner_id: owner.name for owner_id, owner in named.items()}
        return Filling(await self._find(tx, tenant_id, template_ids), names)


class Goals:
    """The goals of every tenant."""

    def __init__(
        self,
        outbox: Outbox,
        organisation: Organisation,
        calendars: Calendars,
        trail: Trail,
        activation_check: ActivationCheck,
    ) -> None:
        self._organisation = organisation
        self._activation_check = activation_check
        self._calendars = calendars
        self._trail = trail
        self._goals = Published(store.GOALS, each(goal_event), outbox)

    @property
    def published(self) -> Sequence[ReadNext]:
        """Everything that is published, by kind, to be published again."""
        return [self._goals.read_next]

    async def find_goals(self, tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Goal | None]:
        """Those of these goals that there are or were, by id, to be changed; None is one that was deleted."""
        return await self._goals.find_many(tx, tenant_id, ids)

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

    async def open_goals(
        self, tx: Transaction, tenant_id: UUID, owner_ids: Collection[UUID], since: date
    ) -> list[Goal]:
        """Drafts and active goals of these owners with a day from `since` on, by id, whoever sees them."""
        return await store.open_goals(tx, tenant_id, owner_ids, since)

    async def made_of_parts(self, tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of these goals that are made of their parts, whoever sees them."""
        return await store.made_of_parts(tx, tenant_id, goal_ids)

    async def create_goal(self, tx: Transaction, tenant_id: UUID, terms_of: TermsOf, sight: Sight) -> Goal:
        """A new draft. Raises UnknownPerson, UnknownTeam, UnknownParent, InvalidInput, GoalOutOfReach."""
        [created] = await self.create_goals(tx, tenant_id, [("", terms_of)], Refusals(alone=True), sight)
        return created

    async def create_goals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        wanted: Sequence[tuple[str, TermsOf]],
        refusals: Refusals,
        sight: Sight,
    ) -> list[Goal]:
        """New drafts, each with where the request that wants it has it; all or none. Raises what `refusals` does."""
        await tx.lock_tenants_exclusive([tenant_id])
        calendar = await self._calendars.fiscal_calendar(tx, tenant_id)
        drafts: list[tuple[str, Goal]] = []
        for pointer, terms_of in wanted:
            with refusals.at(pointer):
                drafts.append((pointer, draft(tx.new_id(), terms_of(calendar))))
        return await self.add_drafts(tx, tenant_id, drafts, refusals, sight)

    async def add_drafts(
        self, tx: Transaction, tenant_id: UUID, drafts: Sequence[tuple[str, Goal]], refusals: Refusals, sight: Sight
    ) -> list[Goal]:
        """The same for drafts that have their ids already, as those whose parents are among them."""
        await tx.lock_tenants_exclusive([tenant_id])
        for pointer, goal in drafts:
            with refusals.at(pointer):
                check_may_propose(sight, goal.terms.owner)
        await self._check_references(tx, tenant_id, drafts, refusals)
        refusals.check()
        added = [goal for _, goal in drafts]
        await self._goals.add_many(tx, tenant_id, added)
        return added

    async def change_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, change: ChangeOf, sight: Sight
    ) -> Goal:
        """Give a draft other terms.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, UnknownPerson, UnknownTeam, UnknownParent, GoalCircle,
        GoalOutOfReach.
        """
        edit = GoalChange("", Verb.CHANGE, goal_id, expected_version, change)
        return await self._change(tx, tenant_id, edit, tx.actor, sight)

    async def activate_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Goal:
        """Let a draft count: the approval of its terms. A service, which has approved them elsewhere, wrote nothing.

        Raises GoalNotFound, VersionMismatch, GoalNotDraft, GoalTermsRefused, WeightsNotWhole, CheckFailed,
        CheckUnacknowledged, GoalOutOfReach; OwnInterest when it measures the actor; ApprovalNotIndependent when the
        actor wrote a part of it.
        """
        activation = GoalChange("", Verb.ACTIVATE, goal_id, expected_version)
        return await self._change(tx, tenant_id, activation, actor, sight)

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
        revision = GoalChange("", Verb.REVISE, goal_id, expected_version, change, reason, authors)
        return await self._change(tx, tenant_id, revision, actor, sight)

    async def close_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Goal:
        """End an active goal. Raises GoalNotFound, VersionMismatch, GoalNotActive, GoalOutOfReach, OwnInterest."""
        closing = GoalChange("", Verb.CLOSE, goal_id, expected_version)
        return await self._change(tx, tenant_id, closing, actor, sight)

    async def cancel_goal(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, *, actor: Actor, sight: Sight
    ) -> Goal:
        """Let a goal count nothing any more; a draft is taken back or refused by this.

        Raises GoalNotFound, VersionMismatch, GoalEnded, WeightsNotWhole, GoalOutOfReach; OwnInterest for an active
        goal.
        """
        cancelling = GoalChange("", Verb.CANCEL, goal_id, expected_version)
        return await self._change(tx, tenant_id, cancelling, actor, sight)

    async def change_goals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        changes: Sequence[GoalChange],
        refusals: Refusals,
        *,
        actor: Actor,
        sight: Sight,
    ) -> list[Goal]:
        """Change many goals, each as one is alone; all or none. Raises what `refusals` does, and WeightsNotWhole."""
        await tx.lock_tenants_exclusive([tenant_id])
        calendar = await self._calendars.fiscal_calendar(tx, tenant_id)
        wishes = {each.goal_id: each for each in changes}

        def change_of(wish: GoalChange) -> Callable[[Goal], Goal]:
            return lambda goal: wish.of(goal, calendar)

        wanted = [Change(each.pointer, each.goal_id, each.expected_version, change_of(each)) for each in changes]
        found = [
            (change, stored)
            for change, stored in await self._goals.for_changes(tx, tenant_id, wanted, refusals)
            if self._is_in_sight(change.pointer, stored, sight, refusals)
        ]
        # Nobody is the author of what a service approves.
        drafts = () if actor.person_id is None else [s for _, s in found if wishes[s.id].verb is Verb.ACTIVATE]
        written = await self._trail.authors(tx, tenant_id, [f"goal/{stored.id}" for stored in drafts])
        measured = await self._measured_by(tx, tenant_id, actor, [stored for _, stored in found])
        made: list[tuple[str, GoalChange, Goal, Goal]] = []
        for change, stored in found:
            wish = wishes[stored.id]
            with refusals.at(change.pointer):
                if stored.status is not Status.DRAFT:
                    _check_decision(stored, actor, sight, measured, authors=())
                elif wish.verb is Verb.CANCEL:
                    check_may_propose(sight, stored.terms.owner)
                after = change.change(stored)
                if wish.verb is Verb.CHANGE:
                    check_may_propose(sight, after.terms.owner)
                elif after.status is Status.ACTIVE:
                    authors = written.get(f"goal/{after.id}", ()) if wish.verb is Verb.ACTIVATE else wish.authors
                    if after.terms.owner != stored.terms.owner:
                        measured |= await self._measured_by(tx, tenant_id, actor, [after])
                    _check_decision(after, actor, sight, measured, authors=authors)
                made.append((change.pointer, wish, stored, after))
        referring = [
            (pointer, after) for pointer, wish, _, after in made if after.status in (Status.DRAFT, Status.ACTIVE)
        ]
        await self._check_references(tx, tenant_id, referring, refusals)
        counting = [
            (pointer, stored)
            for pointer, wish, stored, _ in made
            if wish.verb is Verb.ACTIVATE and pointer not in refusals.refused
        ]
        await self._activation_check.check_drafts(tx, tenant_id, counting, refusals, actor=actor)
        refusals.check()
        made = [each for each in made if each[0] not in refusals.refused]
        for reason, group in _by_reason(made, tx.reason).items():
            tx.reason = reason
            in_force = [after for after in group if after.status is Status.ACTIVE]
            await store.add_revisions(tx, tenant_id, in_force, reason=reason, revised_by=actor.person_id)
            await self._goals.save_many(tx, tenant_id, group)
        weighed = [state for _, wish, stored, after in made for state in (stored, after) if wish.verb in _WEIGHED]
        await self._check_weights(tx, tenant_id, weighed)
        return [after for _, _, _, after in made]

    async def cancel_drafts(self, tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> int:
        """Cancel those of these goals that are drafts, whatever else has become of the others; how many those were."""
        stored = await self._goals.for_change_many(tx, tenant_id, goal_ids)
        drafts = [cancelled(goal) for goal in stored.values() if goal.status is Status.DRAFT]
        await self._goals.save_many(tx, tenant_id, drafts)
        return len(drafts)

    async def require_none_in_force(self, tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> None:
        """Raises GoalNotDraft where one of these goals is active or closed."""
        in_force = await store.count_in_force(tx, tenant_id, goal_ids)
        if in_force:
            raise GoalNotDraft(f"{in_force} of the goals count already, or did; only drafts are taken back.")

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
        await self.check_decides(tx, tenant_id, goal, actor, sight)
        if goal.terms.measure.aggregate is not Aggregate.CHILDREN:
            raise NotAPart(f"Goal {goal_id} is not made of its parts: their weights decide nothing.")
        tx.reason = reason
        parts: list[Goal] = []
        for index, new in enumerate(weights):
            stored = await self._in_sight(tx, tenant_id, new.goal_id, AnyVersionOf(None), sight)
            await self.check_decides(tx, tenant_id, stored, actor, sight)
            parts.append(reweighed(stored, goal_id, new.weight, f"/weights/{index}/goal_id"))
        await store.add_revisions(tx, tenant_id, parts, reason=reason, revised_by=actor.person_id)
        await self._goals.save_many(tx, tenant_id, parts)
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
        await self._check_references(tx, tenant_id, [("", changed)], Refusals(alone=True))
        return stored

    async def check_decides(self, tx: Transaction, tenant_id: UUID, goal: Goal, actor: Actor, sight: Sight) -> None:
        """Raises GoalOutOfReach or OwnInterest unless the actor decides on this goal."""
        _check_decision(goal, actor, sight, await self._measured_by(tx, tenant_id, actor, [goal]), authors=())

    async def _in_sight(
        self, tx: Transaction, tenant_id: UUID, goal_id: UUID, expected_version: int, sight: Sight
    ) -> Goal:
        """The goal to be changed. One out of sight is not found."""
        stored = await self._goals.for_change(tx, tenant_id, goal_id, expected_version)
        if not sight.sees_owner(stored.terms.owner.id):
            raise GoalNotFound(f"There is no goal {goal_id}.")
        return stored

    async def _measured_by(
        self, tx: Transaction, tenant_id: UUID, actor: Actor, goals: Collection[Goal]
    ) -> dict[Owner, frozenset[UUID]]:
        """Whom goals of these goals' owners measure; nobody looks for that where the actor is no person."""
        owners = {goal.terms.owner for goal in goals}
        if actor.person_id is None or not owners:
            return {}
        measured = await self._organisation.measured_by(tx, tenant_id, {(owner.kind, owner.id) for owner in owners})
        return {owner: measured[owner.kind, owner.id] for owner in owners}

    async def _change(self, tx: Transaction, tenant_id: UUID, change: GoalChange, actor: Actor, sight: Sight) -> Goal:
        refusals = Refusals(alone=True)
        [changed] = await self.change_goals(tx, tenant_id, [change], refusals, actor=actor, sight=sight)
        return changed

    def _is_in_sight(self, pointer: str, goal: Goal, sight: Sight, refusals: Refusals) -> bool:
        """Whether it is; one out of sight is not found."""
        with refusals.at(pointer):
            if sight.sees_owner(goal.terms.owner.id):
                return True
            raise GoalNotFound(f"There is no goal {goal.id}.")
        return False

    async def _check_weights(self, tx: Transaction, tenant_id: UUID, states: Sequence[Goal]) -> None:
        """Raises WeightsNotWhole for a goal whose parts have changed from or to one of these states, or that is one."""
        concerned = {state.terms.parent_id for state in states if state.terms.parent_id is not None}
        concerned |= {state.id for state in states if state.terms.measure.aggregate is Aggregate.CHILDREN}
        check_weights(await store.weighings(tx, tenant_id, concerned))

    async def _check_references(
        self, tx: Transaction, tenant_id: UUID, checked: Sequence[tuple[str, Goal]], refusals: Refusals
    ) -> None:
        owners = {(goal.terms.owner.kind, goal.terms.owner.id) for _, goal in checked}
        known = await self._organisation.known_owners(tx, tenant_id, owners)
        wanted = {goal.terms.parent_id for _, goal in checked if goal.terms.parent_id is not None}
        parents = await store.lines_of(tx, tenant_id, wanted)
        parents |= {goal.id: goal.terms.parent_id for _, goal in checked if goal.version == 1}
        for pointer, goal in checked:
            with refusals.at(pointer):
                owner = goal.terms.owner
                if (owner.kind, owner.id) not in known:
                    raise unknown_owner(owner.kind, owner.id, "/owner/id")
                check_parent(parents, goal.id, goal.terms.parent_id)
                parents[goal.id] = goal.terms.parent_id


def _check_decision(
    goal: Goal,
    actor: Actor,
    sight: Sight,
    measured: Mapping[Owner, frozenset[UUID]],
    *,
    authors: Collection[Actor],
) -> None:
    check_may_decide(sight, goal.terms.owner)
    if actor.person_id is not None:
        concerned = measured[goal.terms.owner]
        check_no_own_interest(actor, concerned, "a goal in force")
        approval_of(goal, authors, concerned).check(actor)


_WEIGHED: Final = frozenset({Verb.ACTIVATE, Verb.REVISE, Verb.CANCEL})
"""What may change what the weights of a goal's parts come to."""


def _by_reason(
    made: Sequence[tuple[str, GoalChange, Goal, Goal]], of_all: str | None
) -> Mapping[str | None, list[Goal]]:
    by_reason: defaultdict[str | None, list[Goal]] = defaultdict(list)
    for _, wish, _, after in made:
        by_reason[wish.reason or of_all].append(after)
    return by_reason
