"""The round of jobs: each worked at, a chunk a transaction, the one that waits longest first."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from services.goals.jobs.domain import Failure
from services.goals.jobs.service import CHANNEL, CheckRequester, Jobs, Work
from shared.db.database import Database, Scope
from shared.kernel.errors import AttainError, Unavailable
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_POLL_SECONDS: Final = 5.0


class JobRunner(Rounds):
    """Works at jobs of the kinds it is given works for; any number may run, each at what no other is at.

    A chunk and how far the job is are stored together: one that is cut short has never been, and is done again.
    """

    def __init__(self, database: Database, jobs: Jobs, works: Mapping[str, Work], check: CheckRequester) -> None:
        """`check` comes before each chunk, the last among them."""
        super().__init__("jobs", every_seconds=_POLL_SECONDS, woken_by=database.channels(CHANNEL))
        self._database = database
        self._jobs = jobs
        self._works = works
        self._check = check

    async def round(self) -> bool:
        await self.work_all()
        return False

    async def work_all(self) -> None:
        """Work until no job waits. Raises Unavailable."""
        while not self.is_stopping:
            async with self._database.transaction(Scope.every()) as tx:
                waiting = await self._jobs.next_waiting(tx, self._works.keys())
            if waiting is None:
                return
            await self._work(*waiting)

    async def _work(self, tenant_id: UUID, job_id: UUID) -> None:
        scope = Scope.of(tenant_id)
        try:
            await self._database.run(scope, lambda tx: self._jobs.work(tx, tenant_id, job_id, self._works, self._check))
        except Unavailable:
            raise
        except AttainError as error:
            failure = Failure.of(error)
        except Exception as error:
            _log.exception("job_failed", job_id=str(job_id))
            failure = Failure("unforeseen", f"Something unforeseen went wrong: {type(error).__name__}.")
        else:
            return
        await self._database.run(scope, lambda tx: self._jobs.fail(tx, tenant_id, job_id, failure))
