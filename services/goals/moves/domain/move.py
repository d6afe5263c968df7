"""A move: who comes, goes, changes or is away, what was shown of its effect, and who drafts and decides it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from services.goals.org.domain import Strength
from services.goals.planning.domain.segments import Ramp
from services.goals.targets.domain import Status
from shared.kernel.approvals import Actor, Decision, Proposal, check_no_own_interest
from shared.kernel.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import Breadth, Sight


class MoveNotFound(NotFound):
    """There is no such move, or the caller may not see everybody it concerns."""

    code = "move_not_found"
    title = "Move not found"


class MoveEnded(Conflict):
    """The move was applied or cancelled already."""

    code = "move_ended"
    title = "Move has ended"


class MoveOutdated(Conflict):
    """Memberships or goals have changed since the effect of the move was shown."""

    code = "move_outdated"
    title = "Move is outdated"


class MoveRefused(InvalidInput):
    """What is stated of a move contradicts itself, or names what it cannot concern."""

    code = "move_refused"
    title = "Move refused"


class MoveOutOfReach(Forbidden):
    """The caller may not move these people or decide on their moves."""

    code = "move_out_of_reach"
    title = "Move out of reach"


class MoveKind(StrEnum):
    """What happens to a person."""

    HIRE = "hire"
    LEAVER = "leaver"
    TRANSFER = "transfer"
    TERRITORY = "territory"
    """The person stays in the team and gives up what it had to reach."""
    LEAVE = "leave"
    RAMP = "ramp"


class MoveState(StrEnum):
    """Where a move is in its life."""

    DRAFT = "draft"
    APPLIED = "applied"
    CANCELLED = "cancelled"


class Handling(StrEnum):
    """What becomes of what a goal has for the days that the person is not there for, or not in full."""

    HAND_ON = "hand_on"
    REDUCE = "reduce"
    STAY = "stay"


@dataclass(frozen=True, slots=True)
class GoalChoice:
    """What becomes of one goal. What it leaves out is as the move says; `name` is that of a goal of the successor."""

    goal_id: UUID
    handling: Handling
    successor_id: UUID | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class MoveTerms:
    """Who moves how, on which days. `handling` and `successor_id` are for goals without a choice of their own.

    `team_id` is where a hire or a transfer goes to; a transfer leaves `from_team_id`, or all other teams. `ramp` has
    the share (0 to 1) of each month from the first day on.
    """

    person_id: UUID
    kind: MoveKind
    days: DatedRange
    team_id: UUID | None = None
    from_team_id: UUID | None = None
    successor_id: UUID | None = None
    handling: Handling = Handling.STAY
    choices: tuple[GoalChoice, ...] = ()
    ramp: tuple[Decimal, ...] = ()

    @property
    def successors(self) -> frozenset[UUID]:
        """Everybody to whom something may be handed on."""
        named = {choice.successor_id for choice in self.choices} | {self.successor_id}
        return frozenset(person_id for person_id in named if person_id is not None)

    def of_goal(self, goal_id: UUID) -> GoalChoice:
        """What becomes of a goal, with its successor."""
        for choice in self.choices:
            if choice.goal_id == goal_id:
                return replace(choice, successor_id=choice.successor_id or self.successor_id)
        return GoalChoice(goal_id, self.handling, self.successor_id)


@dataclass(frozen=True, slots=True)
class MembershipEffect:
    """A membership that begins (`before` is None, version 0), ends earlier, or is taken back (`after` is None)."""

    membership_id: UUID | None
    version: int
    team_id: UUID
    before: DatedRange | None
    after: DatedRange | None


@dataclass(frozen=True, slots=True)
class TargetEffect:
    """What a goal's target becomes: of a new goal (`before` is None, version 0), or of one that is cancelled (`after`
    is None).
    """

    goal_id: UUID | None
    version: int
    owner_id: UUID
    period: Period
    before: Decimal | None
    after: Decimal | None


@dataclass(frozen=True, slots=True)
class GoalEffect:
    """What becomes of one of the person's goals: of itself and, where it is handed on, of the successor's.

    `adds_up` is whether targets of its metric can be summed; a rate, such as a ratio, is handed on as it is.
    """

    goal_id: UUID
    name: str
    status: Status
    unit: str
    handling: Handling
    adds_up: bool
    targets: tuple[TargetEffect, ...]

    @property
    def sum_before(self) -> Decimal:
        return sum((each.before for each in self.targets if each.before is not None), Decimal(0))

    @property
    def sum_after(self) -> Decimal:
        return sum((each.after for each in self.targets if each.after is not None), Decimal(0))


@dataclass(frozen=True, slots=True)
class Effect:
    """All that a move does. `manages` are teams that the person manages today, which no move changes."""

    memberships: tuple[MembershipEffect, ...]
    goals: tuple[GoalEffect, ...]
    manages: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A move with the effect it was drafted with: that one, and no other, is what is applied."""

    id: UUID
    version: int
    terms: MoveTerms
    reason: str
    effect: Effect
    author: Actor
    drafted_at: datetime
    state: MoveState = MoveState.DRAFT
    decision: Decision | None = None

    @property
    def owners(self) -> frozenset[UUID]:
        """The people and teams it concerns."""
        teams = {each.team_id for each in self.effect.memberships}
        return frozenset({self.terms.person_id, *self.terms.successors, *teams})


