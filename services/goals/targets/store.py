"""Every statement on goals and their revisions."""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, NotRequired, TypedDict
from uuid import UUID

from pydantic_core import from_json, to_json
from sqlalchemy import ColumnElement, RowMapping, Text, and_, cast, func, select, text, true

from services.goals.targets.domain import (
    CheckIn,
    Direction,
    Goal,
    GoalFilter,
    GoalNotFound,
    GoalTerms,
    Owner,
    Revision,
    Status,
    StretchLevel,
    Weighing,
)
from services.goals.targets.tables import goal_revisions, goals
from shared.db.arrays import array_text
from shared.db.conditions import among, equal
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.deals import DateField
from shared.kernel.filters import filter_to_json, parse_filter
from shared.kernel.measures import Aggregate, Combine, Crediting, Measure, RatePolicy, fixed_rates_of
from shared.kernel.money import format_amount
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period
from shared.kernel.records import RECORD_TYPES, RecordKind
from shared.kernel.sight import Sight

_COUNTING: Final = (Status.ACTIVE.value, Status.CLOSED.value)
_ANCESTORS: Final = text(
    f"WITH RECURSIVE line AS (SELECT id, parent_id FROM {goals.fullname}"
    " WHERE tenant_id = :tenant AND id = ANY(CAST(CAST(:goals AS text) AS uuid[]))"
    " UNION SELECT g.id, g.parent_id FROM line CROSS JOIN LATERAL ("
    # Fenced, so that each ancestor is found by key however old the statistics.
    f"SELECT id, parent_id FROM {goals.fullname} WHERE tenant_id = :tenant AND id = line.parent_id LIMIT 1) AS g"
    ") SELECT id, parent_id FROM line"
)


_ADD_REVISIONS: Final = text(
    f"""
    INSERT INTO {goal_revisions.fullname} (tenant_id, goal_id, revision, terms, reason, revised_by, revised_at)
    SELECT :tenant_id, goal_id, revision, terms, CAST(:reason AS text), CAST(:revised_by AS uuid), :now
    FROM unnest(
        CAST(CAST(:goal_ids AS text) AS uuid[]), CAST(CAST(:revisions AS text) AS integer[]),
        CAST(CAST(:terms AS text) AS jsonb[])
    ) AS t(goal_id, revision, terms)
    """
)


_IS_DRAFT: Final = goals.c.status == Status.DRAFT.value


class Draft(NamedTuple):
    """What of a draft decides whether it is its turn to be activated."""

    id: UUID
    version: int
    parent_id: UUID | None
    weight: Decimal


class _MetricJson(TypedDict):
    aggregate: str
    value_field: str | None
    date_field: str
    filter: dict[str, object]
    currency: str | None
    # What was stored before other currencies could count has no rate policy: they do not.
    rate_policy: NotRequired[str]
    fixed_rates: NotRequired[dict[str, str]]
    # Nor of what is counted: deals.
    record: NotRequired[str]
    # Nor of who gets a deal: its owner.
    crediting: NotRequired[str]
    role: NotRequired[str | None]
    numerator_filter: NotRequired[dict[str, object] | None]
    # Nor was anything stated.
    combine: NotRequired[str | None]


class _LevelJson(TypedDict):
    name: str
    target: str


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
    # Earlier releases had no levels, nor these.
    stretch: NotRequired[list[_LevelJson]]
    top: NotRequired[bool]
    check_in: NotRequired[str]


async def list_goals(
    tx: Transaction, tenant_id: UUID, sight: Sight, wanted: GoalFilter, *, after: UUID | None, limit: int
) -> list[Goal]:
    return await GOALS.page(tx, tenant_id, after, limit, goal_in(sight), *_matching(wanted))


async def drafts(
    tx: Transaction,
    tenant_id: UUID,
    wanted: GoalFilter,
    *,
    made_of_parts: bool,
    after: UUID | None,
    limit: int | None,
) -> list[Draft]:
    """The next drafts of the filter, by id: those that are made of their parts, or the others."""
    made_so = goals.c.metric["aggregate"].astext == Aggregate.CHILDREN.value
    statement = (
        select(goals.c.id, goals.c.version, goals.c.parent_id, goals.c.weight)
        .where(
            goals.c.tenant_id == tenant_id,
            true() if after is None else goals.c.id > after,
            _IS_DRAFT,
            made_so if made_of_parts else ~made_so,
            *_matching(wanted),
        )
        .order_by(goals.c.id)
        .limit(limit)
    )
    return [Draft(**row) for row in await tx.rows(statement)]


