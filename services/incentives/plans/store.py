"""Every SQL statement on plans, versions, assignments and their stale marks."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final
from uuid import UUID

from pydantic import JsonValue
from pydantic_core import to_json
from sqlalchemy import ColumnElement, RowMapping, delete, exists, func, insert, or_, select, text, true, update

from services.incentives.plans.content.assignments import (
    LEAVE,
    RAMP,
    TargetVariableContent,
    assignment_terms_document,
    leave_content,
    leave_of,
    ramp_content,
    ramp_of,
    target_variable_content,
    target_variable_of,
    with_terms,
)
from services.incentives.plans.content.components import COMPONENTS, components_content, components_of
from services.incentives.plans.content.quotas import QUOTAS, quotas_content, quotas_of
from services.incentives.plans.content.rules import RULES, rules_json, rules_of
from services.incentives.plans.content.terms import terms_json
from services.incentives.plans.domain.assignments import (
    Assignment,
    AssignmentChangeKind,
    AssignmentNotFound,
    AssignmentStatus,
)
from services.incentives.plans.domain.history import AssignmentChange, VersionChange
from services.incentives.plans.domain.re_earnings import CAUSES_MAX, ReEarning, ReEarningState, WorkedAt
from services.incentives.plans.domain.rules import NO_RULES
from services.incentives.plans.domain.scores import Score
from services.incentives.plans.domain.versions import ChangeKind, Plan, PlanNotFound, PlanVersion, VersionStatus
from services.incentives.plans.tables import (
    assignment_changes,
    assignments,
    objective_scores,
    plan_version_changes,
    plan_versions,
    plans,
    projection,
    re_earnings,
    stale_assignments,
)
from shared.db.conditions import among, equal
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.periods import DatedRange, Period, PeriodKind


@dataclass(frozen=True, slots=True)
class StaleAssignment:
    """An assignment whose cells are to be worked out anew, and why."""

    tenant_id: UUID
    assignment_id: UUID
    changes: tuple[str, ...]
    re_earnings: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class PlanState:
    """The revision of a tenant's definitions, the assignments that are stale by it, and whether there ever were any."""

    revision: int
    stale_ids: frozenset[UUID]
    has_assignments: bool


