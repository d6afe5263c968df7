"""CloudEvents 1.0 in Kafka binary mode: attributes in `ce_` headers, the event itself as the JSON value."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TypeVar
from uuid import UUID

from pydantic import ValidationError

from shared.contracts.base import Event, RecordEvent, utc
from shared.contracts.topics import EVENT_TYPES
from shared.kernel.deals import RecordVersion
from shared.kernel.reading import read_instant
from shared.outbox.message import OutboxMessage

EventT = TypeVar("EventT", bound=Event)
CONTENT_TYPE = ("content-type", b"application/json")
_VERSION = "ce_recordversion"
SPEC_VERSION = ("ce_specversion", b"1.0")
_PROBLEMS_MAX = 10


class MalformedEvent(ValueError):
    """A record that is no event of a known type, or whose value does not fit its type.

    Its text names members and kinds of errors and nothing of the value, which may be personal data.
    """


def to_message(
    event: Event, *, event_id: UUID, source: str, time: datetime, traceparent: str | None = None
) -> OutboxMessage:
    """The Kafka record of an event.

    `source` is the publishing service (`goals`, `tracking`, `incentives`), `time` the aware UTC instant of the change,
    `traceparent` the W3C trace context of what caused it.
    """
    subject = event.subject
    tenant = _text(event.tenant_id)
    headers = (
        *_kind_headers(event.event_type, source),
        ("ce_id", str(event_id).encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", _time_header(time)),
        ("ce_tenantid", tenant.encode()),
    )
    if traceparent is not None:
        headers = (*headers, ("traceparent", traceparent.encode()))
    return OutboxMessage(
        tenant_id=event.tenant_id,
        topic=event.topic,
        key=f"{tenant}/{subject}",
        headers=headers,
        value=event.model_dump_json().encode(),
    )


def to_record_message(
    event: RecordEvent, *, event_id: UUID, time: datetime, traceparent: str | None = None
) -> OutboxMessage:
    """The Kafka record of a version of a deal or an activity, with a header that names the version."""
    message = to_message(event, event_id=event_id, source="tracking", time=time, traceparent=traceparent)
    version = f"{utc(event.modified_at)}/{event.sequence}/{event.delivery_id}"
    return message._replace(headers=(*message.headers, (_VERSION, version.encode())))


# Many messages are made at once, and of most headers they have the same.
@lru_cache(maxsize=64)
def _kind_headers(event_type: str, source: str) -> tuple[tuple[str, bytes], ...]:
    return (
        SPEC_VERSION,
        CONTENT_TYPE,
        ("ce_source", f"/attain/{source}".encode()),
        ("ce_type", event_type.encode()),
    )


@lru_cache(maxsize=64)
def _time_header(time: datetime) -> bytes:
    return utc(time).encode()


@lru_cache(maxsize=4096)
def _text(tenant_id: UUID) -> str:
    return str(tenant_id)


def tenant_of(headers: Mapping[str, bytes]) -> UUID:
    """Whose record this is, from its headers alone. Raises MalformedEvent."""
    try:
        return _tenant(headers["ce_tenantid"])
    except (KeyError, ValueError):
        raise MalformedEvent("the ce_tenantid header is missing or is not a UUID") from None


@lru_cache(maxsize=4096)
def _tenant(header: bytes) -> UUID:
    return UUID(header.decode())


def from_record(headers: Mapping[str, bytes], value: bytes | None) -> Event | None:
    """The event of a Kafka record; None for a type this release does not know. Raises MalformedEvent.

    An unknown type is no error: publishers are upgraded before readers.
    """
    try:
        name = headers["ce_type"].decode()
    except (KeyError, UnicodeDecodeError):
        raise MalformedEvent("the ce_type header is missing") from None
    model = EVENT_TYPES.get(name)
    if model is None:
        return None
    return parse(model, headers, value)


def parse(model: type[EventT], headers: Mapping[str, bytes], value: bytes | None) -> EventT:
    """The event of a record known to be of type `model`. Raises MalformedEvent."""
    try:
        event = model.from_json(value or b"")
    except ValidationError as error:
        # Not "from error", whose text has the values in it.
        raise MalformedEvent(f"the value is no {model.event_type}: {_without_values(model, error)}") from None
    if event.tenant_id.int != tenant_of(headers).int:
        raise MalformedEvent("the value's tenant is not the ce_tenantid header's")
    return event


def time_of(headers: Mapping[str, bytes]) -> datetime:
    """When the change was, from a record's headers; aware. Raises MalformedEvent."""
    time = read_instant(headers.get("ce_time", b"").decode("utf-8", "replace"))
    if time is None:
        raise MalformedEvent("the ce_time header is missing or is not an RFC 3339 time")
    return time


def record_version(headers: Mapping[str, bytes]) -> tuple[UUID, RecordVersion] | None:
    """Which version of which record it is, from its headers; None where they do not name one. Raises MalformedEvent."""
    header = headers.get(_VERSION)
    if header is None:
        return None
    try:
        _, _, record_id = headers["ce_subject"].decode().rpartition("/")
        modified_at, sequence, delivery_id = header.decode().split("/")
        instant = read_instant(modified_at)
        if instant is not None:
            return UUID(record_id), RecordVersion(instant, int(sequence), UUID(delivery_id))
    except (KeyError, ValueError):
        pass
    raise MalformedEvent("the ce_recordversion or the ce_subject header is not one of a record")


def _without_values(model: type[Event], error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{_pointer(model, problem['loc'])}: {problem['type']}" for problem in problems[:_PROBLEMS_MAX])


def _pointer(model: type[Event], location: tuple[int | str, ...]) -> str:
    """Where in the value it is: a key that is no member of the contract is part of the value."""
    members = _members(model)
    return "".join(f"/{part if isinstance(part, int) or part in members else '*'}" for part in location) or "/"


@lru_cache(maxsize=64)
def _members(model: type[Event]) -> frozenset[str]:
    """The names of the members of an event and of its parts."""
    return frozenset(_properties(model.model_json_schema()))


def _properties(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for part in schema.values():
            yield from _properties(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _properties(part)
