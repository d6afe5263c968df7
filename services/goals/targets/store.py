"""Every statement on goals and their revisions."""

from datetime import date
from decimal import Decimal
from typing import Final, NotRequired, TypedDict
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    RowMapping,
    Uuid,
    and_,
    any_,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)

from services.goals.targets.domain import Direction, Goal, Owner, Revision, Status, Terms
from services.goals.targets.tables import goal_revisions, goals
from shared.db.database import Transaction
from shared.kernel.deals import DateField
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.measures import Aggregate, Crediting, Measure, RatePolicy, fixed_rates_of
from shared.kernel.money import format_amount
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period
from shared.kernel.records import RECORD_TYPES, RecordKind
from shared.kernel.sight import Sight

_ANCESTORS: Final = text(
    f"WITH RECURSIVE line AS (SELECT id, parent_id FROM {goals.fullname} WHERE tenant_id = :tenant AND id = :goal"
    " UNION SELECT g.id, g.parent_id FROM line CROSS JOIN LATERAL ("
    # Fenced, so that each ancestor is found by key however old the statistics.
    f"SELECT id, parent_id FROM {goals.fullname} WHERE tenant_id = :tenant AND id = line.parent_id LIMIT 1) AS g"
    ") SELECT id, parent_id FROM line"
)


class _MetricJson(TypedDict):
    aggregate: str
    value_field: str | None
    date_field: str
    filter: dict[str, object]
    currency: str | None
    # What was kept before other currencies could count says nothing of them: they do not.
    rate_policy: NotRequired[str]
    fixed_rates: NotRequired[dict[str, str]]
    # Nor of what is counted: deals.
    record: NotRequired[str]
    # Nor of who gets a deal: its owner.
    crediting: NotRequired[str]
    role: NotRequired[str | None]


class _OwnerJson(TypedDict):
    kind: str
    id: str


class _TermsJson(TypedDict):
    name: str
    owner: _OwnerJson
    metric: _MetricJson
    target: str
    baseline: str
    unit: str
    direction: str
    start: str
    end: str
    parent_id: str | None
    weight: str


async def goal(tx: Transaction, tenant_id: UUID, goal_id: UUID) -> Goal | None:
    row = await tx.one_or_none(select(goals).where(goals.c.tenant_id == tenant_id, goals.c.id == goal_id))
    return None if row is None else _goal(row)