_MARK_STALE: Final = text(
    f"""
    WITH begun AS (
        INSERT INTO {re_earnings.fullname}
            (tenant_id, id, causes, actor, person_id, reason, requested_at, total, done, worked_ms)
        VALUES (:tenant_id, :re_earning, CAST(:causes AS jsonb), :actor, CAST(:person_id AS uuid),
            CAST(:reason AS text), :now, :total, 0, 0)
    )
    INSERT INTO {stale_assignments.fullname} AS stored (tenant_id, assignment_id, changes, re_earnings, marked_at)
    SELECT :tenant_id, id, CAST(changes AS jsonb), jsonb_build_array(CAST(:re_earning AS uuid)), :now
    FROM unnest(CAST(:ids AS uuid[]), CAST(:changes AS text[])) AS t(id, changes) ORDER BY id
    ON CONFLICT (tenant_id, assignment_id) DO UPDATE SET
        changes = stored.changes || excluded.changes, re_earnings = stored.re_earnings || excluded.re_earnings
    """
)
_ADVANCE: Final = text(
    f"""
    WITH locked AS (
        SELECT id FROM {re_earnings.fullname} WHERE tenant_id = :tenant_id AND id = ANY(CAST(:ids AS uuid[]))
        ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE {re_earnings.fullname} AS r
    SET done = r.done + worked.done, worked_ms = r.worked_ms + worked.ms, failure = NULL,
        started_at = coalesce(r.started_at, :now),
        ended_at = CASE WHEN r.done + worked.done >= r.total THEN CAST(:now AS timestamptz) END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:done AS int[]), CAST(:ms AS bigint[])) AS worked(id, done, ms)
    JOIN locked USING (id)
    WHERE r.tenant_id = :tenant_id AND r.id = worked.id
    """
)
# What no mark counts for any more was worked out by a process that knows no re-earnings.
_END_UNCOUNTED: Final = text(
    f"""
    UPDATE {re_earnings.fullname} AS r SET done = total, ended_at = :now, failure = NULL
    WHERE tenant_id = :tenant_id AND ended_at IS NULL AND NOT EXISTS (
        SELECT FROM {stale_assignments.fullname} AS s
        WHERE s.tenant_id = :tenant_id AND s.re_earnings @> jsonb_build_array(r.id)
    )
    """
)
_TAKE_STALE: Final = text(
    f"""
    DELETE FROM {stale_assignments.fullname} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {stale_assignments.fullname}
        WHERE tenant_id = :tenant_id ORDER BY marked_at, assignment_id LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    RETURNING assignment_id, changes, re_earnings
    """
)
# In the order of their ids, so that two that lock never wait for each other.
_LOCK_ASSIGNMENTS: Final = text(
    f"""
    SELECT FROM {assignments.fullname} WHERE tenant_id = :tenant_id AND id = ANY(CAST(:ids AS uuid[]))
    ORDER BY id FOR NO KEY UPDATE
    """
)
_SHARING_POOLS: Final = text(
    f"""
    SELECT changed.id AS changed_id, other.id AS other_id
    FROM {assignments.fullname} AS changed JOIN {assignments.fullname} AS other
        ON other.tenant_id = changed.tenant_id AND other.plan_id = changed.plan_id AND other.id <> changed.id
    WHERE changed.tenant_id = :tenant_id AND changed.id = ANY(CAST(:ids AS uuid[]))
        AND NOT other.deleted AND other.status <> 'proposed'
        AND EXISTS (
            SELECT FROM {plan_versions.fullname} AS terms
            WHERE terms.tenant_id = changed.tenant_id AND terms.plan_id = changed.plan_id
                AND terms.status = 'active' AND terms.components @> CAST('[{{"kind": "pool"}}]' AS jsonb)
        )
    ORDER BY changed.id, other.id
    """
)
_SNAPSHOTS: Final = text(
    f"""
    SELECT subject, body::text AS body FROM {projection.snapshots.fullname}
    WHERE tenant_id = :tenant_id AND subject = ANY(CAST(:subjects AS text[]))
    """
)
_NOT_ENDED: Final = re_earnings.c.ended_at.is_(None)
_IN_STATE: Final[Mapping[ReEarningState | None, tuple[ColumnElement[bool], ...]]] = {
    None: (),
    ReEarningState.QUEUED: (_NOT_ENDED, re_earnings.c.failure.is_(None), re_earnings.c.started_at.is_(None)),
    ReEarningState.RUNNING: (_NOT_ENDED, re_earnings.c.failure.is_(None), re_earnings.c.started_at.is_not(None)),
    ReEarningState.FAILED: (_NOT_ENDED, re_earnings.c.failure.is_not(None)),
    ReEarningState.DONE: (~_NOT_ENDED,),
}
_WAS_APPROVED: Final = assignments.c.status != AssignmentStatus.PROPOSED.value
_ADD_ASSIGNMENT_CHANGES: Final = text(
    f"""
    INSERT INTO {assignment_changes.fullname}
        (tenant_id, assignment_id, version, kind, actor, person_id, at, reason, before, after)
    SELECT :tenant_id, assignment_id, version, kind, :actor, CAST(:person_id AS uuid), :now, CAST(:reason AS text),
        before, after
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS t(assignment_id uuid, version int, kind text, before jsonb, after jsonb)
    """
)
_ASSIGNMENT_AUTHORS: Final = text(
    f"""
    SELECT DISTINCT c.assignment_id, c.actor, c.person_id
    FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT * FROM {assignment_changes.fullname}
        WHERE tenant_id = :tenant_id AND assignment_id = wanted.id OFFSET 0
    ) AS c
    WHERE c.kind = 'proposed' AND NOT EXISTS (
        SELECT FROM {assignment_changes.fullname} AS later
        WHERE later.tenant_id = c.tenant_id AND later.assignment_id = c.assignment_id
            AND later.version > c.version AND later.kind <> 'proposed'
    )
    """
)
# Whether there is an assignment is looked up by key, however few of them a planner thinks there are.
_STATES: Final = text(
    f"""
    SELECT t AS tenant_id,
        COALESCE((SELECT revision FROM {projection.revisions.fullname} WHERE tenant_id = t), 0) AS revision,
        ARRAY(SELECT assignment_id FROM {stale_assignments.fullname} WHERE tenant_id = t) AS stale_ids,
        COALESCE(
            (SELECT true FROM {assignments.fullname} WHERE tenant_id = t ORDER BY tenant_id, id LIMIT 1), false
        ) AS has_assignments
    FROM unnest(CAST(:tenants AS uuid[])) AS t
    """
)


