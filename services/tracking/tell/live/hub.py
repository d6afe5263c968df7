"""From the topic of progress to the clients that watch: every change into the mailboxes of those who watch its goal."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from random import SystemRandom
from typing import Final
from uuid import UUID

from fastapi.sse import ServerSentEvent

from shared.contracts.progress import Progress
from shared.http.sse import Mailbox
from shared.kafka.domain import Poison, Record
from shared.kafka.events import event_of, tenant_of
from shared.kafka.settings import KafkaSettings
from shared.kafka.tail import Tail
from shared.kernel.errors import Unavailable
from shared.kernel.reading import read_whole_number
from shared.telemetry.logs import get_logger
from shared.worker.rounds import Rounds

_log = get_logger(__name__)
_chance: Final = SystemRandom()
EVENT_NAME: Final = "progress"

Watched = tuple[UUID, UUID]
"""A tenant, and a goal or an owner of goals in it."""


class LiveNotReady(Unavailable):
    """The topic of progress is not being read: the process is starting or the broker is away."""

    code = "live_not_ready"
    title = "Live updates not ready"


class LiveHub(Rounds):
    """Reads what is published from now on and hands it to the streams. One per API process."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__("live", every_seconds=None)
        self._settings = settings
        self._watchers: defaultdict[Watched, set[Mailbox]] = defaultdict(set)
        self._tenants: Counter[UUID] = Counter()
        self._tail: Tail | None = None

    async def round(self) -> bool:
        """Read until `stop` or an error; not ready before and after."""
        tail = Tail(self._settings, topics=[Progress.topic], client_id="attain-tracking-live")
        await tail.start()
        self._tail = tail
        try:
            async for record in tail:
                self.publish(record)
        finally:
            self._tail = None
            await tail.stop()
        return True

    async def stop(self) -> None:
        """Disconnect; `run` returns."""
        await super().stop()
        if self._tail is not None:
            await self._tail.stop()

    async def ready(self) -> None:
        """Raises LiveNotReady unless every change from now on will be seen."""
        if self._tail is None:
            raise LiveNotReady("The topic of progress is not being read.", retry_after_seconds=2)

    @contextmanager
    def watching(self, mailbox: Mailbox, watched: Iterable[Watched]) -> Generator[None]:
        """Bring every change of the watched goals to the mailbox, for as long as the block lasts."""
        keys = frozenset(watched)
        for key in keys:
            self._watchers[key].add(mailbox)
            self._tenants[key[0]] += 1
        try:
            yield
        finally:
            for key in keys:
                self._watchers[key].discard(mailbox)
                if not self._watchers[key]:
                    del self._watchers[key]
                self._tenants[key[0]] -= 1
                if not self._tenants[key[0]]:
                    del self._tenants[key[0]]

    def publish(self, record: Record) -> None:
        """Hand a record to whoever watches its goal or the goal's owner."""
        if not self._watchers or record.value is None:
            return
        try:
            if not self._tenants[tenant_of(record)]:
                return
            event = event_of(record)
        except Poison as error:
            _log.warning("live_event_malformed", partition=record.partition, offset=record.offset, reason=error.detail)
            return
        if not isinstance(event, Progress):
            return
        watchers = self._watchers.get((event.tenant_id, event.goal_id), set()) | self._watchers.get(
            (event.tenant_id, event.owner.id), set()
        )
        if watchers:
            message = sse(event)
            for mailbox in watchers:
                mailbox.put(event.subject, message)


def sse(event: Progress) -> ServerSentEvent:
    """The event as it is streamed; its id names the goal and the version."""
    return ServerSentEvent(
        event=EVENT_NAME, id=f"{event.goal_id}:{event.version}", raw_data=event.model_dump_json(exclude={"tenant_id"})
    )


def seen_version(event_id: str | None) -> tuple[UUID, int] | None:
    """The goal and version of an event id; None when there is none or it is not one of ours."""
    goal, _, text = (event_id or "").partition(":")
    version = read_whole_number(text)
    try:
        return None if version is None else (UUID(goal), version)
    except ValueError:
        return None
