"""Every statement on dead letters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select, text, tuple_

from services.tracking.tell.dead_letters.tables import dead_letters
from shared.db.database import Transaction

DEAD_LETTERS_CHANNEL: Final = "tracking_dead_letters"
"""Notified whenever letters came or went."""
_KEY: Final = tuple_(
    dead_letters.c.tenant_id,
    dead_letters.c.topic,
    dead_letters.c.partition,
    dead_letters.c.record_offset,
    dead_letters.c.group,
)
_PUT: Final = text(
    """
    INSERT INTO tracking.dead_letters AS stored
        (tenant_id, topic, partition, record_offset, "group", key, reason, detail, refusals, refused_at)
    SELECT * FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
        CAST(:groups AS text[]), CAST(:keys AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]),
        CAST(:refusals AS int[]), CAST(:times AS timestamptz[])
    )
    ON CONFLICT (tenant_id, topic, partition, record_offset, "group") DO UPDATE SET
        reason = excluded.reason, detail = excluded.detail, refusals = stored.refusals + excluded.refusals,
        refused_at = excluded.refused_at
    WHERE stored.refused_at < excluded.refused_at
    """
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that a consumer group refused, and why; nothing of its value."""

    tenant_id: UUID
    topic: str
    partition: int
    record_offset: int
    group: str
    key: str
    reason: str
    detail: str
    refusals: int
    refused_at: datetime

    @property
    def place(self) -> tuple[UUID, str, int, int, str]:
        """Which it is."""
        return (self.tenant_id, self.topic, self.partition, self.record_offset, self.group)


async def put(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Store these, each with the reason of its last refusal. Repeating it changes nothing."""
    newest: dict[tuple[UUID, str, int, int, str], DeadLetter] = {}
    for letter in letters:
        known = newest.get(letter.place)
        if known is None or known.refused_at < letter.refused_at:
            newest[letter.place] = letter
    ordered = [newest[place] for place in sorted(newest)]
    await tx.execute(
        _PUT,
        {
            "tenant_ids": [each.tenant_id for each in ordered],
            "topics": [each.topic for each in ordered],
            "partitions": [each.partition for each in ordered],
            "offsets": [each.record_offset for each in ordered],
            "groups": [each.group for each in ordered],
            "keys": [each.key for each in ordered],
            "reasons": [each.reason for each in ordered],
            "details": [each.detail for each in ordered],
            "refusals": [each.refusals for each in ordered],
            "times": [each.refused_at for each in ordered],
        },
    )
    await tx.notify(DEAD_LETTERS_CHANNEL)


async def after(
    tx: Transaction, topic: str | None, place: tuple[UUID, str, int, int, str] | None, *, limit: int
) -> list[DeadLetter]:
    """The next letters of the tenants in scope, of one topic or of all, in the order of their places."""
    statement = select(dead_letters)
    if topic is not None:
        statement = statement.where(dead_letters.c.topic == topic)
    if place is not None:
        statement = statement.where(place < _KEY)
    return [DeadLetter(**row) for row in await tx.rows(statement.order_by(*_KEY.clauses).limit(limit))]


async def counts(tx: Transaction) -> Mapping[tuple[UUID, str], int]:
    """How many wait of each tenant in scope, by topic."""
    rows = await tx.rows(
        select(dead_letters.c.tenant_id, dead_letters.c.topic, func.count().label("letters")).group_by(
            dead_letters.c.tenant_id, dead_letters.c.topic
        )
    )
    return {(row["tenant_id"], row["topic"]): row["letters"] for row in rows}


async def drop(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Delete these, but for those that were refused again since they were read."""
    for letter in letters:
        await tx.execute(
            delete(dead_letters).where(_KEY.in_([letter.place]), dead_letters.c.refused_at == letter.refused_at)
        )
    await tx.notify(DEAD_LETTERS_CHANNEL)