@dataclass(frozen=True, slots=True)
class MoveFilter:
    """Which moves are wanted; None narrows nothing down."""

    person_id: UUID | None = None
    kind: MoveKind | None = None
    state: MoveState | None = None


def applied(move: Move, decision: Decision) -> Move:
    """Raises MoveEnded."""
    return _ended(move, MoveState.APPLIED, decision)


def cancelled(move: Move, decision: Decision) -> Move:
    """Raises MoveEnded."""
    return _ended(move, MoveState.CANCELLED, decision)


def usual_handling(kind: MoveKind, successor_id: UUID | None) -> Handling:
    """What becomes of goals where nobody says."""
    if successor_id is not None:
        return Handling.HAND_ON
    return Handling.STAY if kind in (MoveKind.LEAVER, MoveKind.TRANSFER, MoveKind.TERRITORY) else Handling.REDUCE


def check_may_draft(sight: Sight, owners: Collection[UUID]) -> None:
    """Raises MoveOutOfReach unless the viewer may draft a move that concerns these people and teams."""
    if not sight.viewer.edits and (sight.is_whole or not all(sight.sees_owner(owner) for owner in owners)):
        raise MoveOutOfReach(
            "Moves are drafted by RevOps for everybody, by a manager for moves within its subtree, and by everybody for"
            " themselves where nobody else and no team is concerned."
        )


def check_may_decide(
    sight: Sight, actor: Actor, move: Move, measured: Collection[UUID], *, authors: Collection[Actor]
) -> None:
    """Raises MoveOutOfReach; OwnInterest for whom it moves or measures; ApprovalNotIndependent for who wrote it.

    A service has approved it elsewhere.
    """
    sees = sight.viewer.breadth is Breadth.SUBTREE and all(sight.sees_owner(owner) for owner in move.owners)
    if not (sight.viewer.edits or sees):
        raise MoveOutOfReach("It is decided by RevOps, or by a manager of everybody whom it concerns.")
    if actor.person_id is None:
        return
    check_no_own_interest(actor, measured, "a move")
    approvers = "somebody of RevOps, or a manager above everybody whom it concerns,"
    Proposal("the move", authors, measured, approvers).check(actor)


def check_unchanged(move: Move, now: Effect) -> None:
    """Raises MoveOutdated unless the move would do now just what was shown."""
    if now == move.effect:
        return
    shown = {each.goal_id: each for each in move.effect.goals}
    found = {each.goal_id: each for each in now.goals}
    changed = sorted(str(key) for key in shown.keys() | found.keys() if shown.get(key) != found.get(key))
    what = [f"goal {each}" for each in changed]
    if now.memberships != move.effect.memberships:
        what.append("memberships")
    if now.manages != move.effect.manages:
        what.append("teams that the person manages")
    raise MoveOutdated(f"Since this was drafted, there were changes of {', '.join(what)}: draft it anew.")


