"""A consumer in a process of its own that says on stdout how far it is and can be made to hang at one point.

Usage: python -m tests.faults.consumer_process BOOTSTRAP DATABASE_URL GROUP TOPIC POINT

POINT is where it hangs, with its whole event loop, until it is killed: `fetched` (records in hand, no transaction),
`applied` (transaction open), `committed` (transaction committed, nothing told to Kafka). With `never` it just works. A
process that is stopped and continued at `fetched` goes on when a line comes on stdin.
"""

import asyncio
import sys
import time

from shared.db.database import Scope, Transaction
from shared.kafka.consumer import Consumer
from shared.kafka.domain import Batch
from shared.kafka.settings import KafkaSettings
from shared.outbox.outbox import Outbox
from tests.servers.consumers import TABLES, RecordingHandler, opened

SESSION_SECONDS = 2


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def hang_at(point: str) -> None:
    """Keep the whole event loop from doing anything more."""
    say(point)
    time.sleep(600)


class HangingHandler(RecordingHandler):
    def __init__(self, point: str) -> None:
        super().__init__()
        self._point = point
        self._applied = False

    def scope(self, batch: Batch) -> Scope:
        if self._point == "fetched" and not self._applied:
            self._applied = True
            say("fetched")
            sys.stdin.readline()
        return super().scope(batch)

    async def apply(self, tx: Transaction, batch: Batch) -> None:
        await super().apply(tx, batch)
        if self._point == "applied":
            hang_at("applied")
        if self._point == "committed":
            tx.after_commit(lambda: hang_at("committed"))


async def main(bootstrap: str, url: str, group: str, topic: str, point: str) -> None:
    async with opened(url) as database:
        consumer = Consumer(
            settings=KafkaSettings(bootstrap=bootstrap),
            database=database,
            tables=TABLES,
            outbox=Outbox(TABLES),
            group=group,
            topics=[topic],
            handler=HangingHandler(point),
            max_records=10,
            session_seconds=SESSION_SECONDS,
        )
        await consumer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
