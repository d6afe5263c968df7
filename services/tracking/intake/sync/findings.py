"""What a source's records are worth: compared with what is held, so that only what is missing is stored."""

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

# What a change of counts. Sources say it in their webhooks and in their answers alike.
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
_COMPARED_LISTS: Final = ("splits", "products", "payments")
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
    """A record, and what it says by itself; None where it cannot be translated."""

    asked: FetchedReply
    said: Sequence[Statement] | None

    @property
    def digest(self) -> str:
        """That of the record."""
        return digest_of(self.asked.record)


def digest_of(record: RawRecord) -> str:
    """The same for the same record as it is."""
    return sha256(fetched_body([FetchedReply(record)], (), fetched_at=_NO_TIME)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ReadGone:
    """That a record is gone, and what that says."""

    gone: Gone
    said: Sequence[Statement]


@dataclass(frozen=True, slots=True)
class Portion:
    """What goes into one delivery."""

    records: Sequence[FetchedReply] = ()
    gone: Sequence[Gone] = ()


def read_records(
    adapter: Adapter, mapping: SourceMapping, records: Iterable[FetchedReply], *, fetched_at: datetime
) -> list[ReadRecord]:
    """What each record says by itself."""
    read = []
    for asked in records:
        try:
            body = fetched_body([asked], (), fetched_at=fetched_at)
            said = statements_of_records(adapter, body, mapping, as_they_stand=True)
        except Untranslatable:
            read.append(ReadRecord(asked, None))
        except Exception as error:
            _log.error("adapter_failed", source=adapter.source.value, exc_info=error)
            read.append(ReadRecord(asked, None))
        else:
            read.append(ReadRecord(asked, said))
    return read


def read_gone(
    adapter: Adapter, mapping: SourceMapping, gone: Iterable[Gone], *, fetched_at: datetime
) -> list[ReadGone]:
    """What it says that these are gone; nothing where that cannot be told."""
    read = []
    for each in gone:
        try:
            said = statements_of_records(adapter, fetched_body((), [each], fetched_at=fetched_at), mapping)
        except Exception as error:
            _log.error("adapter_failed", source=adapter.source.value, exc_info=error)
            said = []
        read.append(ReadGone(each, said))
    return read


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of what records are about: the newest versions, by their ids."""

    deals: Mapping[UUID, Deal]
    activities: Mapping[UUID, Activity]


def deals_named(connection_id: UUID, read: Iterable[ReadRecord | ReadGone]) -> set[UUID]:
    """The deals that must be known to judge these."""
    return {
        deal_id(connection_id, said.external_id)
        for each in read
        for said in each.said or ()
        if isinstance(said, CanonicalDeal | RecordChange)
    }


def activities_named(connection_id: UUID, read: Iterable[ReadRecord | ReadGone]) -> set[UUID]:
    """The activities that must be known to judge these."""
    return {
        activity_id(connection_id, said.external_id)
        for each in read
        for said in each.said or ()
        if isinstance(said, CanonicalActivity)
    }


def finding_of(
    said: Sequence[Statement] | None, held: Held, connection_id: UUID, *, is_merged: bool = False
) -> Finding:
    """What a record turns out to be, by what is held of what it is about.

    `is_merged`: what is held was put together from changes, so it may lack one although it is as new as the record.
    A deletion of what is not held is told: a delivery that nobody has translated yet may bring it.
    """
    if said is None:
        return Finding.UNREADABLE
    findings = {_finding(each, held, connection_id, is_merged) for each in said}
    return next((finding for finding in _WEIGHT if finding in findings), Finding.HELD)


class Judge:
    """Judges the records of a page, and what is gone; knows what the pages before it told."""

    def __init__(
        self, held: Held, connection_id: UUID, *, is_merged: bool, unreadable: Collection[str], told: Collection[str]
    ) -> None:
        """`unreadable`: digests of records that are in quarantine. `told`: ids of what was found deleted before."""
        self.told = set(told)
        self._held = held
        self._connection_id = connection_id
        self._is_merged = is_merged
        self._unreadable = unreadable

    def finding(self, each: ReadRecord | ReadGone) -> Finding:
        """What it turns out to be. Some sources tell of a deletion as a change of the record too: it counts once."""
        is_merged = self._is_merged and isinstance(each, ReadRecord)
        finding = finding_of(each.said, self._held, self._connection_id, is_merged=is_merged)
        if isinstance(each, ReadRecord) and finding is Finding.UNREADABLE and each.digest in self._unreadable:
            return Finding.HELD
        if finding is Finding.DELETED:
            deletions = _deletions(self._connection_id, each.said or ())
            if deletions <= self.told:
                return Finding.HELD
            self.told |= deletions
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
    readable = [each.asked for each in read if each.said is not None]
    parts: list[FetchedReply | Gone] = [*readable, *gone]
    for start in range(0, len(parts), DELIVERY_RECORDS_MAX):
        part = parts[start : start + DELIVERY_RECORDS_MAX]
        yield Portion(
            [each for each in part if isinstance(each, FetchedReply)], [each for each in part if isinstance(each, Gone)]
        )
    for each in read:
        if each.said is None:
            yield Portion([each.asked])


_WEIGHT: Final = (Finding.NEW, Finding.CHANGED, Finding.DELETED, Finding.TOLD)


def _deletions(connection_id: UUID, said: Sequence[Statement]) -> set[str]:
    deletions = set()
    for each in said:
        match each:
            case CanonicalDeal(kind=DealKind.DELETED | DealKind.MERGED) | RecordChange(is_deleted=True):
                deletions.add(str(deal_id(connection_id, each.external_id)))
            case CanonicalActivity(is_deleted=True):
                deletions.add(str(activity_id(connection_id, each.external_id)))
    return deletions


def _finding(said: Statement, held: Held, connection_id: UUID, is_merged: bool) -> Finding:
    match said:
        case CanonicalDeal():
            return _finding_of_deal(said, held.deals.get(deal_id(connection_id, said.external_id)), is_merged)
        case CanonicalActivity():
            return _finding_of_activity(said, held.activities.get(activity_id(connection_id, said.external_id)))
        case RecordChange():
            deal = held.deals.get(deal_id(connection_id, said.external_id))
            if said.is_deleted:
                if deal is None:
                    return Finding.TOLD
                is_news = deal.kind not in _GONE and said.at >= deal.modified_at
                return Finding.DELETED if is_news else Finding.HELD
            if deal is None:
                return Finding.NEW
            return Finding.CHANGED if said.at > deal.modified_at else Finding.HELD
        case Fetch():
            return Finding.TOLD
        case _:
            return Finding.HELD


def _finding_of_deal(said: CanonicalDeal, held: Deal | None, is_merged: bool) -> Finding:
    if said.kind in _GONE:
        if held is None:
            return Finding.TOLD
        if held.kind in _GONE or said.modified_at < held.modified_at:
            return Finding.HELD
        return Finding.DELETED
    if held is None:
        return Finding.NEW
    stated = _stated_at(held)
    if said.modified_at != stated and not is_merged:
        return Finding.CHANGED if said.modified_at > stated else Finding.HELD
    return Finding.CHANGED if _differs(said, held) else Finding.HELD


def _stated_at(held: Deal | Activity) -> datetime:
    """When the source says that what is held was modified, also where that is ahead of the receipt it is dated by."""
    stated = (each.stated for each in held.corrections if each.reason == CORRECTED_FUTURE)
    return next((datetime.fromisoformat(each) for each in stated), held.modified_at)


def _finding_of_activity(said: CanonicalActivity, held: Activity | None) -> Finding:
    if said.is_deleted:
        if held is None:
            return Finding.TOLD
        is_news = not held.is_deleted and said.modified_at >= held.modified_at
        return Finding.DELETED if is_news else Finding.HELD
    if held is None:
        return Finding.NEW
    stated = _stated_at(held)
    if said.modified_at != stated:
        return Finding.CHANGED if said.modified_at > stated else Finding.HELD
    differs = held.is_deleted or any(getattr(said, name) != getattr(held, name) for name in _COMPARED_OF_ACTIVITIES)
    return Finding.CHANGED if differs else Finding.HELD


def _differs(said: CanonicalDeal, held: Deal) -> bool:
    if held.kind in _GONE or held.status != (said.status or DealStatus.OPEN):
        return True
    if any(getattr(said, name) != getattr(held, name) for name in _COMPARED):
        return True
    # Sources need not list them in the same order twice.
    return any(
        sorted(part.model_dump_json() for part in getattr(said, name))
        != sorted(part.model_dump_json() for part in getattr(held, name))
        for name in _COMPARED_LISTS
    )
