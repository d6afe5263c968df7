"""From records to events: how every reader of a topic decodes its records.

A tombstone is passed over, and so is a type that this release does not know. What does not decode is Poison: its detail
names the member and the kind of error, and nothing of the value, as it is stored with the dead letter and logged.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.contracts import envelope
from shared.contracts.base import Event
from shared.contracts.envelope import MalformedEvent
from shared.kafka.domain import Batch, Poison, Record
from shared.kernel.deals import RecordVersion

_MALFORMED: Final = "malformed"
_NOBODY: Final = UUID(int=0)

NamedVersion = tuple[tuple[UUID, UUID], RecordVersion]
"""A tenant and a deal or an activity of it, and a version of that."""


def tenants_of(batch: Batch) -> set[UUID]:
    """Whose records these are, by their headers; a tombstone is nobody's. Raises Poison."""
    tenants: set[UUID] = set()
    known: set[bytes | None] = set()
    for record in batch:
        header = record.headers.get("ce_tenantid")
        if record.value is not None and header not in known:
            tenants.add(tenant_of(record))
            known.add(header)
    return tenants


def tenant_of(record: Record) -> UUID:
    """Whose record this is, by its headers. Raises Poison."""
    try:
        return envelope.tenant_of(record.headers)
    except MalformedEvent as error:
        raise Poison(record, str(error), reason=_MALFORMED) from None


def tenant_or_nobody(record: Record) -> UUID:
    """Whose record this is, by its headers; the UUID of zeros where they do not say."""
    try:
        return envelope.tenant_of(record.headers)
    except MalformedEvent:
        return _NOBODY


def event_of(record: Record) -> Event | None:
    """The record's event; None for a tombstone and for a type this release does not know. Raises Poison."""
    if record.value is None:
        return None
    try:
        return envelope.from_record(record.headers, record.value)
    except MalformedEvent as error:
        raise Poison(record, str(error), reason=_MALFORMED) from None


def version_of(record: Record) -> NamedVersion | None:
    """Which version of which record of a source it is, where its headers name it. Raises Poison."""
    if record.value is None:
        return None
    try:
        named = envelope.record_version(record.headers)
        return None if named is None else ((envelope.tenant_of(record.headers), named[0]), named[1])
    except MalformedEvent as error:
        raise Poison(record, str(error), reason=_MALFORMED) from None


def events_of(batch: Batch) -> Iterator[tuple[Record, Event]]:
    """The records with an event this release knows, decoded as they are taken. Raises Poison."""
    for record in batch:
        event = event_of(record)
        if event is not None:
            yield record, event


def time_of(record: Record) -> datetime:
    """When the change that the record states happened. Raises Poison."""
    try:
        return envelope.time_of(record.headers)
    except MalformedEvent as error:
        raise Poison(record, str(error), reason=_MALFORMED) from None