async def mark_stale(tx: Transaction, tenant_id: UUID, changes: Mapping[UUID, Sequence[str]]) -> None:
    """By assignment what makes it stale; counted by a re-earning of the transaction's actor, for its reason."""
    causes = list(dict.fromkeys(cause for each in changes.values() for cause in each))
    await tx.execute(
        _MARK_STALE,
        {
            "tenant_id": tenant_id,
            "ids": list(changes),
            "changes": [json.dumps(list(each)) for each in changes.values()],
            "re_earning": tx.new_id(),
            "causes": json.dumps(causes[:CAUSES_MAX]),
            "actor": tx.actor.kind.value,
            "person_id": tx.actor.person_id,
            "reason": tx.reason,
            "total": len(changes),
            "now": tx.now,
        },
    )


async def advance(tx: Transaction, tenant_id: UUID, worked: Sequence[WorkedAt]) -> None:
    """Move re-earnings on, and end those that are done."""
    await tx.execute(
        _ADVANCE,
        {
            "tenant_id": tenant_id,
            "ids": [each.re_earning_id for each in worked],
            "done": [each.done for each in worked],
            "ms": [each.worked_ms for each in worked],
            "now": tx.now,
        },
    )


async def fail_re_earnings(tx: Transaction, tenant_id: UUID, failure: str) -> None:
    """Say of those that have not ended why not."""
    table = re_earnings
    open_ones = table.c.tenant_id == tenant_id, table.c.ended_at.is_(None)
    await tx.execute(update(table).where(*open_ones).values(failure=failure))


async def tidy_re_earnings(tx: Transaction, tenant_id: UUID, ended_before: datetime) -> None:
    """Forget those that ended before a moment, and end those that nothing stale is counted by."""
    table = re_earnings
    await tx.execute(delete(table).where(table.c.tenant_id == tenant_id, table.c.ended_at < ended_before))
    await tx.execute(_END_UNCOUNTED, {"tenant_id": tenant_id, "now": tx.now})


async def list_re_earnings(
    tx: Transaction,
    tenant_id: UUID,
    *,
    state: ReEarningState | None,
    cause: str | None,
    after: UUID | None,
    limit: int,
) -> list[ReEarning]:
    """In the order of their ids."""
    columns = re_earnings.c
    conditions = [columns.tenant_id == tenant_id, *_IN_STATE[state]]
    if cause is not None:
        conditions.append(columns.causes.contains([cause]))
    if after is not None:
        conditions.append(columns.id > after)
    statement = select(re_earnings).where(*conditions).order_by(columns.id).limit(limit)
    return [_re_earning(row) for row in await tx.rows(statement)]


async def find_re_earning(tx: Transaction, tenant_id: UUID, re_earning_id: UUID) -> ReEarning | None:
    columns = re_earnings.c
    statement = select(re_earnings).where(columns.tenant_id == tenant_id, columns.id == re_earning_id)
    row = await tx.one_or_none(statement)
    return None if row is None else _re_earning(row)


async def sharing_pools(tx: Transaction, tenant_id: UUID, changed: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """(changed assignment, other one) for all that share a pool with one of these: those of a plan that has a pool."""
    rows = await tx.rows(_SHARING_POOLS, {"tenant_id": tenant_id, "ids": sorted(changed)})
    return [(row["changed_id"], row["other_id"]) for row in rows]


async def take_stale(tx: Transaction, tenant_id: UUID, limit: int) -> list[StaleAssignment]:
    rows = await tx.rows(_TAKE_STALE, {"tenant_id": tenant_id, "limit": limit})
    return sorted(
        (
            StaleAssignment(
                tenant_id, row["assignment_id"], tuple(row["changes"]), tuple(map(UUID, row["re_earnings"]))
            )
            for row in rows
        ),
        key=lambda stale: stale.assignment_id,
    )


async def lock_assignments(tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]) -> None:
    """Nobody else locks these before the end of the transaction."""
    await tx.execute(_LOCK_ASSIGNMENTS, {"tenant_id": tenant_id, "ids": sorted(assignment_ids)})


