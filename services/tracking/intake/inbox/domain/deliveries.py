"""Deliveries: their states, and which of those that wait are stored together."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, Self, TypeVar
from uuid import UUID

from services.tracking.intake.connections.domain import Sender
from services.tracking.intake.sources.domain import Remark, Untranslatable
from shared.kernel.errors import Conflict, NotFound, Unavailable

WAITING_DELIVERIES_MAX: Final = 4000
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
GROUP_DELIVERIES_MAX: Final = 500
GROUP_BYTES_MAX: Final = 4 * 1024 * 1024

ItemT = TypeVar("ItemT")


class DeliveryState(StrEnum):
    """The state of a delivery."""

    RECEIVED = "received"
    TRANSLATED = "translated"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"
    """It was in quarantine, and somebody discarded it as it will never be of use. It can be restored."""


class Origin(StrEnum):
    """How a delivery came."""

    WEBHOOK = "webhook"
    FETCHED = "fetched"
    """Fetched because a webhook named it."""
    RECONCILED = "reconciled"
    """Found to be missed by webhooks."""
    BACKFILLED = "backfilled"
    """Part of a connection's history."""


NOT_COUNTED: Final = "not_counted"
"""The reason of a delivery that was understood and is about something that is no record here."""
_TEXT_CHARACTERS_MAX: Final = 500


def printable(text: str) -> str:
    """A text as it can be stored and shown: in Unicode, without NUL, of five hundred characters at most."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")[:_TEXT_CHARACTERS_MAX]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record of a delivery could not be translated, and where in the body it is."""

    reason: str
    pointer: str
    detail: str

    @classmethod
    def of(cls, error: Untranslatable) -> Self:
        return cls(error.reason.value, printable(error.pointer), printable(error.detail))


class DeliveryNotFound(NotFound):
    """No delivery of the tenant has this id."""

    code = "delivery_not_found"
    title = "Delivery not found"


class DeliveryWaiting(Conflict):
    """The delivery has not been translated yet, so there is nothing to do again."""

    code = "delivery_waiting"
    title = "Delivery is waiting"


class DeliveryNotQuarantined(Conflict):
    """Only a delivery in quarantine can be discarded."""

    code = "delivery_not_quarantined"
    title = "Delivery is not in quarantine"


class DeliveryNotDiscarded(Conflict):
    """Only a discarded delivery can be restored."""

    code = "delivery_not_discarded"
    title = "Delivery is not discarded"


class DeliveryDiscarded(Conflict):
    """The delivery was discarded: restore it to have it translated again."""

    code = "delivery_discarded"
    title = "Delivery is discarded"


class BodyDropped(Conflict):
    """The delivery's body is past its time of retention; only the source can send it again."""

    code = "body_dropped"
    title = "Body dropped"


class InboxFull(Unavailable):
    """More deliveries wait to be stored than fit in memory: send this one again in a moment."""

    code = "inbox_full"
    title = "Inbox full"


@dataclass(frozen=True, slots=True)
class Discard:
    """That a delivery was discarded, and that it was restored if it was. `by`: None for a service."""

    id: UUID
    reason: str
    discarded_at: datetime
    discarded_by: UUID | None
    restored_at: datetime | None = None
    restored_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sender sent. `body` is None once it is past its time of retention."""

    tenant_id: UUID
    id: UUID
    connection_id: UUID
    dedupe_key: str
    received_at: datetime
    headers: dict[str, str]
    body: bytes | None
    traceparent: str | None = None
    state: DeliveryState = DeliveryState.RECEIVED
    reason: str | None = None
    pointer: str | None = None
    detail: str | None = None
    deals: int | None = None
    problems: list[Problem] | None = None
    """Each of them, where there is more than the one in `reason` or other records were translated."""
    remarks: list[Remark] | None = None
    replay_of: UUID | None = None
    origin: Origin = Origin.WEBHOOK
    caused_by: UUID | None = None
    processed_at: datetime | None = None
    discard: Discard | None = None
    """The last time it was discarded."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery that is to be stored. `headers` is a JSON object."""

    sender: Sender
    dedupe_key: str
    headers: str
    body: bytes
    traceparent: str | None = None


class WaitingRoom(Generic[ItemT]):
    """Decides what is let in and what is stored next. The caller obeys; nothing here waits or fails.

    First come, first stored; a group is bounded in deliveries and in bytes, as is what may wait in all.
    """

    def __init__(
        self,
        *,
        waiting_max: int = WAITING_DELIVERIES_MAX,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        group_max: int = GROUP_DELIVERIES_MAX,
        group_bytes_max: int = GROUP_BYTES_MAX,
    ) -> None:
        self._waiting_max = waiting_max
        self._waiting_bytes_max = waiting_bytes_max
        self._group_max = group_max
        self._group_bytes_max = group_bytes_max
        self._waiting: deque[tuple[ItemT, int]] = deque()
        self._admitted = 0
        self._admitted_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting

    def admit(self, item: ItemT, size_bytes: int) -> bool:
        """Let it in, unless that would be too many or too much; what is being stored counts too."""
        if self._admitted >= self._waiting_max or self._admitted_bytes + size_bytes > self._waiting_bytes_max:
            return False
        self._waiting.append((item, size_bytes))
        self._admitted += 1
        self._admitted_bytes += size_bytes
        return True

    def next_group(self) -> tuple[list[ItemT], int]:
        """Those to store now, in the order they came, and their size; never one that alone is over the limit left out.

        They count against the limits until `done`.
        """
        group: list[ItemT] = []
        group_bytes = 0
        while self._waiting and len(group) < self._group_max:
            item, size_bytes = self._waiting[0]
            if group and group_bytes + size_bytes > self._group_bytes_max:
                break
            self._waiting.popleft()
            group.append(item)
            group_bytes += size_bytes
        return group, group_bytes

    def done(self, count: int, size_bytes: int) -> None:
        """A group has been stored, or has failed for good."""
        self._admitted -= count
        self._admitted_bytes -= size_bytes
