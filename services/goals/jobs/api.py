"""Jobs over HTTP: watched, paused, resumed, cancelled."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.goals.jobs.domain import JobFilter, JobNotFound, JobNotInState, JobOfAnother, JobState
from services.goals.jobs.schemas import JobAnswer
from services.goals.jobs.service import Jobs
from shared.contracts.texts import SearchText
from shared.http.auth import CurrentPrincipal
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.reader import RequestReader
from shared.http.sight import viewer_of
from shared.http.wiring import handed
from shared.http.writer import RequestWriter
from shared.kernel.errors import VersionMismatch

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

UseCases = Annotated[Jobs, Depends(handed(Jobs))]
_IDS: Final = Cursor(UUID)
_CHANGE: Final = (JobNotFound, JobOfAnother, JobNotInState, VersionMismatch, PreconditionRequired)


@router.get("", summary="List jobs")
async def list_jobs(
    principal: CurrentPrincipal,
    jobs: UseCases,
    reader: RequestReader,
    paging: Paging,
    kind: Annotated[SearchText | None, Query(description="Only jobs of this kind.")] = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    requested_by: Annotated[UUID | None, Query(description="Only jobs that this person requested.")] = None,
) -> Page[JobAnswer]:
    """In the order they were requested in. Who does not see all of the tenant sees their own."""
    async with reader.transaction() as tx:
        found = await jobs.list_jobs(
            tx,
            principal.tenant_id,
            viewer_of(principal),
            JobFilter(kind, state, requested_by),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda job: job.id, item=JobAnswer.of)


@router.get("/{job_id}", summary="A job", responses=responses(JobNotFound))
async def get_job(
    job_id: UUID, principal: CurrentPrincipal, jobs: UseCases, reader: RequestReader, read: ConditionalRead
) -> Answered[JobAnswer]:
    """How far it is. It moves on with each chunk of work, about once a second."""
    async with reader.transaction() as tx:
        answer = JobAnswer.of(await jobs.get_job(tx, principal.tenant_id, job_id, viewer_of(principal)))
    return read.answer(answer)


@router.post("/{job_id}/pause", summary="Pause a job", responses=responses(*_CHANGE))
async def pause_job(
    job_id: UUID, principal: CurrentPrincipal, jobs: UseCases, writer: RequestWriter, expected: ExpectedVersion
) -> Answered[JobAnswer]:
    """Stop it where it is. The chunk of work under way is finished."""
    return await writer.commit(
        lambda tx: jobs.pause_job(tx, principal.tenant_id, job_id, viewer_of(principal), expected), JobAnswer.of
    )


@router.post("/{job_id}/resume", summary="Resume a job", responses=responses(*_CHANGE))
async def resume_job(
    job_id: UUID, principal: CurrentPrincipal, jobs: UseCases, writer: RequestWriter, expected: ExpectedVersion
) -> Answered[JobAnswer]:
    """Go on with one that was paused or has failed, where it stopped."""
    return await writer.commit(
        lambda tx: jobs.resume_job(tx, principal.tenant_id, job_id, viewer_of(principal), expected), JobAnswer.of
    )


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=responses(*_CHANGE))
async def cancel_job(
    job_id: UUID, principal: CurrentPrincipal, jobs: UseCases, writer: RequestWriter, expected: ExpectedVersion
) -> Answered[JobAnswer]:
    """Give it up. What it has done stays."""
    return await writer.commit(
        lambda tx: jobs.cancel_job(tx, principal.tenant_id, job_id, viewer_of(principal), expected), JobAnswer.of
    )
