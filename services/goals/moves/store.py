"""Every statement on moves."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Final, TypedDict
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Uuid, and_, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from services.goals.moves.domain.move import (
    Effect,
    GoalChoice,
    GoalEffect,
    Handling,
    MembershipEffect,
    Move,
    MoveFilter,
    MoveKind,
    MoveNotFound,
    MoveState,
    MoveTerms,
    TargetEffect,
    strengths_of,
)
from services.goals.moves.tables import moves
from services.goals.org.domain import Strength
from services.goals.targets.domain import Status
from shared.db.conditions import among, equal
from shared.db.database import Transaction
from shared.db.decisions import decision_in, decision_values
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.money import format_amount
from shared.kernel.periods import DatedRange, Period
from shared.kernel.sight import Sight


class _ChoiceJson(TypedDict):
    goal_id: str
    handling: str
    successor_id: str | None
    name: str | None


class _DaysJson(TypedDict):
    start: str
    end: str | None


class _MembershipJson(TypedDict):
    membership_id: str | None
    version: int
    team_id: str
    before: _DaysJson | None
    after: _DaysJson | None


class _TargetJson(TypedDict):
    goal_id: str | None
    version: int
    owner_id: str
    start: str
    end: str
    before: str | None
    after: str | None


class _GoalJson(TypedDict):
    goal_id: str
    name: str
    status: str
    unit: str
    handling: str
    adds_up: bool
    targets: list[_TargetJson]


class _EffectJson(TypedDict):
    memberships: list[_MembershipJson]
    goals: list[_GoalJson]
    manages: list[str]


async def list_moves(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: MoveFilter, *, after: UUID | None, limit: int
) -> list[Move]:
    columns = moves.c
    return await MOVES.page(
        tx,
        tenant_id,
        after,
        limit,
        move_in(sight),
        equal(columns.person_id, wanted.person_id),
        equal(columns.kind, wanted.kind),
        equal(columns.state, wanted.state),
    )


async def strengths(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID], period: Period) -> list[Strength]:
    """What applied moves leave less than all of in the period, of these people."""
    columns = moves.c
    statement = select(columns.person_id, columns.kind, columns.start_on, columns.end_on, columns.ramp).where(
        columns.tenant_id == tenant_id,
        columns.state == MoveState.APPLIED.value,
        among(columns.person_id, frozenset(person_ids)),
        columns.start_on < period.end,
        or_(columns.kind == MoveKind.LEAVE.value, func.cardinality(columns.ramp) > 0),
        or_(columns.end_on.is_(None), columns.end_on > period.start),
    )
    return [
        each
        for row in await tx.rows(statement.order_by(columns.person_id, columns.id))
        for each in strengths_of(
            row["person_id"], MoveKind(row["kind"]), DatedRange(row["start_on"], row["end_on"]), row["ramp"], period
        )
    ]


def move_in(sight: Sight) -> ColumnElement[bool]:
    """Whether everybody and every team that a move concerns is in sight, and it is none of one's own that another one
    drafts.
    """
    columns, person_id = moves.c, sight.viewer.person_id
    in_sight = (
        true() if sight.owners is None else columns.owner_ids.contained_by(literal(sorted(sight.owners), ARRAY(Uuid())))
    )
    if person_id is None:
        return in_sight
    is_known = or_(
        columns.person_id != person_id, columns.author_id == person_id, columns.state == MoveState.APPLIED.value
    )
    return and_(in_sight, is_known)


def _move(row: RowMapping) -> Move:
    terms = MoveTerms(
        person_id=row["person_id"],
        kind=MoveKind(row["kind"]),
        days=DatedRange(row["start_on"], row["end_on"]),
        team_id=row["team_id"],
        from_team_id=row["from_team_id"],
        successor_id=row["successor_id"],
        handling=Handling(row["handling"]),
        choices=tuple(_choice(choice) for choice in row["choices"]),
        ramp=tuple(row["ramp"]),
    )
    return Move(
        id=row["id"],
        version=row["version"],
        terms=terms,
        reason=row["reason"],
        effect=_effect(row["effect"]),
        author=Actor(ActorKind(row["author_kind"]), row["author_id"]),
        drafted_at=row["drafted_at"],
        state=MoveState(row["state"]),
        decision=decision_in(row),
    )


def values(move: Move) -> dict[str, object]:
    """What is stored of a move, and said of it on the audit trail."""
    terms = move.terms
    return {
        "id": move.id,
        "version": move.version,
        "state": move.state.value,
        "kind": terms.kind.value,
        "person_id": terms.person_id,
        "owner_ids": sorted(move.owners),
        "start_on": terms.days.start,
        "end_on": terms.days.end,
        "team_id": terms.team_id,
        "from_team_id": terms.from_team_id,
        "successor_id": terms.successor_id,
        "handling": terms.handling.value,
        "choices": [_choice_json(choice) for choice in terms.choices],
        "ramp": list(terms.ramp),
        "reason": move.reason,
        "effect": _effect_json(move.effect),
        "author_kind": move.author.kind.value,
        "author_id": move.author.person_id,
        "drafted_at": move.drafted_at,
        **decision_values(move.decision),
    }


def _choice_json(choice: GoalChoice) -> _ChoiceJson:
    return {
        "goal_id": str(choice.goal_id),
        "handling": choice.handling.value,
        "successor_id": _text(choice.successor_id),
        "name": choice.name,
    }


def _choice(stored: _ChoiceJson) -> GoalChoice:
    return GoalChoice(
        UUID(stored["goal_id"]), Handling(stored["handling"]), _id(stored["successor_id"]), stored["name"]
    )


def _effect_json(effect: Effect) -> _EffectJson:
    return {
        "memberships": [
            {
                "membership_id": _text(each.membership_id),
                "version": each.version,
                "team_id": str(each.team_id),
                "before": _days_json(each.before),
                "after": _days_json(each.after),
            }
            for each in effect.memberships
        ],
        "goals": [
            {
                "goal_id": str(each.goal_id),
                "name": each.name,
                "status": each.status.value,
                "unit": each.unit,
                "handling": each.handling.value,
                "adds_up": each.adds_up,
                "targets": [_target_json(target) for target in each.targets],
            }
            for each in effect.goals
        ],
        "manages": [str(team_id) for team_id in effect.manages],
    }


def _effect(stored: _EffectJson) -> Effect:
    memberships = (
        MembershipEffect(
            _id(each["membership_id"]),
            each["version"],
            UUID(each["team_id"]),
            _days(each["before"]),
            _days(each["after"]),
        )
        for each in stored["memberships"]
    )
    goals = (
        GoalEffect(
            UUID(each["goal_id"]),
            each["name"],
            Status(each["status"]),
            each["unit"],
            Handling(each["handling"]),
            each["adds_up"],
            tuple(_target(target) for target in each["targets"]),
        )
        for each in stored["goals"]
    )
    return Effect(tuple(memberships), tuple(goals), tuple(UUID(team_id) for team_id in stored["manages"]))


def _target_json(target: TargetEffect) -> _TargetJson:
    return {
        "goal_id": _text(target.goal_id),
        "version": target.version,
        "owner_id": str(target.owner_id),
        "start": target.period.start.isoformat(),
        "end": target.period.end.isoformat(),
        "before": None if target.before is None else format_amount(target.before),
        "after": None if target.after is None else format_amount(target.after),
    }


def _target(stored: _TargetJson) -> TargetEffect:
    return TargetEffect(
        _id(stored["goal_id"]),
        stored["version"],
        UUID(stored["owner_id"]),
        Period(date.fromisoformat(stored["start"]), date.fromisoformat(stored["end"])),
        None if stored["before"] is None else Decimal(stored["before"]),
        None if stored["after"] is None else Decimal(stored["after"]),
    )


def _days_json(days: DatedRange | None) -> _DaysJson | None:
    if days is None:
        return None
    return {"start": days.start.isoformat(), "end": None if days.end is None else days.end.isoformat()}


def _days(stored: _DaysJson | None) -> DatedRange | None:
    if stored is None:
        return None
    end = stored["end"]
    return DatedRange(date.fromisoformat(stored["start"]), None if end is None else date.fromisoformat(end))


def _text(key: UUID | None) -> str | None:
    return None if key is None else str(key)


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


MOVES: Final = VersionedTable("move", moves, _move, values, MoveNotFound)