async def count_drafts(tx: Transaction, tenant_id: UUID, wanted: GoalFilter) -> int:
    """How many drafts of the filter there are."""
    statement = select(func.count().label("number")).where(
        goals.c.tenant_id == tenant_id, _IS_DRAFT, *_matching(wanted)
    )
    [row] = await tx.rows(statement)
    return int(row["number"])


async def count_in_force(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> int:
    """How many of these goals are active or closed."""
    statement = select(func.count().label("number")).where(
        goals.c.tenant_id == tenant_id,
        among(goals.c.id, frozenset(goal_ids)),
        goals.c.status.in_([Status.ACTIVE.value, Status.CLOSED.value]),
    )
    [row] = await tx.rows(statement)
    return int(row["number"])


def _matching(wanted: GoalFilter) -> list[ColumnElement[bool]]:
    columns, on = goals.c, wanted.on
    return [
        equal(columns.status, wanted.status),
        equal(columns.owner_id, wanted.owner_id),
        equal(columns.parent_id, wanted.parent_id),
        true() if on is None else and_(columns.start_on <= on, columns.end_on > on),
    ]


async def open_goals(tx: Transaction, tenant_id: UUID, owner_ids: Collection[UUID], since: date) -> list[Goal]:
    """Drafts and active goals of these owners with a day from `since` on, by id."""
    columns = goals.c
    is_open = columns.status.in_((Status.DRAFT.value, Status.ACTIVE.value))
    return await GOALS.matching(
        tx, tenant_id, among(columns.owner_id, frozenset(owner_ids)), is_open, columns.end_on > since
    )


async def made_of_parts(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> frozenset[UUID]:
    """Those of these goals that are made of their parts."""
    made_so = goals.c.metric["aggregate"].astext == Aggregate.CHILDREN.value
    found = await GOALS.matching(tx, tenant_id, among(goals.c.id, frozenset(goal_ids)), made_so)
    return frozenset(goal.id for goal in found)


async def lines_of(tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID]) -> dict[UUID, UUID | None]:
    """The parent of each of these goals that there are, and of each of their ancestors."""
    if not goal_ids:
        return {}
    rows = await tx.rows(_ANCESTORS, {"tenant": tenant_id, "goals": array_text(sorted(goal_ids))})
    return {row["id"]: row["parent_id"] for row in rows}


async def weighings(
    tx: Transaction, tenant_id: UUID, goal_ids: Collection[UUID], *, are_drafts: bool = False
) -> list[Weighing]:
    """Of these goals those that count, or are drafts, and are made of their parts, by id."""
    if not goal_ids:
        return []
    counts = goals.c.status.in_(_COUNTING)
    part = goals.alias("part")
    of_part = and_(part.c.tenant_id == goals.c.tenant_id, part.c.parent_id == goals.c.id, part.c.status.in_(_COUNTING))
    statement = (
        select(goals.c.id, goals.c.name, func.coalesce(func.sum(part.c.weight), 0).label("weights"))
        .select_from(goals.outerjoin(part, of_part))
        .where(
            goals.c.tenant_id == tenant_id,
            goals.c.id.in_(sorted(goal_ids)),
            _IS_DRAFT if are_drafts else counts,
            goals.c.metric["aggregate"].astext == Aggregate.CHILDREN.value,
        )
        .group_by(goals.c.id, goals.c.name)
        .order_by(goals.c.id)
    )
    return [Weighing(row["id"], row["name"], Decimal(row["weights"])) for row in await tx.rows(statement)]


async def add_revisions(
    tx: Transaction,
    tenant_id: UUID,
    revised: Sequence[Goal],
    *,
    reason: str | None,
    revised_by: UUID | None,
) -> None:
    """Store the terms of each goal's present revision for good."""
    if revised:
        parameters = {
            "tenant_id": tenant_id,
            "goal_ids": array_text([goal.id for goal in revised]),
            "revisions": array_text([goal.revision for goal in revised]),
            "terms": array_text([to_json(_terms_to_json(goal.terms)).decode() for goal in revised]),
            "reason": reason,
            "revised_by": revised_by,
            "now": tx.now,
        }
        await tx.execute(_ADD_REVISIONS, parameters)


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


def goal_in(sight: Sight) -> ColumnElement[bool]:
    """Whether a goal is one of an owner in sight."""
    return among(goals.c.owner_id, sight.owners)


def _goal(row: RowMapping) -> Goal:
    terms = GoalTerms(
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
        stretch=_levels_from_json(row["stretch"]),
        top=row["top"],
        check_in=CheckIn(row["check_in"]),
    )
    return Goal(row["id"], row["version"], row["revision"], Status(row["status"]), terms)


def _values(goal: Goal) -> dict[str, object]:
    terms = goal.terms
    return {
        "id": goal.id,
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
        "stretch": _levels_to_json(terms.stretch),
        "top": terms.top,
        "check_in": terms.check_in.value,
    }


# Thousands of goals have equal metrics, and a filter is most of a goal.
@lru_cache(maxsize=1024)
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
        "numerator_filter": None if measure.numerator_filter is None else filter_to_json(measure.numerator_filter),
        "combine": None if measure.combine is None else measure.combine.value,
    }


