"""The audit trail: who changed what, when and why, and what it was before.

Every version of what a service publishes of its own is one entry, stored in the transaction that publishes it. The
state is the event's own document, so the trail and the topic say the same. What decides and is not published is there
as well: see `shared.outbox.recorded`. What was made before there was a trail gets
an entry of the state it was in, which is no change, when it is changed for the first time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import Table, text

from shared.contracts.base import Event
from shared.db.arrays import array_text
from shared.db.database import Transaction
from shared.kernel.approvals import UNKNOWN, Actor, ActorKind

_RECORD: Final = """
INSERT INTO {audit} (tenant_id, id, subject, version, is_change, actor_kind, actor_id, reason, state, changed_at)
SELECT CAST(state ->> 'tenant_id' AS uuid), id, subject, CAST(state ->> 'version' AS bigint), :is_change, :actor_kind,
    CAST(:actor_id AS uuid), CAST(:reason AS text), state - 'tenant_id', :now
FROM ROWS FROM (
    unnest(CAST(CAST(:ids AS text) AS uuid[])), unnest(CAST(CAST(:subjects AS text) AS text[])),
    jsonb_array_elements(CAST(CAST(:states AS text) AS jsonb))
) AS t(id, subject, state)
ORDER BY subject
"""
_UNLESS_THERE: Final = "ON CONFLICT (subject, version, tenant_id) DO NOTHING"
# Found by key, each by itself, however old the statistics. What is there already is not written out for nothing.
_MISSING: Final = """
SELECT wanted.number
FROM unnest(
    CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:subjects AS text) AS text[]),
    CAST(CAST(:versions AS text) AS bigint[])
) WITH ORDINALITY AS wanted(tenant_id, subject, version, number)
LEFT JOIN LATERAL (
    SELECT true AS is_there FROM {audit} AS stored
    WHERE stored.tenant_id = wanted.tenant_id AND stored.subject = wanted.subject AND stored.version = wanted.version
    LIMIT 1
) AS stored ON true
WHERE stored.is_there IS NULL
ORDER BY wanted.number
"""
_LIST: Final = """
SELECT change.id, change.subject, change.version, change.actor_kind, change.actor_id, change.reason,
    change.changed_at, change.state AS after, (
        SELECT state FROM {audit} AS earlier
        WHERE earlier.tenant_id = change.tenant_id AND earlier.subject = change.subject
            AND earlier.version = change.version - 1
    ) AS before
FROM {audit} AS change
WHERE change.tenant_id = :tenant_id AND change.is_change
    AND (CAST(:after AS uuid) IS NULL OR change.id < CAST(:after AS uuid))
    AND (CAST(:subject AS text) IS NULL OR change.subject = CAST(:subject AS text))
    AND (CAST(:kind AS text) IS NULL OR split_part(change.subject, '/', 1) = CAST(:kind AS text))
    AND (CAST(:actor_id AS uuid) IS NULL OR change.actor_id = CAST(:actor_id AS uuid))
    AND (CAST(:since AS timestamptz) IS NULL OR change.changed_at >= CAST(:since AS timestamptz))
    AND (CAST(:until AS timestamptz) IS NULL OR change.changed_at < CAST(:until AS timestamptz))
ORDER BY change.id DESC
LIMIT :limit
"""

# Fenced, so that each subject is found by key however old the statistics.
_AUTHORS: Final = """
SELECT DISTINCT wanted.subject, change.actor_kind, change.actor_id
FROM unnest(CAST(CAST(:subjects AS text) AS text[])) AS wanted(subject)
CROSS JOIN LATERAL (
    SELECT actor_kind, actor_id FROM {audit} AS stored
    WHERE stored.tenant_id = :tenant_id AND stored.subject = wanted.subject AND stored.is_change OFFSET 0
) AS change
"""

_version: Final = attrgetter("version")

State = Mapping[str, JsonValue]
"""A published document without its tenant."""


class Unpublished(NamedTuple):
    """A version of something that is not published. `document` is JSON with its `tenant_id` and `version`."""

    tenant_id: UUID
    subject: str
    version: int
    document: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """One version of a subject. `before` is None for a new one, and where the version before was not recorded."""

    id: UUID
    subject: str
    version: int
    actor: Actor
    reason: str | None
    changed_at: datetime
    before: State | None
    after: State


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes are wanted: of a subject, of a kind of subject (the first part of its name), by a person, from a
    moment on, before a moment. None narrows nothing down.
    """

    subject: str | None = None
    kind: str | None = None
    actor_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