async def stale_ids(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
    table = stale_assignments
    rows = await tx.rows(select(table.c.tenant_id, table.c.assignment_id).where(table.c.tenant_id.in_(tenant_ids)))
    found: dict[UUID, set[UUID]] = defaultdict(set)
    for row in rows:
        found[row["tenant_id"]].add(row["assignment_id"])
    return found


async def states(tx: Transaction, tenant_ids: Collection[UUID]) -> dict[UUID, PlanState]:
    rows = await tx.rows(_STATES, {"tenants": sorted(tenant_ids)})
    return {
        row["tenant_id"]: PlanState(row["revision"], frozenset(row["stale_ids"]), row["has_assignments"])
        for row in rows
    }


async def stale_tenants(tx: Transaction) -> list[UUID]:
    table = stale_assignments
    rows = await tx.rows(select(table.c.tenant_id).distinct().order_by(table.c.tenant_id))
    return [row["tenant_id"] for row in rows]


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant that ever put someone on a plan, as far as the transaction sees tenants."""
    rows = await tx.rows(select(assignments.c.tenant_id).distinct().order_by(assignments.c.tenant_id))
    return [row["tenant_id"] for row in rows]


async def bodies(tx: Transaction, tenant_id: UUID, subjects: Collection[str]) -> dict[str, str]:
    """The JSON of the newest snapshots stored of these subjects."""
    rows = await tx.rows(_SNAPSHOTS, {"tenant_id": tenant_id, "subjects": sorted(subjects)})
    return {row["subject"]: row["body"] for row in rows}


async def list_plans(
    tx: Transaction, tenant_id: UUID, *, people: frozenset[UUID] | None, after: UUID | None, limit: int
) -> list[Plan]:
    """Those that pay, paid or will pay one of some people; None: all."""
    paying = select(assignments.c.plan_id).where(
        assignments.c.tenant_id == tenant_id, among(assignments.c.person_id, people), ~assignments.c.deleted
    )
    return await PLANS.page(tx, tenant_id, after, limit, true() if people is None else plans.c.id.in_(paying))


async def versions(tx: Transaction, tenant_id: UUID, of: Plan) -> list[PlanVersion]:
    table = plan_versions
    statement = select(table).where(table.c.tenant_id == tenant_id, table.c.plan_id == of.id).order_by(table.c.number)
    return [_version(row, of.currency) for row in await tx.rows(statement)]


async def add_version(tx: Transaction, tenant_id: UUID, added: PlanVersion) -> None:
    await tx.execute(
        insert(plan_versions).values(
            tenant_id=tenant_id,
            plan_id=added.plan_id,
            number=added.number,
            author_id=added.author_id,
            created_at=tx.now,
            **_version_values(added),
        )
    )


async def save_version(tx: Transaction, tenant_id: UUID, saved: PlanVersion) -> None:
    table = plan_versions
    values = _version_values(saved)
    if saved.status is not VersionStatus.DRAFT:
        # What was approved stays as it was written, in the words of whichever release that was.
        values = {name: values[name] for name in ("status", "approver_id", "revision")}
    if saved.status is VersionStatus.APPROVED:
        values["approved_at"] = tx.now
    if saved.status is VersionStatus.ACTIVE:
        values["activated_at"] = tx.now
    await tx.execute(
        update(table)
        .where(table.c.tenant_id == tenant_id, table.c.plan_id == saved.plan_id, table.c.number == saved.number)
        .values(**values)
    )


async def add_change(
    tx: Transaction,
    tenant_id: UUID,
    kind: ChangeKind,
    actor: Actor,
    *,
    before: PlanVersion | None,
    after: PlanVersion,
) -> None:
    """Record what `actor` did to a version, with its terms before and after where they changed."""
    rewritten = kind in {ChangeKind.DRAFTED, ChangeKind.EDITED}
    await tx.execute(
        insert(plan_version_changes).values(
            tenant_id=tenant_id,
            plan_id=after.plan_id,
            number=after.number,
            revision=after.revision,
            kind=kind.value,
            actor=actor.kind.value,
            person_id=actor.person_id,
            at=tx.now,
            before=_terms(before) if rewritten and before is not None else None,
            after=_terms(after) if rewritten else None,
        )
    )


async def changes(
    tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int, *, after: int, limit: int
) -> list[VersionChange]:
    """What was done to a version after its revision `after`, oldest first."""
    table = plan_version_changes
    statement = select(table).where(
        table.c.tenant_id == tenant_id,
        table.c.plan_id == plan_id,
        table.c.number == number,
        table.c.revision > after,
    )
    return [
        VersionChange(row["revision"], ChangeKind(row["kind"]), _actor(row), row["at"], row["before"], row["after"])
        for row in await tx.rows(statement.order_by(table.c.revision).limit(limit))
    ]


async def authors(tx: Transaction, tenant_id: UUID, plan_id: UUID, number: int) -> frozenset[Actor]:
    """Everybody who wrote a part of a version's terms, now or in an earlier draft of it."""
    table = plan_version_changes
    statement = select(table.c.actor, table.c.person_id).where(
        table.c.tenant_id == tenant_id,
        table.c.plan_id == plan_id,
        table.c.number == number,
        table.c.kind.in_([ChangeKind.DRAFTED.value, ChangeKind.EDITED.value]),
    )
    return frozenset(_actor(row) for row in await tx.rows(statement.distinct()))


async def paid_by(tx: Transaction, tenant_id: UUID, plan_id: UUID) -> frozenset[UUID]:
    """Everybody whom the plan pays, paid or will pay."""
    return await paid_from(tx, tenant_id, plan_id, date.min)


async def paid_from(tx: Transaction, tenant_id: UUID, plan_id: UUID, day: date) -> frozenset[UUID]:
    """Everybody who is on the plan on that day or on a later one."""
    table = assignments
    statement = select(table.c.person_id).where(
        table.c.tenant_id == tenant_id,
        table.c.plan_id == plan_id,
        table.c.deleted.is_(False),
        or_(table.c.end.is_(None), table.c.end > day),
    )
    return frozenset(row["person_id"] for row in await tx.rows(statement.distinct()))


async def list_assignments(
    tx: Transaction,
    tenant_id: UUID,
    *,
    people: frozenset[UUID] | None,
    plan_id: UUID | None,
    is_pending: bool | None,
    in_force: bool,
    after: UUID | None,
    limit: int,
) -> list[Assignment]:
    """Those not deleted, of some people (None: everyone) and of one plan or all, with or without something pending."""
    columns = assignments.c
    conditions = [among(columns.person_id, people), equal(columns.plan_id, plan_id)]
    if in_force:
        conditions.append(_WAS_APPROVED)
    if is_pending is not None:
        waits = or_(columns.change.is_not(None), ~_WAS_APPROVED)
        conditions.append(waits if is_pending else ~waits)
    return await ASSIGNMENTS.page(tx, tenant_id, after, limit, *conditions)


async def assignments_of_people(tx: Transaction, tenant_id: UUID, people: frozenset[UUID]) -> list[Assignment]:
    """Every assignment of these people, not deleted."""
    return await ASSIGNMENTS.matching(tx, tenant_id, among(assignments.c.person_id, people))


async def assignments_with_ids(tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> dict[UUID, Assignment]:
    """Those of these assignments that there are, by id."""
    found = await ASSIGNMENTS.matching(tx, tenant_id, among(assignments.c.id, frozenset(ids)))
    return {each.id: each for each in found}


async def add_assignment_changes(tx: Transaction, tenant_id: UUID, added: Sequence[AssignmentChange]) -> None:
    """Record what the transaction's actor did to assignments, and why."""
    if not added:
        return
    rows = [
        {
            "assignment_id": each.assignment_id,
            "version": each.version,
            "kind": each.kind.value,
            "before": each.before,
            "after": each.after,
        }
        for each in added
    ]
    parameters = {
        "tenant_id": tenant_id,
        "rows": to_json(rows).decode(),
        "actor": added[0].actor.kind.value,
        "person_id": added[0].actor.person_id,
        "reason": added[0].reason,
        "now": tx.now,
    }
    await tx.execute(_ADD_ASSIGNMENT_CHANGES, parameters)


async def list_assignment_changes(
    tx: Transaction, tenant_id: UUID, assignment_id: UUID, *, after: int, limit: int
) -> list[AssignmentChange]:
    """What was done to an assignment after its version `after`, oldest first."""
    table = assignment_changes
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.assignment_id == assignment_id, table.c.version > after
    )
    return [
        AssignmentChange(
            row["assignment_id"],
            row["version"],
            AssignmentChangeKind(row["kind"]),
            _actor(row),
            row["at"],
            row["reason"],
            row["before"],
            row["after"],
        )
        for row in await tx.rows(statement.order_by(table.c.version).limit(limit))
    ]


async def assignment_authors(
    tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]
) -> dict[UUID, set[Actor]]:
    """Everybody who wrote a part of what was proposed of each of these since it was last decided on."""
    found: dict[UUID, set[Actor]] = defaultdict(set)
    rows = await tx.rows(_ASSIGNMENT_AUTHORS, {"tenant_id": tenant_id, "ids": sorted(assignment_ids)})
    for row in rows:
        found[row["assignment_id"]].add(_actor(row))
    return found


