"""The worker process of the goals service, `python -m services.goals.worker`.

It works at jobs, stores what people reached as tracking counts it, refreshes the public holidays of calendars, and
publishes what waits in its outbox.
"""

import sys
from typing import Final

from services.goals.calendar.national import Governments
from services.goals.calendar.service import Calendars
from services.goals.calendar.work import HolidayRefresh
from services.goals.evidence.consumer import EVIDENCE_GROUP, ActualsHandler
from services.goals.evidence.service import Evidence
from services.goals.files.kinds import Tables
from services.goals.files.service import IMPORT, Uploads
from services.goals.files.work import ImportWork
from services.goals.jobs.service import Jobs, Work
from services.goals.jobs.work import JobRunner
from services.goals.metadata import audit, transport
from services.goals.moves.service import strengths
from services.goals.org.service import Organisation
from services.goals.planning.knowing import Knowledge
from services.goals.planning.service import Planning
from services.goals.settings import SERVICE
from services.goals.smart.service import SmartChecks
from services.goals.targets.activation import ACTIVATE_GOALS, Activation
from services.goals.targets.service import Goals
from shared.contracts import actuals
from shared.contracts.topics import TOPICS
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail
from shared.worker.process import ServiceWorkerSettings, WorkerProcess, run_service_worker

# Nobody waits for it: few large batches cost less than many small ones.
_EVIDENCE_GATHER_SECONDS: Final = 0.5


async def work(process: WorkerProcess[ServiceWorkerSettings]) -> int:
    """Run until a signal; the process's exit status."""
    trail = Trail(audit)
    outbox = Outbox(transport, relay=process.relay, trail=trail)
    calendars = Calendars(outbox)
    organisation, evidence, jobs = Organisation(outbox, calendars), Evidence(), Jobs()
    checks = SmartChecks(organisation, calendars, evidence, strengths)
    goals = Goals(outbox, organisation, calendars, trail, checks)
    knowledge = Knowledge(organisation, calendars, evidence, strengths)
    planning = Planning(goals, organisation, calendars, knowledge, jobs, checks.chances, trail)
    works: dict[str, Work] = {
        ACTIVATE_GOALS: Activation(goals, jobs).activate_chunk,
        IMPORT: ImportWork(Tables(organisation, goals), Uploads(jobs)),
        **planning.works,
    }
    return await process.run(
        {
            "jobs": JobRunner(process.database, jobs, works, organisation.check_active),
            "holidays": HolidayRefresh(process.database, calendars, Governments().days),
            "evidence": process.consumer(
                "evidence",
                EVIDENCE_GROUP,
                [actuals.TOPIC],
                ActualsHandler(evidence),
                gather_seconds=_EVIDENCE_GATHER_SECONDS,
            ),
        }
    )


def main() -> int:
    return run_service_worker(
        SERVICE,
        ServiceWorkerSettings,
        work,
        tables=transport,
        topics=TOPICS.values(),
        renderers={},
    )


if __name__ == "__main__":
    sys.exit(main())