def check_terms(terms: MoveTerms) -> None:
    """Raises MoveRefused, with every contradiction."""
    problems = list(_problems(terms))
    if problems:
        detail = "; ".join(f"{problem.pointer}: {problem.message}" for problem in problems)
        raise MoveRefused(detail, fields=problems)


def _problems(terms: MoveTerms) -> Iterator[FieldError]:
    kind = terms.kind
    goes_somewhere = kind in (MoveKind.HIRE, MoveKind.TRANSFER)
    if goes_somewhere and terms.team_id is None:
        yield FieldError("/team_id", f"is missing for a {kind}", "the team the person goes to")
    if not goes_somewhere and terms.team_id is not None:
        yield FieldError("/team_id", f"is not for a {kind}", "null, or the kind hire or transfer")
    if terms.from_team_id is not None and kind is not MoveKind.TRANSFER:
        yield FieldError("/from_team_id", f"is not for a {kind}", "null, or the kind transfer")
    if terms.from_team_id is not None and terms.from_team_id == terms.team_id:
        yield FieldError("/from_team_id", "is the team the person goes to", "the team the person leaves, or null")
    if terms.days.end is not None and kind is not MoveKind.LEAVE:
        yield FieldError("/end", f"is not for a {kind}", "null, or the kind leave")
    if kind is MoveKind.RAMP and not terms.ramp:
        yield FieldError("/ramp", "is missing", "a share for each month, such as 0, 0.25, 0.5, 0.75, 1")
    if terms.ramp and kind not in (MoveKind.HIRE, MoveKind.RAMP):
        yield FieldError("/ramp", f"is not for a {kind}", "no shares, or the kind hire or ramp")
    yield from _problems_of_goals(terms)


def _problems_of_goals(terms: MoveTerms) -> Iterator[FieldError]:
    seen: set[UUID] = set()
    choices = [("", GoalChoice(terms.person_id, terms.handling, terms.successor_id))]
    choices += [(f"/goals/{index}", terms.of_goal(choice.goal_id)) for index, choice in enumerate(terms.choices)]
    for pointer, choice in choices:
        if choice.handling is Handling.HAND_ON and terms.kind in (MoveKind.HIRE, MoveKind.RAMP):
            yield FieldError(f"{pointer}/handling", f"hands on nothing with a {terms.kind}", "reduce or stay")
        elif choice.handling is Handling.HAND_ON and choice.successor_id is None:
            yield FieldError(f"{pointer}/successor_id", "is missing to hand on to", "the person who takes over")
        if choice.successor_id == terms.person_id:
            yield FieldError(f"{pointer}/successor_id", "is the person who moves", "another person")
    for index, choice in enumerate(terms.choices):
        if choice.goal_id in seen:
            yield FieldError(f"/goals/{index}/goal_id", "has a choice already", "each goal once")
        seen.add(choice.goal_id)


def _ended(move: Move, state: MoveState, decision: Decision) -> Move:
    if move.state is not MoveState.DRAFT:
        raise MoveEnded(f"This move is {move.state} already.")
    return replace(move, version=move.version + 1, state=state, decision=decision)


def strengths_of(
    person_id: UUID, kind: MoveKind, days: DatedRange, ramp: Sequence[Decimal], period: Period
) -> Iterator[Strength]:
    """The days of a period on which a move leaves a person less than all of its strength."""
    if kind is MoveKind.LEAVE:
        yield Strength(person_id, days, Decimal(0))
    elif ramp:
        for span, share in Ramp(days.start, tuple(ramp)).spans(period):
            if share != 1:
                yield Strength(person_id, DatedRange(span.start, span.end), share)