async def has_assignments(tx: Transaction, tenant_id: UUID) -> bool:
    statement = select(assignments.c.id).where(assignments.c.tenant_id == tenant_id).limit(1)
    return await tx.one_or_none(statement) is not None


async def everything(
    tx: Transaction, tenant_id: UUID
) -> tuple[dict[UUID, Plan], dict[UUID, list[PlanVersion]], dict[UUID, Assignment]]:
    """All plans, their versions and the assignments of a tenant that ever were approved, deleted ones included."""
    found_plans = {plan.id: plan for plan in await PLANS.matching(tx, tenant_id)}
    found_versions: dict[UUID, list[PlanVersion]] = defaultdict(list)
    statement = select(plan_versions).where(plan_versions.c.tenant_id == tenant_id)
    for row in await tx.rows(statement.order_by(plan_versions.c.plan_id, plan_versions.c.number)):
        found_versions[row["plan_id"]].append(_version(row, found_plans[row["plan_id"]].currency))
    rows = await tx.rows(select(assignments).where(assignments.c.tenant_id == tenant_id, _WAS_APPROVED))
    return found_plans, dict(found_versions), {row["id"]: _assignment(row) for row in rows}


async def assignment_ids_of_plan(tx: Transaction, tenant_id: UUID, plan_id: UUID) -> Sequence[UUID]:
    """Those that ever were approved."""
    table = assignments
    statement = select(table.c.id).where(table.c.tenant_id == tenant_id, table.c.plan_id == plan_id, _WAS_APPROVED)
    return [row["id"] for row in await tx.rows(statement)]


