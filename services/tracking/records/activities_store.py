"""Every statement on activities and their versions."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple, cast
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from services.tracking.records.domain.activities import ActivityFilter
from services.tracking.records.snapshot_sql import SnapshotSql
from shared.contracts.activities import Activity
from shared.contracts.base import Correction
from shared.db.database import Transaction
from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType, ActivityVersion
from shared.kernel.errors import Conflict
from shared.kernel.org import CrmUser

_Text = str | None
_Columns = tuple[
    UUID, UUID, datetime, int, UUID, UUID, datetime, str, str, bool, str, str,
    _Text, _Text, datetime | None, Decimal | None, _Text, _Text, _Text, _Text, _Text,
]  # fmt: skip

_CUSTOM: Final = TypeAdapter(dict[str, str])
_CORRECTIONS: Final = TypeAdapter(tuple[Correction, ...])
_ACTIVITY_TYPES: Final = {each.value: each for each in ActivityType}
_STATUSES: Final = {status.value: status for status in ActivityStatus}
_TYPES: Final = {
    "tenant_id": "uuid",
    "activity_id": "uuid",
    "modified_at": "timestamptz",
    "sequence": "bigint",
    "delivery_id": "uuid",
    "connection_id": "uuid",
    "received_at": "timestamptz",
    "source": "text",
    "external_id": "text",
    "is_deleted": "boolean",
    "type": "text",
    "status": "text",
    "owner_external_id": "text",
    "subject": "text",
    "occurred_at": "timestamptz",
    "duration_seconds": "numeric",
    "outcome": "text",
    "deal_external_id": "text",
    "account_id": "text",
    "custom": "jsonb",
    "corrections": "jsonb",
}
_SQL: Final = SnapshotSql("activities", "activity_versions", _TYPES)
_RECORD: Final = _SQL.record()
_FIND: Final = _SQL.find()
_BROUGHT: Final = _SQL.brought()
_FIND_ALL: Final = _SQL.find_all()
_AFTER: Final = _SQL.after()


def columns_of(alias: str) -> str:
    """The select list of an activity or a version, as `facts_of` reads it."""
    return _SQL.columns_of(alias)


class ActivitiesRecordedTogether(Conflict):
    """Two transactions recorded versions of one activity at the same time; this one must be done again."""

    code = "activities_recorded_together"
    title = "Activities recorded together"


class RecordedVersion(NamedTuple):
    """A version of an activity and when it was recorded."""

    activity: Activity
    recorded_at: datetime


async def record(
    tx: Transaction, versions: Sequence[Activity], newest: Sequence[bool]
) -> list[tuple[Activity, ActivityFacts | None]]:
    """Append versions, and keep those marked `newest` where they are newer than what is held.

    Those marked `newest`, in the order given, each with what was held of its activity before. `versions` are distinct
    and sorted by tenant, activity and version; `newest` marks at most one of each. Raises ActivitiesRecordedTogether
    when what was held changed while the statement ran.
    """
    parameters = dict(zip(_TYPES, zip(*map(_values, versions), strict=True), strict=True))
    result = await tx.execute(_RECORD, {**parameters, "newest": newest, "recorded_at": tx.now})
    rows = result.all()
    held = {(columns[0], columns[1]): facts_of(columns) for _, *columns in rows if columns[0] is not None}
    marked = [
        (activity, held.get((activity.tenant_id, activity.id)))
        for activity, is_newest in zip(versions, newest, strict=True)
        if is_newest
    ]
    if sum(before is None or before.version < activity.version for activity, before in marked) != rows[0][0]:
        raise ActivitiesRecordedTogether("Activities were changed by another transaction at the same time.")
    return marked


def _values(activity: Activity) -> tuple[object, ...]:
    """The event in the order of the columns."""
    return (
        activity.tenant_id,
        activity.id,
        activity.modified_at,
        activity.sequence,
        activity.delivery_id,
        activity.connection_id,
        activity.received_at,
        activity.source,
        activity.external_id,
        activity.is_deleted,
        activity.type,
        activity.status,
        activity.owner_external_id,
        activity.subject_line,
        activity.occurred_at,
        activity.duration_seconds,
        activity.outcome,
        activity.deal_external_id,
        activity.account_id,
        _CUSTOM.dump_json(activity.custom).decode() if activity.custom else None,
        _CORRECTIONS.dump_json(activity.corrections).decode() if activity.corrections else None,
    )


def facts_of(columns: Sequence[object]) -> ActivityFacts:
    """The facts in the columns that `columns_of` selects, in their order."""
    (
        _,
        activity_id,
        modified_at,
        sequence,
        delivery_id,
        _,
        _,
        source,
        external_id,
        is_deleted,
        activity_type,
        status,
        owner_external_id,
        subject,
        occurred_at,
        duration_seconds,
        outcome,
        deal_external_id,
        account_id,
        custom,
        _,
    ) = cast(_Columns, columns)
    return ActivityFacts(
        activity_id,
        source,
        external_id,
        ActivityVersion(modified_at, sequence, delivery_id),
        is_deleted,
        _ACTIVITY_TYPES[activity_type],
        _STATUSES[status],
        owner_external_id,
        subject,
        occurred_at,
        duration_seconds,
        outcome,
        deal_external_id,
        account_id,
        {} if custom is None else _CUSTOM.validate_json(custom),
    )


async def page(
    tx: Transaction,
    tenant_id: UUID,
    users: Collection[CrmUser] | None,
    wanted: ActivityFilter,
    *,
    after: UUID | None,
    limit: int,
) -> list[Activity]:
    """Activities of some users (None: all activities), by id."""
    parameters: dict[str, object] = {"tenant_id": tenant_id, "after": after or UUID(int=0), "limit": limit}
    conditions = []
    if users is not None:
        conditions.append(
            "AND (r.source, r.owner_external_id) IN"
            " (SELECT * FROM unnest(CAST(:seen_sources AS text[]), CAST(:seen_ids AS text[])))"
        )
        seen = sorted(users)
        parameters |= {
            "seen_sources": [user.source for user in seen],
            "seen_ids": [user.external_id for user in seen],
        }
    for condition, value in (
        ("r.type = :type", wanted.type),
        ("r.status = :status", wanted.status),
        ("r.source = :source", wanted.source),
        ("r.owner_external_id = :owner", wanted.owner_external_id),
        ("r.deal_external_id = :deal", wanted.deal_external_id),
        ("r.occurred_at >= :occurred_from", wanted.occurred_from),
        ("r.occurred_at < :occurred_before", wanted.occurred_before),
    ):
        if value is not None:
            conditions.append(f"AND {condition}")
            parameters[condition.rpartition(":")[2]] = value
    return [_event(row) for row in await tx.rows(_SQL.page(" ".join(conditions)), parameters)]


async def find(tx: Transaction, tenant_id: UUID, activity_id: UUID) -> Activity | None:
    """The newest version of an activity of the tenant."""
    row = await tx.one_or_none(_FIND, {"tenant_id": tenant_id, "id": activity_id})
    return None if row is None else _event(row)


async def find_all(tx: Transaction, keys: Collection[tuple[UUID, UUID]]) -> list[Activity]:
    """The newest versions of these activities (tenant, activity), in their order; those not held are left out."""
    ordered = sorted(keys)
    parameters = {"tenant_ids": [tenant for tenant, _ in ordered], "ids": [activity for _, activity in ordered]}
    return [_event(row) for row in await tx.rows(_FIND_ALL, parameters)]


async def after(tx: Transaction, key: tuple[UUID, UUID], *, limit: int) -> list[Activity]:
    """The newest versions of the next activities of every tenant in the transaction's scope, by tenant and activity."""
    parameters = {"after_tenant_id": key[0], "after_id": key[1], "limit": limit}
    return [_event(row) for row in await tx.rows(_AFTER, parameters)]


