"""What a move does to memberships and goals, worked out before it is done. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from services.goals.moves.domain.move import (
    Effect,
    GoalEffect,
    Handling,
    MembershipEffect,
    MoveKind,
    MoveRefused,
    MoveTerms,
    TargetEffect,
)
from services.goals.org.domain import Membership, check_membership
from services.goals.planning.domain.segments import Ramp, Segment, segment_targets
from services.goals.targets.domain import (
    Direction,
    Goal,
    GoalTerms,
    GoalTermsRefused,
    Owner,
    Status,
    StretchLevel,
    check_terms,
)
from shared.kernel.errors import FieldError
from shared.kernel.measures import Aggregate
from shared.kernel.money import AMOUNT_DECIMALS_MAX, currency_minor_units, format_amount
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period


@dataclass(frozen=True, slots=True)
class ChangedGoal:
    """A goal that gets other terms, or is cancelled (`terms` is None)."""

    stored: Goal
    terms: GoalTerms | None


@dataclass(frozen=True, slots=True)
class NewGoal:
    """A goal that a successor gets, in the state of the goal `source_id` that is handed on.

    `below` is the source of another new goal, which it is a part of.
    """

    source_id: UUID
    terms: GoalTerms
    status: Status
    below: UUID | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a move would do now."""

    effect: Effect
    changed: tuple[ChangedGoal, ...]
    new: tuple[NewGoal, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What there is of whom a move concerns: their memberships and open goals, and which goals are made of parts."""

    memberships: Sequence[Membership]
    goals: Sequence[Goal]
    of_successors: Sequence[Goal] = ()
    made_of_parts: Collection[UUID] = ()
    manages: tuple[UUID, ...] = ()
    today: date | None = None
    """Where goals that are over by then do not come into force any more."""


def plan_of(terms: MoveTerms, known: Known) -> Plan:
    """What the move does to what is known, exactly: what is handed on and what is kept come to what there was.

    Raises MembershipOverlaps, MoveRefused.
    """
    concerned = _parents_first([goal for goal in known.goals if terms.days.within(goal.terms.period) is not None])
    _check_choices(terms, concerned)
    planning = _Planning(terms, known)
    effects = tuple(planning.effect_of(goal) for goal in concerned)
    for effect in effects:
        planning.check(effect)
    memberships = tuple(_membership_effects(terms, known.memberships))
    return Plan(Effect(memberships, effects, known.manages), tuple(planning.changed), tuple(planning.new))


@dataclass
class _Planning:
    """A plan while it is made; each goal of a successor takes over at most one other."""

    terms: MoveTerms
    known: Known
    changed: list[ChangedGoal] = field(default_factory=list)
    new: list[NewGoal] = field(default_factory=list)
    taken_over: dict[tuple[UUID, Owner], UUID | None] = field(default_factory=dict)
    """By which goal of whom a goal is taken over; None is a new one."""
    weighed: set[UUID] = field(default_factory=set)

    def effect_of(self, goal: Goal) -> GoalEffect:
        choice, measure = self.terms.of_goal(goal.id), goal.terms.measure
        handling = Handling.STAY if measure.aggregate is Aggregate.CHILDREN else choice.handling
        weighed = goal.terms.parent_id in self.known.made_of_parts
        if weighed:
            self.weighed.add(goal.id)
        kept: GoalTerms | None = goal.terms
        handed: GoalTerms | None = None
        if handling is not Handling.STAY:
            kept, handed = _divided(self.terms, goal.terms, handling, adds_up=measure.adds_up, weighed=weighed)
        targets = [_target_effect(goal, kept)]
        if kept != goal.terms:
            self.changed.append(ChangedGoal(goal, kept))
        if handed is not None and choice.successor_id is not None:
            owner = Owner(OwnerKind.PERSON, choice.successor_id)
            handed = replace(handed, owner=owner, name=choice.name or handed.name)
            targets.append(self._taken_over(goal, handed, adds_up=measure.adds_up, weighed=weighed))
        terms = goal.terms
        return GoalEffect(goal.id, terms.name, goal.status, terms.unit, handling, measure.adds_up, tuple(targets))

    def check(self, effect: GoalEffect) -> None:
        """Raises MoveRefused where a goal in force, or one above it, could not be so."""
        ids = {each.goal_id for each in effect.targets}
        promised = [each.terms for each in self.changed if each.stored.id in ids]
        promised += [each.terms for each in self.new if each.source_id == effect.goal_id]
        if effect.status is not Status.ACTIVE:
            return
        if None in promised and len(promised) == 1 and effect.goal_id in self.weighed:
            raise self._refused(effect, "leaves the goal above it with weights that do not come to 1")
        today = self.known.today
        for new in self.new:
            if new.source_id == effect.goal_id and today is not None and new.terms.period.end <= today:
                raise self._refused(effect, "makes a goal whose days are over, which a service alone brings in")
        for terms in promised:
            try:
                if terms is not None:
                    check_terms(terms)
            except GoalTermsRefused as error:
                raise self._refused(effect, f"leaves what no goal in force can be: {error.detail}") from error

    def _refused(self, effect: GoalEffect, message: str) -> MoveRefused:
        choices = [choice.goal_id for choice in self.terms.choices]
        pointer = f"/goals/{choices.index(effect.goal_id)}" if effect.goal_id in choices else ""
        return MoveRefused(
            f"{effect.handling} of {effect.name} (goal {effect.goal_id}) {message}.",
            fields=[FieldError(f"{pointer}/handling", f"{message} (goal {effect.goal_id})", Handling.STAY)],
        )

    def _taken_over(self, goal: Goal, handed: GoalTerms, *, adds_up: bool, weighed: bool) -> TargetEffect:
        """By a goal of the successor that is the same but for its target, else by a new one for the days handed on."""
        parent_id, below = handed.parent_id, None
        if parent_id is not None and (parent_id, handed.owner) in self.taken_over:
            taker = self.taken_over[parent_id, handed.owner]
            parent_id, below = (None, parent_id) if taker is None else (taker, None)
        alike = next((other for other in self.known.of_successors if self._is_alike(goal, handed, other)), None)
        self.taken_over[goal.id, handed.owner] = None if alike is None else alike.id
        if alike is None:
            self.new.append(NewGoal(goal.id, replace(handed, parent_id=parent_id), goal.status, below))
            return TargetEffect(None, 0, handed.owner.id, handed.period, None, handed.target)
        after = alike.terms
        if adds_up:
            levels = (replace(level, target=level.target + handed.target) for level in after.stretch)
            after = replace(
                after,
                target=after.target + handed.target,
                baseline=after.baseline + handed.baseline,
                stretch=tuple(levels),
            )
        if weighed:
            after = replace(after, weight=after.weight + handed.weight)
        if after != alike.terms:
            self.changed.append(ChangedGoal(alike, after))
        return _target_effect(alike, after)

    def _is_alike(self, goal: Goal, handed: GoalTerms, other: Goal) -> bool:
        mine, theirs = goal.terms, other.terms
        parents = {mine.parent_id}
        if mine.parent_id is not None:
            parents.add(self.taken_over.get((mine.parent_id, handed.owner)))
        return (
            other.id not in self.taken_over.values()
            and other.status is goal.status
            and theirs.owner == handed.owner
            and theirs.parent_id in parents
            and (theirs.measure, theirs.unit, theirs.direction, theirs.period)
            == (mine.measure, mine.unit, mine.direction, mine.period)
        )


def _divided(
    move: MoveTerms, goal: GoalTerms, handling: Handling, *, adds_up: bool, weighed: bool
) -> tuple[GoalTerms | None, GoalTerms | None]:
    """What the person keeps of a goal and what is handed on of it; None where that is nothing."""
    shares, decimals = list(_shares(move, goal.period, handling)), _decimals(goal)

    def part(terms: GoalTerms, *, is_kept: bool) -> GoalTerms | None:
        if not adds_up:
            return terms if any(each.is_kept is is_kept and each.share for each in shares) else None

        def amount(whole: Decimal) -> Decimal:
            return _part(shares, whole, goal.period, decimals, is_kept=is_kept)

        target, baseline = amount(terms.target), amount(terms.baseline)
        levels = [replace(level, target=amount(level.target)) for level in terms.stretch]
        scaled = replace(terms, target=target, baseline=baseline, stretch=tuple(_beyond(terms, target, levels)))
        return scaled if target or baseline else None

    kept = part(goal, is_kept=True)
    gone = next((each.days for each in shares if not each.is_kept), None)
    handed = None if gone is None else part(replace(goal, period=gone), is_kept=False)
    if weighed and kept is not None and handed is not None:
        weight = _part(shares, goal.weight, goal.period, AMOUNT_DECIMALS_MAX, is_kept=False)
        return replace(kept, weight=goal.weight - weight), replace(handed, weight=weight)
    return kept, handed


@dataclass(frozen=True, slots=True)
class _Share:
    """Days of a goal's period and how much of what they have is there, for the person or for the successor."""

    days: Period
    share: Decimal = Decimal(1)
    is_kept: bool = True


def _shares(move: MoveTerms, period: Period, handling: Handling) -> Iterator[_Share]:
    """In order of the days. Of what is reduced, the days on which the person is not there are left out."""
    start, end = move.days.start, move.days.end
    if move.kind is not MoveKind.HIRE and period.start < start:
        yield _Share(Period(period.start, min(start, period.end)))
    if move.kind in (MoveKind.HIRE, MoveKind.RAMP):
        for days, share in Ramp(start, move.ramp).spans(period):
            yield _Share(days, share)
        return
    gone = move.days.within(period)
    if gone is not None and handling is Handling.HAND_ON:
        yield _Share(gone, is_kept=False)
    if end is not None and end < period.end:
        yield _Share(Period(max(end, period.start), period.end))


def _part(shares: Sequence[_Share], whole: Decimal, period: Period, decimals: int, *, is_kept: bool) -> Decimal:
    segments = [Segment(each.days, whole, each.share) for each in shares]
    amounts = segment_targets(segments, period, decimals)
    of = zip(shares, amounts, strict=True)
    return sum((amount for each, amount in of if each.is_kept is is_kept), Decimal(0))


def _beyond(terms: GoalTerms, target: Decimal, levels: Sequence[StretchLevel]) -> Iterator[StretchLevel]:
    """The levels that rounding has not made the same as what they went beyond."""
    bound = target
    for level in levels:
        if level.target > bound if terms.direction is Direction.HIGHER else level.target < bound:
            yield level
            bound = level.target


def _decimals(goal: GoalTerms) -> int:
    """Those of the currency or of a whole, or as many more as the goal's own amounts have."""
    usual = currency_minor_units(goal.measure.currency) if goal.measure.is_money and goal.measure.currency else 0
    amounts = (goal.target, goal.baseline, *(level.target for level in goal.stretch))
    return max(usual, *(len(format_amount(amount).partition(".")[2]) for amount in amounts))


def _target_effect(goal: Goal, after: GoalTerms | None) -> TargetEffect:
    terms = goal.terms
    kept = None if after is None else after.target
    return TargetEffect(goal.id, goal.version, terms.owner.id, terms.period, terms.target, kept)


def _parents_first(goals: Sequence[Goal]) -> list[Goal]:
    waiting, ordered = {goal.id: goal for goal in goals}, list[Goal]()
    while waiting:
        ready = [goal for goal in waiting.values() if goal.terms.parent_id not in waiting]
        ordered += ready
        for goal in ready:
            del waiting[goal.id]
    return ordered


def _check_choices(terms: MoveTerms, concerned: Sequence[Goal]) -> None:
    goals = {goal.id: goal for goal in concerned}
    for index, choice in enumerate(terms.choices):
        goal = goals.get(choice.goal_id)
        if goal is None:
            message = "is no goal of the person, drafted or in force, with days from the first day on"
            accepted = ", ".join(str(goal_id) for goal_id in goals) or "no choice, as there is no such goal"
            raise MoveRefused(
                f"Goal {choice.goal_id} {message}.", fields=[FieldError(f"/goals/{index}/goal_id", message, accepted)]
            )
        if goal.terms.measure.aggregate is Aggregate.CHILDREN and choice.handling is not Handling.STAY:
            message = "is not for a goal made of its parts: they are what is handed on or reduced"
            raise MoveRefused(
                f"{choice.handling} {message}.",
                fields=[FieldError(f"/goals/{index}/handling", message, Handling.STAY)],
            )


def _membership_effects(terms: MoveTerms, stays: Sequence[Membership]) -> Iterator[MembershipEffect]:
    """Raises MembershipOverlaps where the person is in the team already."""
    start = terms.days.start
    if terms.kind in (MoveKind.LEAVER, MoveKind.TRANSFER):
        left = [stay for stay in stays if _is_left(terms, stay)]
        for stay in left:
            ends = DatedRange(stay.range.start, start) if stay.range.start < start else None
            yield MembershipEffect(stay.id, stay.version, stay.team_id, stay.range, ends)
    if terms.team_id is not None:
        begun = Membership(UUID(int=0), 1, terms.person_id, terms.team_id, DatedRange(start))
        check_membership(begun, stays)
        yield MembershipEffect(None, 0, terms.team_id, None, begun.range)


def _is_left(terms: MoveTerms, stay: Membership) -> bool:
    if stay.range.end is not None and stay.range.end <= terms.days.start:
        return False
    if terms.kind is MoveKind.LEAVER:
        return True
    return stay.team_id != terms.team_id if terms.from_team_id is None else stay.team_id == terms.from_team_id