@lru_cache(maxsize=1024)
def _measure(document: str) -> Measure:
    metric: _MetricJson = from_json(document)
    record = RecordKind(metric.get("record", RecordKind.DEAL))
    fields, numerator_filter = RECORD_TYPES[record].fields, metric.get("numerator_filter")
    combine = metric.get("combine")
    return Measure(
        Aggregate(metric["aggregate"]),
        metric["value_field"],
        DateField(metric["date_field"]),
        parse_filter(metric["filter"], fields),
        metric["currency"],
        RatePolicy(metric.get("rate_policy", RatePolicy.NONE)),
        fixed_rates_of(metric.get("fixed_rates")),
        record,
        Crediting(metric.get("crediting", Crediting.OWNER)),
        metric.get("role"),
        None if numerator_filter is None else parse_filter(numerator_filter, fields),
        None if combine is None else Combine(combine),
    )


def _levels_to_json(levels: Sequence[StretchLevel]) -> list[_LevelJson]:
    return [{"name": level.name, "target": format_amount(level.target)} for level in levels]


def _levels_from_json(stored: Sequence[_LevelJson]) -> tuple[StretchLevel, ...]:
    return tuple(StretchLevel(level["name"], Decimal(level["target"])) for level in stored)


def _terms_to_json(terms: GoalTerms) -> _TermsJson:
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
        "stretch": _levels_to_json(terms.stretch),
        "top": terms.top,
        "check_in": terms.check_in.value,
    }


def _terms_from_json(stored: _TermsJson) -> GoalTerms:
    return GoalTerms(
        name=stored["name"],
        owner=Owner(OwnerKind(stored["owner"]["kind"]), UUID(stored["owner"]["id"])),
        measure=_measure(to_json(stored["metric"]).decode()),
        target=Decimal(stored["target"]),
        baseline=Decimal(stored["baseline"]),
        unit=stored["unit"],
        direction=Direction(stored["direction"]),
        period=Period(date.fromisoformat(stored["start"]), date.fromisoformat(stored["end"])),
        parent_id=None if stored["parent_id"] is None else UUID(stored["parent_id"]),
        weight=Decimal(stored["weight"]),
        stretch=_levels_from_json(stored.get("stretch", [])),
        top=stored.get("top", False),
        check_in=CheckIn(stored.get("check_in", CheckIn.NONE)),
    )


# The metric as the text that its measure is found by.
_ROWS: Final = select(
    *(column for column in goals.c if column is not goals.c.metric), cast(goals.c.metric, Text).label("metric")
)
GOALS: Final = VersionedTable("goal", goals, _goal, _values, GoalNotFound, rows=_ROWS)
