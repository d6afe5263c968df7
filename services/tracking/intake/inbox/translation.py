"""What deliveries come to. Pure: the records that changes are merged into are given, and stored, by the caller."""

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.inbox.domain.records import Key, Record
from services.tracking.intake.inbox.fetched import statements_of_records
from services.tracking.intake.sources.adapter import Adapter, Fetch, PassedOver, SeenUser, Statement, unforeseen
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal, not_ahead
from services.tracking.intake.sources.domain import (
    QuarantineReason,
    RecordChange,
    Remark,
    RemarkKind,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import FetchedRecord
from shared.kernel.deals import DealKind
from shared.kernel.records import is_ahead, ordered_at

Records = MutableMapping[Key, Record]


@dataclass(slots=True)
class Translation:
    """What one delivery comes to, and why those of its records cannot be translated that cannot."""

    deals: list[CanonicalDeal] = field(default_factory=list)
    activities: list[CanonicalActivity] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    users: list[SeenUser] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    """What else it is about, each once."""
    remarks: list[Remark] = field(default_factory=list)
    problems: list[Untranslatable] = field(default_factory=list)

    def add(self, record: CanonicalDeal | CanonicalActivity, received_at: datetime) -> None:
        """Add a record, which is no newer than its delivery."""
        if is_ahead(record.modified_at, received_at):
            detail = f"{record.external_id} was modified at {record.modified_at.isoformat()}, after it was received"
            self.remarks.append(Remark(RemarkKind.FROM_THE_FUTURE, "", detail))
        if isinstance(record, CanonicalDeal):
            self.deals.append(not_ahead(record, received_at))
        else:
            self.activities.append(not_ahead(record, received_at))


def statements_in(connection: Connection, origin: Origin, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
    """What a delivery states, why it cannot be translated among it, also where no adapter foresaw that."""
    adapter = ADAPTERS[connection.source]
    try:
        if origin is Origin.WEBHOOK:
            return adapter.translate(body, mapping)
        return statements_of_records(adapter, body, mapping)
    except Untranslatable as problem:
        return (problem,)
    except Exception as error:
        return (unforeseen(error),)


def records_named(connection: Connection, statements: Sequence[Statement]) -> Iterator[Key]:
    """The records that `translated` needs for these."""
    for each in statements:
        if isinstance(each, RecordChange):
            yield _key(connection, each)


def translated(
    connection: Connection,
    statements: Sequence[Statement],
    records: Records,
    mapping: SourceMapping,
    received_at: datetime,
) -> Translation:
    """What a delivery comes to that was first received at a moment; changes are merged into `records`."""
    result = Translation()
    changed: dict[Key, None] = {}
    for each in statements:
        match each:
            case CanonicalDeal() | CanonicalActivity():
                result.add(each, received_at)
            case SeenUser():
                result.users.append(each)
            case RecordChange():
                key = _key(connection, each)
                records[key] = records[key].merged(replace(each, at=ordered_at(each.at, received_at)))
                changed[key] = None
            case Fetch():
                result.fetches.append(each)
            case PassedOver():
                if each.what not in result.passed_over:
                    result.passed_over.append(each.what)
            case Remark():
                result.remarks.append(each)
            case Untranslatable():
                result.problems.append(each)
    adapter = ADAPTERS[connection.source]
    for key in changed:
        try:
            _add_record(result, adapter, connection, key, records[key], mapping, received_at)
        except Untranslatable as problem:
            result.problems.append(problem)
        except Exception as error:
            result.problems.append(unforeseen(error))
    if connection.api is None and result.fetches:
        _leave_out_fetches(result)
    return result


def _add_record(
    result: Translation,
    adapter: Adapter,
    connection: Connection,
    key: Key,
    record: Record,
    mapping: SourceMapping,
    received_at: datetime,
) -> None:
    """Add what a record that was changed is now. Raises Untranslatable."""
    *_, object_name, external_id = key
    if record.is_deleted:
        deleted = CanonicalDeal(
            external_id=external_id,
            kind=DealKind.DELETED,
            modified_at=record.newest_at or received_at,
            sequence=record.merges,
        )
        result.add(deleted, received_at)
    elif record.is_whole:
        whole = FetchedRecord(object_name, record.values, received_at, record.newest_at, record.merges)
        for each in adapter.translate_record(whole, mapping, pointer=""):
            match each:
                case CanonicalDeal() | CanonicalActivity():
                    result.add(each, received_at)
                case SeenUser():
                    result.users.append(each)
    elif connection.api is not None:
        result.fetches.append(Fetch(object_name, external_id))
    else:
        raise Untranslatable(
            QuarantineReason.RECORD_INCOMPLETE,
            "",
            f"only some fields of {object_name} {external_id} are known; give the connection API access, or let the "
            "source send the record as a whole",
        )


def _leave_out_fetches(result: Translation) -> None:
    """Without access to the API what a delivery states itself has to do; where that is nothing, it is a problem."""
    translated_ids = {deal.external_id for deal in result.deals} | {
        activity.external_id for activity in result.activities
    }
    for fetch in result.fetches:
        if fetch.external_id not in translated_ids:
            result.problems.append(
                fetch.otherwise
                or Untranslatable(
                    QuarantineReason.API_ACCESS_MISSING,
                    "",
                    f"names {fetch.object_name} {fetch.external_id} without its fields; give the connection API access "
                    "and replay it",
                )
            )
    result.fetches = []


def _key(connection: Connection, change: RecordChange) -> Key:
    return (connection.tenant_id, connection.id, change.object_name, change.external_id)
