"""What a source's API gave, as the body of a delivery: so that what was fetched is stored, translated and explained
like what was sent."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pydantic import BaseModel, ValidationError

from services.tracking.intake.sources.adapter import Adapter, Statement, read_document, statements_of_each
from services.tracking.intake.sources.canonical import CanonicalDeal
from services.tracking.intake.sources.domain import QuarantineReason, RecordChange, SourceMapping, Untranslatable
from services.tracking.intake.sources.source_api import FetchedRecord, Gone, GoneRecord, RawRecord
from shared.contracts.base import Instant


class FetchedReply(NamedTuple):
    """A record to store, dated no earlier than its floor."""

    record: RawRecord
    floor: datetime | None = None


class _Record(BaseModel):
    object_name: str
    external_id: str
    floor: Instant | None = None
    record: dict[str, object]


class _Gone(BaseModel):
    object_name: str
    external_id: str
    at: Instant


class _Document(BaseModel):
    fetched_at: Instant
    records: tuple[_Record, ...] = ()
    gone: tuple[_Gone, ...] = ()


_UTF8: Final = "utf-8"
_SETTLED_AFTER: Final = timedelta(seconds=2)
FETCHED_SEQUENCE: Final = 1 << 62
"""Of a record that was fetched when the moment it was changed was over. Sources order changes by lower numbers."""


def fetched_body(records: Sequence[FetchedReply], gone: Sequence[Gone], *, fetched_at: datetime) -> bytes:
    """The body to store for what the source gave at a moment. What it does not date is gone since then."""
    return json.dumps(
        {
            "fetched_at": fetched_at.isoformat(),
            "records": [
                {
                    "object_name": reply.record.object_name,
                    "external_id": reply.record.external_id,
                    "floor": None if reply.floor is None else reply.floor.isoformat(),
                    "record": reply.record.raw,
                }
                for reply in records
            ],
            "gone": [
                {
                    "object_name": each.object_name,
                    "external_id": each.external_id,
                    "at": (each.at or fetched_at).isoformat(),
                }
                for each in gone
            ],
        },
        ensure_ascii=False,
        default=str,
    ).encode(_UTF8)


def statements_of_records(
    adapter: Adapter, body: bytes, mapping: SourceMapping, *, as_they_stand: bool = False
) -> list[Statement]:
    """What a body of `fetched_body` states; `as_they_stand`: without regard to what they are to be merged into.

    Raises Untranslatable.
    """
    try:
        document = _Document.model_validate(read_document(body))
    except ValidationError as error:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, "", "is not what the source's API gives") from error

    def say(part: tuple[int, _Record | _Gone]) -> Iterable[Statement]:
        index, each = part
        if isinstance(each, _Gone):
            return adapter.translate_gone(GoneRecord(each.object_name, each.external_id, each.at), mapping)
        record = FetchedRecord(each.object_name, each.record, document.fetched_at, each.floor)
        translated = adapter.translate_record(record, mapping, pointer=f"/records/{index}/record")
        is_merged = adapter.merges_records and not as_they_stand
        return _merging(each, translated, document.fetched_at) if is_merged else translated

    parts: list[tuple[int, _Record | _Gone]] = [*enumerate(document.records), *enumerate(document.gone)]
    return statements_of_each(parts, say)


def _merging(each: _Record, translated: Sequence[Statement], fetched_at: datetime) -> Iterator[Statement]:
    """The same for a source whose records are merged: a deal becomes a change of all the record's fields.

    A source may date changes by the second only. What was fetched after that second is newer than whatever was stated
    of it; what was fetched within it may be older.
    """
    for one in translated:
        if isinstance(one, CanonicalDeal):
            sequence = FETCHED_SEQUENCE if fetched_at >= one.modified_at + _SETTLED_AFTER else 0
            yield RecordChange(
                each.object_name, each.external_id, each.record, one.modified_at, sequence, is_whole=True
            )
        else:
            yield one