async def add_score(tx: Transaction, tenant_id: UUID, score: Score) -> None:
    await tx.execute(
        insert(objective_scores).values(
            tenant_id=tenant_id,
            assignment_id=score.assignment_id,
            number=score.number,
            component=score.component,
            objective=score.objective,
            period_start=score.period.start,
            period_end=score.period.end,
            percent=score.percent,
            evidence=score.evidence,
            actor=score.scorer.kind.value,
            person_id=score.scorer.person_id,
            at=score.at,
        )
    )


async def last_score(tx: Transaction, tenant_id: UUID, assignment_id: UUID) -> int:
    """The number of the newest score of an assignment; 0 where there is none."""
    table = objective_scores
    rows = await tx.rows(
        select(func.coalesce(func.max(table.c.number), 0).label("number")).where(
            table.c.tenant_id == tenant_id, table.c.assignment_id == assignment_id
        )
    )
    return int(rows[0]["number"])


async def scores(
    tx: Transaction, tenant_id: UUID, assignment_id: UUID, *, counting: bool, after: int, limit: int
) -> list[Score]:
    """Those of an assignment above a number, in their order; `counting`: of each objective in each period the last."""
    table, later = objective_scores, objective_scores.alias()
    statement = select(table).where(
        table.c.tenant_id == tenant_id, table.c.assignment_id == assignment_id, table.c.number > after
    )
    if counting:
        columns = "tenant_id", "assignment_id", "component", "objective", "period_start"
        same = (later.c[name] == table.c[name] for name in columns)
        statement = statement.where(~exists().where(*same, later.c.number > table.c.number))
    return [_score(row) for row in await tx.rows(statement.order_by(table.c.number).limit(limit))]


async def all_scores(tx: Transaction, tenant_id: UUID) -> list[Score]:
    """Every score of a tenant, by assignment in the order of its numbers."""
    table = objective_scores
    statement = select(table).where(table.c.tenant_id == tenant_id)
    return [_score(row) for row in await tx.rows(statement.order_by(table.c.assignment_id, table.c.number))]