async def list_goals(
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
    """Goals in view by id; `on` is a day of their period."""
    statement = select(goals).where(goals.c.tenant_id == tenant_id, _in_sight(sight)).order_by(goals.c.id).limit(limit)
    if status is not None:
        statement = statement.where(goals.c.status == status.value)
    if owner_id is not None:
        statement = statement.where(goals.c.owner_id == owner_id)
    if parent_id is not None:
        statement = statement.where(goals.c.parent_id == parent_id)
    if on is not None:
        statement = statement.where(goals.c.start_on <= on, goals.c.end_on > on)
    if after is not None:
        statement = statement.where(goals.c.id > after)
    return [_goal(row) for row in await tx.rows(statement)]


async def line_of(tx: Transaction, tenant_id: UUID, goal_id: UUID) -> dict[UUID, UUID | None]:
    """The parent of a goal and of each of its ancestors; empty when there is no such goal."""
    rows = await tx.rows(_ANCESTORS, {"tenant": tenant_id, "goal": goal_id})
    return {row["id"]: row["parent_id"] for row in rows}


async def add_goal(tx: Transaction, tenant_id: UUID, added: Goal) -> None:
    await tx.execute(insert(goals).values(tenant_id=tenant_id, id=added.id, changed_at=tx.now, **_values(added)))


async def save_goal(tx: Transaction, tenant_id: UUID, saved: Goal) -> None:
    await tx.execute(
        update(goals)
        .where(goals.c.tenant_id == tenant_id, goals.c.id == saved.id)
        .values(changed_at=tx.now, **_values(saved))
    )


async def add_revision(
    tx: Transaction, tenant_id: UUID, revised: Goal, *, reason: str | None, revised_by: UUID | None
) -> None:
    """Keep the terms of the goal's present revision for good."""
    await tx.execute(
        insert(goal_revisions).values(
            tenant_id=tenant_id,
            goal_id=revised.id,
            revision=revised.revision,
            terms=_terms_to_json(revised.terms),
            reason=reason,
            revised_by=revised_by,
            revised_at=tx.now,
        )
    )


async def list_revisions(
    tx: Transaction, tenant_id: UUID, goal_id: UUID, *, after: int | None, limit: int
) -> list[Revision]:
    """The newest first; `after` is the revision above."""
    columns = goal_revisions.c
    statement = (
        select(goal_revisions)
        .where(columns.tenant_id == tenant_id, columns.goal_id == goal_id)
        .order_by(columns.revision.desc())
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(columns.revision < after)
    return [
        Revision(row["revision"], _terms_from_json(row["terms"]), row["reason"], row["revised_by"], row["revised_at"])
        for row in await tx.rows(statement)
    ]


async def every_goal(tx: Transaction, after: tuple[UUID, UUID] | None, limit: int) -> list[tuple[UUID, Goal]]:
    """Goals of all tenants, kept as they are until the end of the transaction: what is said of them stays true."""
    statement = select(goals).order_by(goals.c.tenant_id, goals.c.id).limit(limit).with_for_update(read=True)
    if after is not None:
        beyond = tuple_(literal(after[0], Uuid()), literal(after[1], Uuid()))
        statement = statement.where(tuple_(goals.c.tenant_id, goals.c.id) > beyond)
    return [(row["tenant_id"], _goal(row)) for row in await tx.rows(statement)]


def _in_sight(sight: Sight) -> ColumnElement[bool]:
    if sight.people is None or sight.teams is None:
        return literal(True)
    owner = goals.c.owner_id
    return or_(
        and_(goals.c.owner_kind == OwnerKind.PERSON.value, owner == any_(literal(sorted(sight.people), ARRAY(Uuid())))),
        and_(goals.c.owner_kind == OwnerKind.TEAM.value, owner == any_(literal(sorted(sight.teams), ARRAY(Uuid())))),
    )


def _goal(row: RowMapping) -> Goal:
    terms = Terms(
        name=row["name"],
        owner=Owner(OwnerKind(row["owner_kind"]), row["owner_id"]),
        measure=_measure(row["metric"]),
        target=row["target"],
        baseline=row["baseline"],
        unit=row["unit"],
        direction=Direction(row["direction"]),
        period=Period(row["start_on"], row["end_on"]),
        parent_id=row["parent_id"],
        weight=row["weight"],
    )
    return Goal(row["id"], row["version"], row["revision"], Status(row["status"]), terms)


def _values(goal: Goal) -> dict[str, object]:
    terms = goal.terms
    return {
        "version": goal.version,
        "revision": goal.revision,
        "status": goal.status.value,
        "name": terms.name,
        "owner_kind": terms.owner.kind.value,
        "owner_id": terms.owner.id,
        "metric": _metric(terms.measure),
        "target": terms.target,
        "baseline": terms.baseline,
        "unit": terms.unit,
        "direction": terms.direction.value,
        "start_on": terms.period.start,
        "end_on": terms.period.end,
        "parent_id": terms.parent_id,
        "weight": terms.weight,
    }


def _metric(measure: Measure) -> _MetricJson:
    return {
        "aggregate": measure.aggregate.value,
        "value_field": measure.value_field,
        "date_field": measure.date_field.value,
        "filter": filter_to_json(measure.filter),
        "currency": measure.currency,
        "rate_policy": measure.rate_policy.value,
        "fixed_rates": {currency: format_amount(rate) for currency, rate in measure.fixed_rates},
        "record": measure.record.value,
        "crediting": measure.crediting.value,
        "role": measure.role,
    }


def _measure(metric: _MetricJson) -> Measure:
    record = RecordKind(metric.get("record", RecordKind.DEAL))
    return Measure(
        Aggregate(metric["aggregate"]),
        metric["value_field"],
        DateField(metric["date_field"]),
        parse_filter(metric["filter"], RECORD_TYPES[record].fields),
        metric["currency"],
        RatePolicy(metric.get("rate_policy", RatePolicy.NONE)),
        fixed_rates_of(metric.get("fixed_rates")),
        record,
        Crediting(metric.get("crediting", Crediting.OWNER)),
        metric.get("role"),
    )


def _terms_to_json(terms: Terms) -> _TermsJson:
    return {
        "name": terms.name,
        "owner": {"kind": terms.owner.kind.value, "id": str(terms.owner.id)},
        "metric": _metric(terms.measure),
        "target": format_amount(terms.target),
        "baseline": format_amount(terms.baseline),
        "unit": terms.unit,
        "direction": terms.direction.value,
        "start": terms.period.start.isoformat(),
        "end": terms.period.end.isoformat(),
        "parent_id": None if terms.parent_id is None else str(terms.parent_id),
        "weight": format_amount(terms.weight),
    }


def _terms_from_json(held: _TermsJson) -> Terms:
    return Terms(
        name=held["name"],
        owner=Owner(OwnerKind(held["owner"]["kind"]), UUID(held["owner"]["id"])),
        measure=_measure(held["metric"]),
        target=Decimal(held["target"]),
        baseline=Decimal(held["baseline"]),
        unit=held["unit"],
        direction=Direction(held["direction"]),
        period=Period(date.fromisoformat(held["start"]), date.fromisoformat(held["end"])),
        parent_id=None if held["parent_id"] is None else UUID(held["parent_id"]),
        weight=Decimal(held["weight"]),
    )