async def is_brought_by(tx: Transaction, tenant_id: UUID, activity_id: UUID, delivery_id: UUID) -> bool:
    """Whether the delivery brought a version of the activity."""
    parameters = {"tenant_id": tenant_id, "id": activity_id, "delivery_id": delivery_id}
    return await tx.one_or_none(_BROUGHT, parameters) is not None


async def versions(
    tx: Transaction, tenant_id: UUID, activity_id: UUID, *, before: tuple[datetime, int, UUID] | None, limit: int
) -> list[RecordedVersion]:
    """Versions of an activity of the tenant, newest first."""
    parameters: dict[str, object] = {"tenant_id": tenant_id, "id": activity_id, "limit": limit}
    conditions = ""
    if before is not None:
        conditions = "AND (v.modified_at, v.sequence, v.delivery_id) < (:modified_at, :sequence, :delivery_id)"
        parameters |= dict(zip(("modified_at", "sequence", "delivery_id"), before, strict=True))
    return [
        RecordedVersion(_event(row), row["recorded_at"]) for row in await tx.rows(_SQL.versions(conditions), parameters)
    ]


def _event(row: RowMapping) -> Activity:
    return Activity.model_validate(
        {
            **row,
            "id": row["activity_id"],
            "custom": {} if row["custom"] is None else _CUSTOM.validate_json(row["custom"]),
            "corrections": () if row["corrections"] is None else _CORRECTIONS.validate_json(row["corrections"]),
        }
    )