def _re_earning(row: RowMapping) -> ReEarning:
    return ReEarning(
        row["id"],
        tuple(row["causes"]),
        _actor(row),
        row["reason"],
        row["requested_at"],
        row["total"],
        row["done"],
        row["worked_ms"],
        row["started_at"],
        row["ended_at"],
        row["failure"],
    )


def _plan(row: RowMapping) -> Plan:
    return Plan(row["id"], row["name"], row["currency"], PeriodKind(row["period"]), row["version"])


def _plan_values(plan: Plan) -> Mapping[str, object]:
    return {
        "id": plan.id,
        "name": plan.name,
        "currency": plan.currency,
        "period": plan.period.value,
        "version": plan.version,
    }


def _version(row: RowMapping, currency: str) -> PlanVersion:
    return PlanVersion(
        row["plan_id"],
        row["number"],
        VersionStatus(row["status"]),
        row["effective_from"],
        components_of(COMPONENTS.validate_python(row["components"]), currency, is_stored=True),
        row["note"],
        row["author_id"],
        row["approver_id"],
        row["revision"],
        NO_RULES if row["rules"] is None else rules_of(RULES.validate_python(row["rules"])),
    )


def _version_values(version: PlanVersion) -> dict[str, object]:
    content = COMPONENTS.dump_python(components_content(version.components), mode="json", by_alias=True)
    return {
        "status": version.status.value,
        "effective_from": version.effective_from,
        "components": content,
        "rules": None if version.rules == NO_RULES else rules_json(version.rules),
        "note": version.note,
        "approver_id": version.approver_id,
        "revision": version.revision,
    }


def _terms(version: PlanVersion) -> JsonValue:
    return terms_json(version.effective_from, version.components, version.rules, version.note)


def _score(row: RowMapping) -> Score:
    return Score(
        row["assignment_id"],
        row["number"],
        row["component"],
        row["objective"],
        Period(row["period_start"], row["period_end"]),
        row["percent"],
        row["evidence"],
        _actor(row),
        row["at"],
    )


def _actor(row: RowMapping) -> Actor:
    return Actor(ActorKind(row["actor"]), row["person_id"])


def _assignment(row: RowMapping) -> Assignment:
    status = AssignmentStatus(row["status"])
    target = row["target_variable"]
    stored = Assignment(
        row["id"],
        row["person_id"],
        row["plan_id"],
        DatedRange(row["start"], row["end"]),
        quotas_of(QUOTAS.validate_python(row["quotas"])),
        row["version"],
        row["deleted"] and status is not AssignmentStatus.PROPOSED,
        None if target is None else target_variable_of(TargetVariableContent.model_validate(target)),
        ramp_of(RAMP.validate_python(row["ramp"])),
        leave_of(LEAVE.validate_python(row["leave"])),
        row["prorated"],
        status,
    )
    change = row["change"]
    return stored if change is None else replace(stored, change=with_terms(stored, change))


def _assignment_values(assignment: Assignment) -> Mapping[str, object]:
    # A process of the release before, which knows no proposals, pays by whatever is not deleted.
    is_proposed = assignment.status is AssignmentStatus.PROPOSED
    status = AssignmentStatus.APPROVED if assignment.deleted else assignment.status
    target = target_variable_content(assignment.target_variable)
    return {
        "id": assignment.id,
        "person_id": assignment.person_id,
        "plan_id": assignment.plan_id,
        "start": assignment.range.start,
        "end": assignment.range.end,
        "quotas": QUOTAS.dump_python(
            quotas_content(assignment.quotas), mode="json", by_alias=True, exclude_defaults=True
        ),
        "version": assignment.version,
        "deleted": assignment.deleted or is_proposed,
        "status": status.value,
        "target_variable": None if target is None else target.model_dump(mode="json", by_alias=True),
        "ramp": RAMP.dump_python(ramp_content(assignment.ramp), mode="json", by_alias=True),
        "leave": LEAVE.dump_python(leave_content(assignment.leave), mode="json"),
        "prorated": assignment.prorated,
        "change": None if assignment.change is None else assignment_terms_document(assignment.change),
    }


PLANS: Final = VersionedTable("plan", plans, _plan, _plan_values, PlanNotFound)
ASSIGNMENTS: Final = VersionedTable(
    "assignment",
    assignments,
    _assignment,
    _assignment_values,
    AssignmentNotFound,
    present=or_(~assignments.c.deleted, ~_WAS_APPROVED),
)
