"""The worker process of the goals service, `python -m services.goals.worker`: publishes what waits in its outbox."""

import sys

from services.goals.metadata import transport
from services.goals.settings import SERVICE
from shared.contracts.topics import TOPICS
from shared.worker.process import ServiceWorkerSettings, WorkerProcess, run_service_worker


async def work(process: WorkerProcess[ServiceWorkerSettings]) -> int:
    """Publish until a signal; the process's exit status."""
    return await process.run({})


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
