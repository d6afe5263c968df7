"""Every statement on jobs."""

from collections.abc import Collection, Mapping
from typing import Final, TypedDict
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select, true, update

from services.goals.jobs.domain import Failure, Job, JobFilter, JobNotFound, JobState
from services.goals.jobs.tables import jobs
from shared.db.conditions import equal
from shared.db.database import Transaction
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor
from shared.kernel.errors import FieldError
from shared.kernel.sight import Breadth, Viewer

_WAITING: Final = jobs.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value])


class _FieldJson(TypedDict):
    pointer: str
    message: str
    accepted: str | None


class _FailureJson(TypedDict):
    code: str
    detail: str
    fields: list[_FieldJson]


async def list_jobs(
    tx: Transaction, tenant_id: UUID, viewer: Viewer, wanted: JobFilter, *, after: UUID | None, limit: int
) -> list[Job]:
    columns = jobs.c
    return await JOBS.page(
        tx,
        tenant_id,
        after,
        limit,
        job_in(viewer),
        equal(columns.kind, wanted.kind),
        equal(columns.state, None if wanted.state is None else wanted.state.value),
        equal(columns.requested_by, wanted.requested_by),
    )


async def next_waiting(tx: Transaction, kinds: Collection[str]) -> tuple[UUID, UUID] | None:
    """The tenant and id of the job of these kinds that waits longest and that nobody is at; None where none is."""
    statement = (
        select(jobs.c.tenant_id, jobs.c.id)
        .where(_WAITING, jobs.c.kind.in_(sorted(kinds)))
        .order_by(jobs.c.changed_at, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = await tx.one_or_none(statement)
    return None if row is None else (row["tenant_id"], row["id"])


async def claim(tx: Transaction, tenant_id: UUID, job_id: UUID) -> Job | None:
    """A job that waits to be worked at; None where another transaction has it. Nobody else changes it until the end."""
    statement = (
        select(jobs)
        .where(jobs.c.tenant_id == tenant_id, jobs.c.id == job_id, _WAITING)
        .with_for_update(skip_locked=True)
    )
    row = await tx.one_or_none(statement)
    return None if row is None else _job(row)


async def save_advance(tx: Transaction, tenant_id: UUID, worked: Job) -> None:
    """Store how far a claimed job is, in whatever version that is."""
    values = {**_values(worked), "changed_at": tx.now}
    await tx.execute(update(jobs).where(jobs.c.tenant_id == tenant_id, jobs.c.id == worked.id).values(values))


def job_in(viewer: Viewer) -> ColumnElement[bool]:
    """Whether a job is in view: any for who sees the tenant, for anybody else those of their own."""
    return true() if viewer.breadth is Breadth.TENANT else jobs.c.requested_by == viewer.person_id


def _job(row: RowMapping) -> Job:
    failure: _FailureJson | None = row["failure"]
    return Job(
        id=row["id"],
        kind=row["kind"],
        parameters=row["parameters"],
        requested_by=Actor.of(row["requested_by"]),
        requested_at=row["requested_at"],
        reason=row["reason"],
        total=row["total"],
        version=row["version"],
        state=JobState(row["state"]),
        done=row["done"],
        worked_ms=row["worked_ms"],
        cursor=row["cursor"],
        counts=row["counts"],
        problems=tuple(_field(stored) for stored in row["problems"]),
        failure=None
        if failure is None
        else Failure(failure["code"], failure["detail"], tuple(_field(stored) for stored in failure["fields"])),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _values(job: Job) -> Mapping[str, object]:
    return {
        "id": job.id,
        "version": job.version,
        "kind": job.kind,
        "state": job.state.value,
        "parameters": job.parameters,
        "requested_by": job.requested_by.person_id,
        "requested_at": job.requested_at,
        "reason": job.reason,
        "total": job.total,
        "done": job.done,
        "worked_ms": job.worked_ms,
        "cursor": job.cursor,
        "counts": job.counts,
        "problems": [_field_json(problem) for problem in job.problems],
        "failure": None if job.failure is None else _failure_json(job.failure),
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _field(stored: _FieldJson) -> FieldError:
    return FieldError(stored["pointer"], stored["message"], stored["accepted"])


def _field_json(field: FieldError) -> _FieldJson:
    return {"pointer": field.pointer, "message": field.message, "accepted": field.accepted}


def _failure_json(failure: Failure) -> _FailureJson:
    fields = [_field_json(field) for field in failure.fields]
    return {"code": failure.code, "detail": failure.detail, "fields": fields}


JOBS: Final = VersionedTable("job", jobs, _job, _values, JobNotFound)
