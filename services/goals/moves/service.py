"""The use cases of moves: drafted with their effect, decided by another one, done in one transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

from services.goals.calendar.service import Calendars
from services.goals.moves import store
from services.goals.moves.domain.effects import ChangedGoal, Known, NewGoal, Plan, plan_of
from services.goals.moves.domain.move import (
    MembershipEffect,
    Move,
    MoveFilter,
    MoveKind,
    MoveTerms,
    applied,
    cancelled,
    check_may_decide,
    check_may_draft,
    check_terms,
    check_unchanged,
)
from services.goals.org.domain import Membership, MembershipFilter, Strength, TeamFilter, UnknownPerson, UnknownTeam
from services.goals.org.service import Organisation
from services.goals.targets.domain import GoalTerms, Status, draft
from services.goals.targets.service import ChangeOf, GoalChange, Goals, Verb
from shared.db.database import Transaction
from shared.kernel.approvals import Actor, Decision
from shared.kernel.errors import Refusals
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import WHOLE_TENANT, Sight
from shared.outbox.published import Change
from shared.outbox.recorded import Recorded
from shared.outbox.trail import Trail

_OF_ONE_PERSON_MAX: Final = 10_000


async def strengths(
    tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID], period: Period
) -> Sequence[Strength]:
    """On which days of a period applied moves leave these people less than all of their strength."""
    return await store.strengths(tx, tenant_id, person_ids, period)


class Moves:
    """The moves of every tenant."""

    def __init__(self, organisation: Organisation, calendars: Calendars, goals: Goals, trail: Trail) -> None:
        self._organisation = organisation
        self._calendars = calendars
        self._goals = goals
        self._moves = Recorded("move", store.MOVES, lambda _, move: store.values(move), trail)

    async def create_move(
        self, tx: Transaction, tenant_id: UUID, terms: MoveTerms, *, reason: str, actor: Actor, sight: Sight
    ) -> Move:
        """A draft with its effect, which changes nothing yet.

        Raises MoveRefused, MoveOutOfReach, UnknownPerson, UnknownTeam, MembershipOverlaps.
        """
        check_terms(terms)
        teams = [team_id for team_id in (terms.team_id, terms.from_team_id) if team_id is not None]
        check_may_draft(sight, [terms.person_id, *terms.successors, *teams])
        await self._check_known(tx, tenant_id, terms)
        plan = await self._plan(tx, tenant_id, terms, actor)
        move = Move(tx.new_id(), 1, terms, reason, plan.effect, actor, tx.now)
        tx.reason = reason
        return await self._moves.add(tx, tenant_id, move)

    async def list_moves(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, wanted: MoveFilter, *, after: UUID | None, limit: int
    ) -> list[Move]:
        """Those in sight, the oldest first."""
        return await store.list_moves(tx, tenant_id, sight, wanted, after=after, limit=limit)

    async def get_move(self, tx: Transaction, tenant_id: UUID, move_id: UUID, sight: Sight) -> Move:
        """Raises MoveNotFound, also for one out of sight."""
        return await store.MOVES.get(tx, tenant_id, move_id, store.move_in(sight))

    async def apply_move(
        self,
        tx: Transaction,
        tenant_id: UUID,
        move_id: UUID,
        expected_version: int,
        *,
        reason: str | None,
        actor: Actor,
        sight: Sight,
    ) -> Move:
        """Do what was shown: memberships, goals in force by a revision each, drafts, new goals of successors.

        Raises MoveNotFound, VersionMismatch, MoveEnded, MoveOutdated, MoveOutOfReach, OwnInterest,
        ApprovalNotIndependent, and what changes of memberships and goals do.
        """
        await tx.lock_tenants_exclusive([tenant_id])
        move = await self._for_decision(tx, tenant_id, move_id, expected_version, sight)
        ended = applied(move, Decision(actor, tx.now, reason))
        await self._check_decides(tx, tenant_id, move, actor, sight, authors=(move.author,))
        plan = await self._plan(tx, tenant_id, move.terms, actor)
        check_unchanged(move, plan.effect)
        tx.reason = await self._why(tx, tenant_id, move)
        await self._move_member(tx, tenant_id, move)
        await self._change_goals(tx, tenant_id, move, plan, tx.reason, actor, sight)
        tx.reason = reason
        return await self._moves.save(tx, tenant_id, ended)

    async def cancel_move(
        self,
        tx: Transaction,
        tenant_id: UUID,
        move_id: UUID,
        expected_version: int,
        *,
        reason: str | None,
        actor: Actor,
        sight: Sight,
    ) -> Move:
        """Take back a draft of one's own, or refuse another one's.

        Raises MoveNotFound, VersionMismatch, MoveEnded, MoveOutOfReach, OwnInterest.
        """
        move = await self._for_decision(tx, tenant_id, move_id, expected_version, sight)
        ended = cancelled(move, Decision(actor, tx.now, reason))
        if actor != move.author:
            await self._check_decides(tx, tenant_id, move, actor, sight, authors=())
        tx.reason = reason
        return await self._moves.save(tx, tenant_id, ended)

    async def _for_decision(
        self, tx: Transaction, tenant_id: UUID, move_id: UUID, expected_version: int, sight: Sight
    ) -> Move:
        await self.get_move(tx, tenant_id, move_id, sight)
        return await self._moves.for_change(tx, tenant_id, move_id, expected_version)

    async def _check_decides(
        self, tx: Transaction, tenant_id: UUID, move: Move, actor: Actor, sight: Sight, *, authors: Sequence[Actor]
    ) -> None:
        """A move measures its person and successors, and by their goals who manages the teams it changes."""
        people = [(OwnerKind.PERSON, person_id) for person_id in (move.terms.person_id, *move.terms.successors)]
        teams = [(OwnerKind.TEAM, each.team_id) for each in move.effect.memberships]
        measured = await self._organisation.measured_by(tx, tenant_id, [*people, *teams])
        check_may_decide(sight, actor, move, frozenset().union(*measured.values()), authors=authors)

    async def _check_known(self, tx: Transaction, tenant_id: UUID, terms: MoveTerms) -> None:
        people = [("/person_id", terms.person_id), ("/successor_id", terms.successor_id)]
        people += [(f"/goals/{index}/successor_id", choice.successor_id) for index, choice in enumerate(terms.choices)]
        teams = [("/team_id", terms.team_id), ("/from_team_id", terms.from_team_id)]
        wanted = [(OwnerKind.PERSON, key) for _, key in people if key] + [
            (OwnerKind.TEAM, key) for _, key in teams if key
        ]
        known = await self._organisation.known_owners(tx, tenant_id, wanted)
        for pointer, person_id in people:
            if person_id is not None and (OwnerKind.PERSON, person_id) not in known:
                raise UnknownPerson.at(pointer, person_id)
        for pointer, team_id in teams:
            if team_id is not None and (OwnerKind.TEAM, team_id) not in known:
                raise UnknownTeam.at(pointer, team_id)

    async def _plan(self, tx: Transaction, tenant_id: UUID, terms: MoveTerms, actor: Actor) -> Plan:
        """What the move would do now, by this actor. A service brings in goals of any time."""
        wanted = MembershipFilter(person_id=terms.person_id)
        memberships = await self._organisation.list_memberships(
            tx, tenant_id, WHOLE_TENANT, wanted, after=None, limit=_OF_ONE_PERSON_MAX
        )
        owners = terms.successors | {terms.person_id}
        goals = await self._goals.open_goals(tx, tenant_id, owners, terms.days.start)
        parents = {goal.terms.parent_id for goal in goals if goal.terms.parent_id is not None}
        manages: list[UUID] = []
        if terms.kind in (MoveKind.LEAVER, MoveKind.TRANSFER):
            managed = TeamFilter(manager_id=terms.person_id)
            teams = await self._organisation.list_teams(
                tx, tenant_id, WHOLE_TENANT, managed, after=None, limit=_OF_ONE_PERSON_MAX
            )
            manages = [team.id for team in teams]
        known = Known(
            memberships,
            [goal for goal in goals if goal.terms.owner.id == terms.person_id],
            [goal for goal in goals if goal.terms.owner.id != terms.person_id],
            await self._goals.made_of_parts(tx, tenant_id, parents),
            tuple(manages),
            None if actor.person_id is None else await self._calendars.today(tx, tenant_id),
        )
        return plan_of(terms, known)

    async def _why(self, tx: Transaction, tenant_id: UUID, move: Move) -> str:
        """The reason of everything that the move changes."""
        terms = move.terms
        person = await self._organisation.get_person(tx, tenant_id, terms.person_id, WHOLE_TENANT)
        return f"{terms.kind.capitalize()} of {person.name} on {terms.days.start} (move {move.id}): {move.reason}"

    async def _move_member(self, tx: Transaction, tenant_id: UUID, move: Move) -> None:
        person_id = move.terms.person_id
        effects = move.effect.memberships
        created = [
            ("", partial(_begun, person_id, each.team_id, each.after))
            for each in effects
            if each.membership_id is None and each.after is not None
        ]
        changes = [
            Change("", each.membership_id, each.version, _changed(each))
            for each in effects
            if each.membership_id is not None
        ]
        await self._organisation.put_memberships(tx, tenant_id, created, changes, Refusals(alone=True))

    async def _change_goals(
        self,
        tx: Transaction,
        tenant_id: UUID,
        move: Move,
        plan: Plan,
        why: str,
        actor: Actor,
        sight: Sight,
    ) -> None:
        """Drafts are written in the name of the move's author: who applies it decides, and has written nothing."""
        refusals = Refusals(alone=True)
        ids = {each.source_id: tx.new_id() for each in plan.new}
        new = [(draft(ids[each.source_id], _below(each, ids)), each.status) for each in plan.new]
        drafts = [_change(each, why, move.author) for each in plan.changed if each.stored.status is Status.DRAFT]
        tx.actor = move.author
        await self._goals.add_drafts(tx, tenant_id, [("", goal) for goal, _ in new], refusals, sight)
        await self._goals.change_goals(tx, tenant_id, drafts, refusals, actor=move.author, sight=sight)
        tx.actor = actor
        decisions = [_change(each, why, move.author) for each in plan.changed if each.stored.status is Status.ACTIVE]
        decisions += [
            GoalChange("", Verb.ACTIVATE, goal.id, goal.version) for goal, status in new if status is Status.ACTIVE
        ]
        await self._goals.change_goals(tx, tenant_id, decisions, refusals, actor=actor, sight=sight)


def _begun(person_id: UUID, team_id: UUID, days: DatedRange, membership_id: UUID) -> Membership:
    return Membership(membership_id, 1, person_id, team_id, days)


def _changed(effect: MembershipEffect) -> Callable[[Membership], Membership]:
    days = effect.after
    if days is None:
        return lambda stay: replace(stay, deleted=True)
    return lambda stay: replace(stay, range=days)


def _below(new: NewGoal, ids: Mapping[UUID, UUID]) -> GoalTerms:
    return new.terms if new.below is None else replace(new.terms, parent_id=ids[new.below])


def _change(changed: ChangedGoal, why: str, author: Actor) -> GoalChange:
    stored, terms = changed.stored, changed.terms
    if terms is None:
        return GoalChange("", Verb.CANCEL, stored.id, stored.version)
    verb = Verb.CHANGE if stored.status is Status.DRAFT else Verb.REVISE
    return GoalChange("", verb, stored.id, stored.version, _gives(terms), why, (author,))


def _gives(terms: GoalTerms) -> ChangeOf:
    return lambda _before, _calendar: terms
