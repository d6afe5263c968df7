"""The worker process of the goals service, `python -m services.goals.worker`.

It works at jobs, and publishes what waits in its outbox.
"""

import sys

from services.goals.jobs.service import Jobs
from services.goals.jobs.work import JobRunner
from services.goals.metadata import transport
from services.goals.settings import SERVICE
from shared.contracts.topics import TOPICS
from shared.worker.process import ServiceWorkerSettings, WorkerProcess, run_service_worker


async def work(process: WorkerProcess[ServiceWorkerSettings]) -> int:
    """Work at jobs and publish until a signal; the process's exit status."""
    return await process.run({"jobs": JobRunner(process.database, Jobs(), {})})


def main() -> int:
    return run_service_worker(
        SERVICE,
        ServiceWorkerSettings,
        work,
        tables=transport,
        topics=[spec for spec in TOPICS.values() if spec.producer == SERVICE],
        renderers={},
    )


if __name__ == "__main__":
    sys.exit(main())
