"""Requests and answers of moves."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from services.goals.agreements.schemas import DecisionAnswer
from services.goals.moves.domain.move import (
    Effect,
    GoalChoice,
    GoalEffect,
    Handling,
    MembershipEffect,
    Move,
    MoveKind,
    MoveState,
    MoveTerms,
    TargetEffect,
    usual_handling,
)
from services.goals.planning.domain.segments import RAMP_MONTHS_MAX
from services.goals.targets.domain import Status
from services.goals.targets.schemas import PeriodAnswer, Reason
from shared.contracts.base import AMOUNT_LIMITS, AS_TEXT, NO_FLOAT, Amount, Day, Instant
from shared.contracts.texts import Line
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.periods import DatedRange

CHOICES_MAX: Final = 500
Share = Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0, le=1), NO_FLOAT, AS_TEXT]

_LEAVER: Final = "01935a00-0000-7000-8000-000000000011"
_SUCCESSOR: Final = "01935a00-0000-7000-8000-000000000013"
_TEAM: Final = "01935a00-0000-7000-8000-000000000021"
_GOAL: Final = "01935a00-0000-7000-8000-000000000031"
_QUARTER: Final[JsonValue] = {"start": "2026-01-01", "end": "2026-04-01"}
_STATED: Final[dict[str, JsonValue]] = {
    "person_id": _LEAVER,
    "kind": "leaver",
    "start": "2026-02-01",
    "successor_id": _SUCCESSOR,
    "goals": [{"goal_id": _GOAL, "handling": "hand_on", "name": "Bookings of the north, from February"}],
    "reason": "Leaves the company",
}


class GoalChoiceBody(BaseModel):
    """What becomes of one goal of the person."""

    model_config = body_example(goal_id=_GOAL, handling="hand_on", successor_id=_SUCCESSOR)

    goal_id: UUID
    handling: Handling
    successor_id: UUID | None = Field(None, description="With `hand_on`, to whom; left out: the move's successor.")
    name: Line | None = Field(None, description="Of the successor's new goal; left out: the name it has.")

    def choice(self) -> GoalChoice:
        return GoalChoice(self.goal_id, self.handling, self.successor_id, self.name)

    @classmethod
    def of(cls, choice: GoalChoice) -> Self:
        return cls(goal_id=choice.goal_id, handling=choice.handling, successor_id=choice.successor_id, name=choice.name)


class MoveBody(BaseModel):
    """Who moves how from which day on, and what becomes of the goals."""

    model_config = body_example(**_STATED)

    person_id: UUID
    kind: MoveKind = Field(
        description="`hire` into a team; `leaver`, out of all teams; `transfer` to another team; `territory`, which "
        "changes no team; `leave`, away and still in the team; `ramp`, not yet at full strength."
    )
    start: Day = Field(description="The first day on which it is so: of a leaver the first of absence.")
    end: Day | None = Field(None, description="Of a `leave` the first day back; null when nobody knows.")
    team_id: UUID | None = Field(None, description="Where a `hire` or a `transfer` goes to.")
    from_team_id: UUID | None = Field(None, description="What a `transfer` leaves; left out: all other teams.")
    successor_id: UUID | None = Field(None, description="Who takes over what is handed on.")
    handling: Handling | None = Field(
        None,
        description="What becomes of goals without a choice of their own, for the days the person is not there for: "
        "`hand_on` to the successor; `reduce`, so that nobody has it; `stay`. Left out: `hand_on` where there is a "
        "successor, else `stay` for a leaver, a transfer and a territory, `reduce` for a hire, a leave and a ramp.",
    )
    goals: list[GoalChoiceBody] = Field([], max_length=CHOICES_MAX, description="Goals of which it is otherwise.")
    ramp: list[Share] = Field(
        [],
        max_length=RAMP_MONTHS_MAX,
        description="Of a `hire` or a `ramp`: the share of each month from `start` on, 0 to 1; all of it afterwards.",
        examples=[["0", "0.25", "0.5", "0.75"]],
    )
    reason: Reason

    def terms(self) -> MoveTerms:
        """Raises InvalidInput where it ends before it starts."""
        return MoveTerms(
            person_id=self.person_id,
            kind=self.kind,
            days=DatedRange(self.start, self.end),
            team_id=self.team_id,
            from_team_id=self.from_team_id,
            successor_id=self.successor_id,
            handling=self.handling or usual_handling(self.kind, self.successor_id),
            choices=tuple(each.choice() for each in self.goals),
            ramp=tuple(self.ramp),
        )


class MoveDecisionBody(BaseModel):
    """Why it is decided so, if there is more to say."""

    model_config = body_example(reason="Agreed with both teams")

    reason: Reason | None = None


class DaysAnswer(BaseModel):
    """From `start` up to, not including, `end`; for good where that is null."""

    start: date
    end: date | None

    @classmethod
    def of(cls, days: DatedRange | None) -> Self | None:
        return None if days is None else cls(start=days.start, end=days.end)


class MembershipEffectAnswer(BaseModel):
    """A membership that begins, ends earlier or, as it had not begun, is taken back."""

    membership_id: UUID | None = Field(description="Null for one that begins.")
    team_id: UUID
    before: DaysAnswer | None = Field(description="Null for one that begins.")
    after: DaysAnswer | None = Field(description="Null for one that is taken back.")

    @classmethod
    def of(cls, effect: MembershipEffect) -> Self:
        return cls(
            membership_id=effect.membership_id,
            team_id=effect.team_id,
            before=DaysAnswer.of(effect.before),
            after=DaysAnswer.of(effect.after),
        )


class TargetEffectAnswer(BaseModel):
    """What the target of the person's goal, or of one of the successor's, becomes."""

    goal_id: UUID | None = Field(description="Null for a goal that is made.")
    owner_id: UUID
    period: PeriodAnswer
    target_before: Amount | None = Field(description="Null for a goal that is made.")
    target_after: Amount | None = Field(description="Null for a goal that is cancelled, as nothing of it is left.")

    @classmethod
    def of(cls, effect: TargetEffect) -> Self:
        return cls(
            goal_id=effect.goal_id,
            owner_id=effect.owner_id,
            period=PeriodAnswer(start=effect.period.start, end=effect.period.end),
            target_before=effect.before,
            target_after=effect.after,
        )


class GoalEffectAnswer(BaseModel):
    """What becomes of one goal of the person, with the goal of the successor that takes over."""

    goal_id: UUID
    name: str
    status: Status
    unit: str
    handling: Handling
    targets: list[TargetEffectAnswer]
    sum_before: Amount | None = Field(description="Of the targets. Null for rates, which have no sum.")
    sum_after: Amount | None
    difference: Amount | None = Field(description="What nobody has any more; 0 unless it is reduced.")

    @classmethod
    def of(cls, effect: GoalEffect) -> Self:
        before, after = effect.sum_before, effect.sum_after
        return cls(
            goal_id=effect.goal_id,
            name=effect.name,
            status=effect.status,
            unit=effect.unit,
            handling=effect.handling,
            targets=[TargetEffectAnswer.of(each) for each in effect.targets],
            sum_before=before if effect.adds_up else None,
            sum_after=after if effect.adds_up else None,
            difference=after - before if effect.adds_up else None,
        )


class EffectAnswer(BaseModel):
    """All that a move does."""

    memberships: list[MembershipEffectAnswer]
    goals: list[GoalEffectAnswer] = Field(
        description="The person's goals, drafted or in force, with days of the move in their period."
    )
    manages: list[UUID] = Field(
        description="Teams that a leaver or who transfers manages today: a move leaves that as it is."
    )

    @classmethod
    def of(cls, effect: Effect) -> Self:
        return cls(
            memberships=[MembershipEffectAnswer.of(each) for each in effect.memberships],
            goals=[GoalEffectAnswer.of(each) for each in effect.goals],
            manages=list(effect.manages),
        )


class MoveAnswer(BaseModel):
    """A move, with what it does or did."""

    model_config = example(
        **(_STATED | {"handling": "hand_on", "end": None, "team_id": None, "from_team_id": None, "ramp": []}),
        id="01935a00-0000-7000-8000-000000000081",
        version=1,
        state="draft",
        author={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
        drafted_at="2026-01-20T09:30:00Z",
        decision=None,
        effect={
            "memberships": [
                {
                    "membership_id": "01935a00-0000-7000-8000-000000000071",
                    "team_id": _TEAM,
                    "before": {"start": "2024-01-01", "end": None},
                    "after": {"start": "2024-01-01", "end": "2026-02-01"},
                }
            ],
            "goals": [
                {
                    "goal_id": _GOAL,
                    "name": "Bookings of the north",
                    "status": "active",
                    "unit": "USD",
                    "handling": "hand_on",
                    "targets": [
                        {
                            "goal_id": _GOAL,
                            "owner_id": _LEAVER,
                            "period": _QUARTER,
                            "target_before": "90000",
                            "target_after": "31000",
                        },
                        {
                            "goal_id": None,
                            "owner_id": _SUCCESSOR,
                            "period": {"start": "2026-02-01", "end": "2026-04-01"},
                            "target_before": None,
                            "target_after": "59000",
                        },
                    ],
                    "sum_before": "90000",
                    "sum_after": "90000",
                    "difference": "0",
                }
            ],
            "manages": [],
        },
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")
    state: MoveState
    person_id: UUID
    kind: MoveKind
    start: date
    end: date | None
    team_id: UUID | None
    from_team_id: UUID | None
    successor_id: UUID | None
    handling: Handling
    goals: list[GoalChoiceBody]
    ramp: list[Amount]
    reason: str
    author: ActorAnswer
    drafted_at: Instant
    decision: DecisionAnswer | None = Field(description="Null while nobody has decided.")
    effect: EffectAnswer = Field(description="Of a draft what it would do, as of when it was drafted.")

    @classmethod
    def of(cls, move: Move) -> Self:
        terms, decision = move.terms, move.decision
        return cls(
            id=move.id,
            version=move.version,
            state=move.state,
            person_id=terms.person_id,
            kind=terms.kind,
            start=terms.days.start,
            end=terms.days.end,
            team_id=terms.team_id,
            from_team_id=terms.from_team_id,
            successor_id=terms.successor_id,
            handling=terms.handling,
            goals=[GoalChoiceBody.of(choice) for choice in terms.choices],
            ramp=list(terms.ramp),
            reason=move.reason,
            author=ActorAnswer.of(move.author),
            drafted_at=move.drafted_at,
            decision=None if decision is None else DecisionAnswer.of(decision),
            effect=EffectAnswer.of(move.effect),
        )