class Trail:
    """The trail of a service. What is on it stays as it is: the service may not change or delete it."""

    def __init__(self, table: Table) -> None:
        record = _RECORD.format(audit=table.fullname)
        self._record = text(record)
        self._begin = text(record + _UNLESS_THERE)
        self._missing = text(_MISSING.format(audit=table.fullname))
        self._list = text(_LIST.format(audit=table.fullname))
        self._authors = text(_AUTHORS.format(audit=table.fullname))

    async def record(self, tx: Transaction, events: Sequence[Event | Unpublished], documents: Sequence[bytes]) -> None:
        """Each event's version, by the transaction's actor and for its reason. The events have a whole `version`.

        `documents` are the events as JSON.
        """
        if events:
            await tx.execute(self._record, _entries(tx, events, documents, tx.actor, tx.reason, is_change=True))

    async def begin(self, tx: Transaction, events: Sequence[Event | Unpublished]) -> None:
        """What things are that are about to change, for those of which that is not on the trail."""
        if not events:
            return
        wanted = {
            "tenant_ids": array_text([event.tenant_id for event in events]),
            "subjects": array_text([event.subject for event in events]),
            "versions": array_text([_version(event) for event in events]),
        }
        missing = [events[row["number"] - 1] for row in await tx.rows(self._missing, wanted)]
        if missing:
            documents = [
                event.document if isinstance(event, Unpublished) else event.model_dump_json().encode()
                for event in missing
            ]
            await tx.execute(self._begin, _entries(tx, missing, documents, UNKNOWN, None, is_change=False))

    async def authors(
        self, tx: Transaction, tenant_id: UUID, subjects: Sequence[str]
    ) -> Mapping[str, Collection[Actor]]:
        """Everybody who made a version of each of these since there is a trail."""
        found: dict[str, set[Actor]] = {subject: set() for subject in subjects}
        rows = await tx.rows(self._authors, {"tenant_id": tenant_id, "subjects": array_text(subjects)}) if found else ()
        for row in rows:
            found[row["subject"]].add(Actor(ActorKind(row["actor_kind"]), row["actor_id"]))
        return found

    async def list_changes(
        self, tx: Transaction, tenant_id: UUID, wanted: ChangeFilter, *, after: UUID | None, limit: int
    ) -> list[Change]:
        """The newest first; `after` is the id of the change above."""
        rows = await tx.rows(
            self._list,
            {
                "tenant_id": tenant_id,
                "subject": wanted.subject,
                "kind": wanted.kind,
                "actor_id": wanted.actor_id,
                "since": wanted.since,
                "until": wanted.until,
                "after": after,
                "limit": limit,
            },
        )
        return [
            Change(
                row["id"],
                row["subject"],
                row["version"],
                Actor(ActorKind(row["actor_kind"]), row["actor_id"]),
                row["reason"],
                row["changed_at"],
                row["before"],
                row["after"],
            )
            for row in rows
        ]


def _entries(
    tx: Transaction,
    events: Sequence[Event | Unpublished],
    documents: Sequence[bytes],
    actor: Actor,
    reason: str | None,
    *,
    is_change: bool,
) -> dict[str, object]:
    return {
        "ids": array_text([tx.new_id() for _ in events]),
        "subjects": array_text([event.subject for event in events]),
        "states": (b"[" + b",".join(documents) + b"]").decode(),
        "is_change": is_change,
        "actor_kind": actor.kind.value,
        "actor_id": actor.person_id,
        "reason": reason,
        "now": tx.now,
    }
