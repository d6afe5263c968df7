"""A source's records compared with what is stored, so that only what is missing is stored."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from services.tracking.intake.inbox.fetched import FetchedReply, fetched_body, statements_of_records
from services.tracking.intake.sources.adapter import Adapter, Fetch, Statement
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import RecordChange, SourceMapping, Untranslatable
from services.tracking.intake.sources.source_api import Gone, RawRecord
from services.tracking.intake.sync.domain import Finding, Found
from shared.contracts.activities import Activity
from shared.contracts.base import CORRECTED_FUTURE
from shared.contracts.deals import Deal
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import activity_id, deal_id
from shared.telemetry.logs import get_logger

DELIVERY_RECORDS_MAX: Final = 100
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = get_logger(__name__)

# What a change of counts. Sources state it in their webhooks and in their answers alike.
_COMPARED: Final = (
    "amount",
    "currency",
    "owner_external_id",
    "stage",
    "pipeline",
    "closed_at",
    "closed_on",
    "expected_close_on",
    "expected_close_at",
    "merged_into",
)
_COMPARED_LISTS: Final = ("splits", "products", "payments", "invoices")
_COMPARED_OF_ACTIVITIES: Final = (
    "type",
    "status",
    "owner_external_id",
    "occurred_at",
    "duration_seconds",
    "outcome",
    "deal_external_id",
)
_GONE: Final = (DealKind.DELETED, DealKind.MERGED)


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record, and what it states by itself; None where it cannot be translated."""

    reply: FetchedReply
    statements: Sequence[Statement] | None

    @property
    def digest(self) -> str:
        """That of the record."""
        return digest_of(self.reply.record)


