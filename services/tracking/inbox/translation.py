"""What deliveries come to. Pure: the records that changes are merged into are given, and stored, by the caller."""

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.tracking.crm.adapter import Adapter, Fetch, RecordChange, Said, SeenUser
from services.tracking.crm.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.crm.domain import Connection, QuarantineReason, SourceMapping, Untranslatable
from services.tracking.crm.source_api import FetchedRecord
from services.tracking.crm.sources import ADAPTERS
from services.tracking.inbox.asked import said_by_records
from services.tracking.inbox.domain import Origin
from services.tracking.inbox.records import Key, Record
from shared.kernel.deals import DealKind
from shared.telemetry.logs import get_logger

_log = get_logger(__name__)

Records = MutableMapping[Key, Record]


@dataclass(slots=True)
class Translation:
    """What one delivery comes to."""

    deals: list[CanonicalDeal] = field(default_factory=list)
    activities: list[CanonicalActivity] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    users: list[SeenUser] = field(default_factory=list)


def said(connection: Connection, origin: Origin, body: bytes, mapping: SourceMapping) -> Sequence[Said]:
    """What a delivery says. Raises Untranslatable, also for what no adapter foresaw."""
    adapter = ADAPTERS[connection.source]
    try:
        if origin is Origin.WEBHOOK:
            return adapter.translate(body, mapping)
        return said_by_records(adapter, body, mapping)
    except Untranslatable:
        raise
    except Exception as error:
        raise _unforeseen(connection, error) from error


def records_named(connection: Connection, statements: Sequence[Said]) -> Iterator[Key]:
    """The records that `translated` needs for these."""
    for each in statements:
        if isinstance(each, RecordChange):
            yield _key(connection, each)


def translated(
    connection: Connection, statements: Sequence[Said], records: Records, mapping: SourceMapping, received_at: datetime
) -> Translation:
    """What a delivery comes to; changes are merged into `records`, also when it raises Untranslatable."""
    result = Translation()
    changed: dict[Key, None] = {}
    for each in statements:
        match each:
            case CanonicalDeal():
                result.deals.append(each)
            case CanonicalActivity():
                result.activities.append(each)
            case SeenUser():
                result.users.append(each)
            case RecordChange():
                key = _key(connection, each)
                records[key] = records[key].merged(each)
                changed[key] = None
            case Fetch():
                result.fetches.append(each)
    adapter = ADAPTERS[connection.source]
    for key in changed:
        _add_record(result, adapter, connection, key, records[key], mapping, received_at)
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
    """Add what a record that was changed says now."""
    *_, object_name, external_id = key
    if record.is_deleted:
        result.deals.append(
            CanonicalDeal(
                external_id=external_id,
                kind=DealKind.DELETED,
                modified_at=record.newest_at or received_at,
                sequence=record.merges,
            )
        )
    elif record.is_whole:
        whole = FetchedRecord(object_name, record.values, received_at, record.newest_at, record.merges)
        try:
            statements = adapter.translate_record(whole, mapping, pointer="")
        except Untranslatable:
            raise
        except Exception as error:
            raise _unforeseen(connection, error) from error
        for each in statements:
            match each:
                case CanonicalDeal():
                    result.deals.append(each)
                case CanonicalActivity():
                    result.activities.append(each)
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
    """Without access to the API what a delivery tells itself has to do. Raises Untranslatable where that is nothing."""
    told = {deal.external_id for deal in result.deals} | {activity.external_id for activity in result.activities}
    for fetch in result.fetches:
        if fetch.external_id not in told:
            if fetch.otherwise is not None:
                raise fetch.otherwise
            raise Untranslatable(
                QuarantineReason.API_ACCESS_MISSING,
                "",
                f"names {fetch.object_name} {fetch.external_id} without its fields; give the connection API access and "
                "replay it",
            )
    result.fetches = []


def _key(connection: Connection, change: RecordChange) -> Key:
    return (connection.tenant_id, connection.id, change.object_name, change.external_id)


def _unforeseen(connection: Connection, error: Exception) -> Untranslatable:
    _log.error("adapter_failed", source=connection.source.value, exc_info=error)
    return Untranslatable(QuarantineReason.ADAPTER_FAILED, "", type(error).__name__)
