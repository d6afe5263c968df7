"""The use cases of jobs: requested and changed by people, worked at chunk by chunk."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from time import perf_counter
from typing import Final
from uuid import UUID

from services.goals.jobs import store
from services.goals.jobs.domain import Chunk, Failure, Job, JobFilter, JobOfAnother, JobState
from shared.db.database import Transaction
from shared.kernel.approvals import Actor
from shared.kernel.sight import Viewer

CHANNEL: Final = "goals_jobs"
"""Notified when there is a job to be worked at."""

Work = Callable[[Transaction, UUID, Job], Awaitable[Chunk]]
"""Does the next chunk of a job of a tenant, in the transaction that stores how far the job is then."""

CheckRequester = Callable[[Transaction, UUID, Actor], Awaitable[None]]
"""Raises where whoever requested a job may not have it done any more: handed in where a process is wired."""


class Jobs:
    """The jobs of every tenant."""

    async def request_job(
        self,
        tx: Transaction,
        tenant_id: UUID,
        kind: str,
        parameters: Mapping[str, object],
        *,
        total: int | None,
    ) -> Job:
        """A job of the transaction's actor, for its reason, begun once it is committed. `parameters` are of JSON."""
        requested = Job(tx.new_id(), kind, parameters, tx.actor, tx.now, tx.reason, total)
        await tx.notify(CHANNEL)
        return await store.JOBS.add(tx, tenant_id, requested)

    async def list_jobs(
        self, tx: Transaction, tenant_id: UUID, viewer: Viewer, wanted: JobFilter, *, after: UUID | None, limit: int
    ) -> list[Job]:
        """Those in view, by id, which is the order they were requested in."""
        return await store.list_jobs(tx, tenant_id, viewer, wanted, after=after, limit=limit)

    async def get_job(self, tx: Transaction, tenant_id: UUID, job_id: UUID, viewer: Viewer) -> Job:
        """Raises JobNotFound, also for one out of view."""
        return await store.JOBS.get(tx, tenant_id, job_id, store.job_in(viewer))

    async def pause_job(
        self, tx: Transaction, tenant_id: UUID, job_id: UUID, viewer: Viewer, expected_version: int
    ) -> Job:
        """Stop after the chunk under way. Raises JobNotFound, JobOfAnother, VersionMismatch, JobNotInState."""
        return await self._change(tx, tenant_id, job_id, viewer, expected_version, Job.paused)

    async def resume_job(
        self, tx: Transaction, tenant_id: UUID, job_id: UUID, viewer: Viewer, expected_version: int
    ) -> Job:
        """Go on with one that is paused or has failed.

        Raises JobNotFound, JobOfAnother, VersionMismatch, JobNotInState.
        """
        await tx.notify(CHANNEL)
        return await self._change(tx, tenant_id, job_id, viewer, expected_version, Job.resumed)

    async def cancel_job(
        self, tx: Transaction, tenant_id: UUID, job_id: UUID, viewer: Viewer, expected_version: int
    ) -> Job:
        """End one after the chunk under way; what it has done stays.

        Raises JobNotFound, JobOfAnother, VersionMismatch, JobNotInState.
        """
        return await self._change(tx, tenant_id, job_id, viewer, expected_version, lambda job: job.cancelled(tx.now))

    async def give_up(self, tx: Transaction, tenant_id: UUID, job_id: UUID) -> None:
        """Cancel a job that has not ended, whoever requested it; its chunk under way is waited for."""
        job = await store.JOBS.locked(tx, tenant_id, job_id)
        if job.state not in (JobState.DONE, JobState.CANCELLED):
            await store.JOBS.save(tx, tenant_id, job.cancelled(tx.now))

    async def next_waiting(self, tx: Transaction, kinds: Collection[str]) -> tuple[UUID, UUID] | None:
        """The tenant and id of the job of these kinds that waits longest and that nobody is at."""
        return await store.next_waiting(tx, kinds)

    async def work(
        self, tx: Transaction, tenant_id: UUID, job_id: UUID, works: Mapping[str, Work], check: CheckRequester
    ) -> None:
        """Do the next chunk of a job, and store with it how far the job is; nothing where somebody else is at it.

        Raises what the check and the work raise.
        """
        began = perf_counter()
        claimed = await store.claim(tx, tenant_id, job_id)
        if claimed is not None:
            await check(tx, tenant_id, claimed.requested_by)
            tx.actor, tx.reason = claimed.requested_by, claimed.reason
            chunk = await works[claimed.kind](tx, tenant_id, claimed)
            worked_ms = max(1, round((perf_counter() - began) * 1000))
            await store.save_advance(tx, tenant_id, claimed.worked(chunk, worked_ms=worked_ms, now=tx.now))

    async def fail(self, tx: Transaction, tenant_id: UUID, job_id: UUID, failure: Failure) -> None:
        """End a job whose next chunk cannot be done."""
        claimed = await store.claim(tx, tenant_id, job_id)
        if claimed is not None:
            await store.save_advance(tx, tenant_id, claimed.failed(failure, tx.now))

    async def _change(
        self,
        tx: Transaction,
        tenant_id: UUID,
        job_id: UUID,
        viewer: Viewer,
        expected_version: int,
        change: Callable[[Job], Job],
    ) -> Job:
        job = await self.get_job(tx, tenant_id, job_id, viewer)
        if not viewer.edits and viewer.person_id != job.requested_by.person_id:
            raise JobOfAnother("Whoever requested the job changes it, or an admin, revops or a service.")
        job = await store.JOBS.for_change(tx, tenant_id, job_id, expected_version)
        return await store.JOBS.save(tx, tenant_id, change(job))