def digest_of(record: RawRecord) -> str:
    """The same for the same record as it is."""
    return sha256(fetched_body([FetchedReply(record)], (), fetched_at=_NO_TIME)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ReadGone:
    """That a record is gone, and what that states."""

    gone: Gone
    statements: Sequence[Statement]


@dataclass(frozen=True, slots=True)
class Portion:
    """What goes into one delivery."""

    records: Sequence[FetchedReply] = ()
    gone: Sequence[Gone] = ()


def read_records(
    adapter: Adapter, mapping: SourceMapping, records: Iterable[FetchedReply], *, fetched_at: datetime
) -> list[ReadRecord]:
    """What each record states by itself."""
    read = []
    for reply in records:
        try:
            body = fetched_body([reply], (), fetched_at=fetched_at)
            statements = statements_of_records(adapter, body, mapping, as_they_stand=True)
        except Untranslatable:
            read.append(ReadRecord(reply, None))
        except Exception as error:
            _log.error("adapter_failed", source=adapter.source.value, exc_info=error)
            read.append(ReadRecord(reply, None))
        else:
            read.append(ReadRecord(reply, statements))
    return read


def read_gone(
    adapter: Adapter, mapping: SourceMapping, gone: Iterable[Gone], *, fetched_at: datetime
) -> list[ReadGone]:
    """What it states that these are gone; nothing where that cannot be translated."""
    read = []
    for each in gone:
        try:
            statements = statements_of_records(adapter, fetched_body((), [each], fetched_at=fetched_at), mapping)
        except Exception as error:
            _log.error("adapter_failed", source=adapter.source.value, exc_info=error)
            statements = []
        read.append(ReadGone(each, statements))
    return read


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """What is stored of what records are about: the newest versions, by their ids."""

    deals: Mapping[UUID, Deal]
    activities: Mapping[UUID, Activity]


def deals_named(connection_id: UUID, read: Iterable[ReadRecord | ReadGone]) -> set[UUID]:
    """The deals that must be known to judge these."""
    return {
        deal_id(connection_id, statement.external_id)
        for each in read
        for statement in each.statements or ()
        if isinstance(statement, CanonicalDeal | RecordChange)
    }


def activities_named(connection_id: UUID, read: Iterable[ReadRecord | ReadGone]) -> set[UUID]:
    """The activities that must be known to judge these."""
    return {
        activity_id(connection_id, statement.external_id)
        for each in read
        for statement in each.statements or ()
        if isinstance(statement, CanonicalActivity)
    }


def finding_of(
    statements: Sequence[Statement] | None, stored: StoredRecords, connection_id: UUID, *, is_merged: bool = False
) -> Finding:
    """What a record turns out to be, by what is stored of what it is about.

    `is_merged`: what is stored was put together from changes, so it may lack one although it is as new as the record.
    A deletion of what is not stored counts: a delivery that is not translated yet may bring it.
    """
    if statements is None:
        return Finding.UNREADABLE
    findings = {_finding(each, stored, connection_id, is_merged) for each in statements}
    return next((finding for finding in _WEIGHT if finding in findings), Finding.KNOWN)


class Judge:
    """Judges the records of a page, and what is gone; knows which deletions the pages before it had."""

    def __init__(
        self,
        stored: StoredRecords,
        connection_id: UUID,
        *,
        is_merged: bool,
        unreadable: Collection[str],
        deleted: Collection[str],
    ) -> None:
        """`unreadable`: digests of records that are in quarantine. `deleted`: ids of what was found deleted before."""
        self.deleted = set(deleted)
        self._stored = stored
        self._connection_id = connection_id
        self._is_merged = is_merged
        self._unreadable = unreadable

    def finding(self, each: ReadRecord | ReadGone) -> Finding:
        """What it turns out to be. Some sources state a deletion as a change of the record too: it counts once."""
        is_merged = self._is_merged and isinstance(each, ReadRecord)
        finding = finding_of(each.statements, self._stored, self._connection_id, is_merged=is_merged)
        if isinstance(each, ReadRecord) and finding is Finding.UNREADABLE and each.digest in self._unreadable:
            return Finding.KNOWN
        if finding is Finding.DELETED:
            deletions = _deletions(self._connection_id, each.statements or ())
            if deletions <= self.deleted:
                return Finding.KNOWN
            self.deleted |= deletions
        return finding


def found(findings: Sequence[Finding]) -> Found:
    """How many were what."""
    return Found(
        seen=len(findings),
        new=findings.count(Finding.NEW),
        changed=findings.count(Finding.CHANGED),
        deleted=findings.count(Finding.DELETED),
        unreadable=findings.count(Finding.UNREADABLE),
    )


def portions(read: Sequence[ReadRecord], gone: Sequence[Gone]) -> Iterator[Portion]:
    """These as deliveries of some records each.

    What cannot be translated goes alone, as a delivery is put in quarantine as a whole.
    """
    readable = [each.reply for each in read if each.statements is not None]
    parts: list[FetchedReply | Gone] = [*readable, *gone]
    for start in range(0, len(parts), DELIVERY_RECORDS_MAX):
        part = parts[start : start + DELIVERY_RECORDS_MAX]
        yield Portion(
            [each for each in part if isinstance(each, FetchedReply)], [each for each in part if isinstance(each, Gone)]
        )
    for each in read:
        if each.statements is None:
            yield Portion([each.reply])


_WEIGHT: Final = (Finding.NEW, Finding.CHANGED, Finding.DELETED, Finding.UNCOMPARED)


def _deletions(connection_id: UUID, statements: Sequence[Statement]) -> set[str]:
    deletions = set()
    for each in statements:
        match each:
            case CanonicalDeal(kind=DealKind.DELETED | DealKind.MERGED) | RecordChange(is_deleted=True):
                deletions.add(str(deal_id(connection_id, each.external_id)))
            case CanonicalActivity(is_deleted=True):
                deletions.add(str(activity_id(connection_id, each.external_id)))
    return deletions


def _finding(statement: Statement, stored: StoredRecords, connection_id: UUID, is_merged: bool) -> Finding:
    match statement:
        case CanonicalDeal():
            return _finding_of_deal(
                statement, stored.deals.get(deal_id(connection_id, statement.external_id)), is_merged
            )
        case CanonicalActivity():
            return _finding_of_activity(
                statement, stored.activities.get(activity_id(connection_id, statement.external_id))
            )
        case RecordChange():
            deal = stored.deals.get(deal_id(connection_id, statement.external_id))
            if statement.is_deleted:
                if deal is None:
                    return Finding.UNCOMPARED
                is_newer = deal.kind not in _GONE and statement.at >= deal.modified_at
                return Finding.DELETED if is_newer else Finding.KNOWN
            if deal is None:
                return Finding.NEW
            return Finding.CHANGED if statement.at > deal.modified_at else Finding.KNOWN
        case Fetch():
            return Finding.UNCOMPARED
        case _:
            return Finding.KNOWN


def _finding_of_deal(statement: CanonicalDeal, stored: Deal | None, is_merged: bool) -> Finding:
    if statement.kind in _GONE:
        if stored is None:
            return Finding.UNCOMPARED
        if stored.kind in _GONE or statement.modified_at < stored.modified_at:
            return Finding.KNOWN
        return Finding.DELETED
    if stored is None:
        return Finding.NEW
    stated = _stated_at(stored)
    if statement.modified_at != stated and not is_merged:
        return Finding.CHANGED if statement.modified_at > stated else Finding.KNOWN
    return Finding.CHANGED if _differs(statement, stored) else Finding.KNOWN


def _stated_at(stored: Deal | Activity) -> datetime:
    """When what is stored was modified by its source, also where that is ahead of the receipt it is dated by."""
    stated = (each.stated for each in stored.corrections if each.reason == CORRECTED_FUTURE)
    return next((datetime.fromisoformat(each) for each in stated), stored.modified_at)


def _finding_of_activity(statement: CanonicalActivity, stored: Activity | None) -> Finding:
    if statement.is_deleted:
        if stored is None:
            return Finding.UNCOMPARED
        is_newer = not stored.is_deleted and statement.modified_at >= stored.modified_at
        return Finding.DELETED if is_newer else Finding.KNOWN
    if stored is None:
        return Finding.NEW
    stated = _stated_at(stored)
    if statement.modified_at != stated:
        return Finding.CHANGED if statement.modified_at > stated else Finding.KNOWN
    differs = stored.is_deleted or any(
        getattr(statement, name) != getattr(stored, name) for name in _COMPARED_OF_ACTIVITIES
    )
    return Finding.CHANGED if differs else Finding.KNOWN


def _differs(statement: CanonicalDeal, stored: Deal) -> bool:
    if stored.kind in _GONE or stored.status != (statement.status or DealStatus.OPEN):
        return True
    if any(getattr(statement, name) != getattr(stored, name) for name in _COMPARED):
        return True
    # Sources need not list them in the same order twice.
    return any(
        sorted(part.model_dump_json() for part in getattr(statement, name))
        != sorted(part.model_dump_json() for part in getattr(stored, name))
        for name in _COMPARED_LISTS
    )
