"""What other rooms read of records inside statements of their own.

A goal's filter and measure are compiled to conditions on the columns of a record, and the deliveries of a whole history
are queued without passing through memory. So those statements name columns of `columns.py`; the tables, and how they
are searched, are named here alone.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Table

from services.tracking.records.tables import INCOMPLETE, activities, activity_versions, deal_versions, deals
from shared.kernel.records import RecordKind


def _as_of(versions: Table, record_id: str) -> str:
    # No version is of a later time than some minutes after it was received: the months after that are left out.
    return f"""(
        SELECT DISTINCT ON (tenant_id, {record_id}) * FROM {versions.fullname}
        WHERE tenant_id = :tenant_id AND recorded_at <= :as_of
            AND modified_at < CAST(:as_of AS timestamptz) + interval '1 day'
        ORDER BY tenant_id DESC, {record_id} DESC, modified_at DESC, sequence DESC, delivery_id DESC
    )"""


NEWEST: Final[Mapping[RecordKind, str]] = {
    RecordKind.DEAL: deals.fullname,
    RecordKind.ACTIVITY: activities.fullname,
}
"""The newest versions of records, with the columns of their kind and the days in UTC beside them."""

AS_OF: Final[Mapping[RecordKind, str]] = {
    RecordKind.DEAL: _as_of(deal_versions, "deal_id"),
    RecordKind.ACTIVITY: _as_of(activity_versions, "activity_id"),
}
"""The newest versions of those that were recorded for `tenant_id` up to `as_of`, with the columns of their kind."""

SPLIT_USERS: Final = "tracking.deal_split_users"
"""The `tenant_id`, `source` and `external_id` of every user that a version of the splits of a `deal_id` has named."""

_OF_CONNECTION: Final = "tenant_id = :tenant_id AND connection_id = :connection_id"

# Each by its index, as a repair is to take no longer the more else is stored.
# A planner that has counted nothing yet would read a whole tenant once where it is not made to look up each.
TOUCHED_DELIVERIES: Final = f"""
    SELECT owned.delivery_id FROM unnest(CAST(:users AS text[])) AS named(user_id)
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM tracking.deals AS d
        WHERE d.owner_external_id = named.user_id AND d.source = :source AND {_OF_CONNECTION} OFFSET 0
    ) AS owned
    UNION
    SELECT shared.delivery_id FROM unnest(CAST(:users AS text[])) AS named(user_id)
    CROSS JOIN LATERAL (
        SELECT deal_id FROM tracking.deal_split_users AS s
        WHERE s.tenant_id = :tenant_id AND s.source = :source AND s.external_id = named.user_id OFFSET 0
    ) AS split
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM tracking.deals AS d
        WHERE d.deal_id = split.deal_id AND {_OF_CONNECTION} LIMIT 1
    ) AS shared
    UNION
    SELECT owned.delivery_id FROM unnest(CAST(:users AS text[])) AS named(user_id)
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM tracking.activities AS a
        WHERE a.owner_external_id = named.user_id AND a.source = :source AND {_OF_CONNECTION} OFFSET 0
    ) AS owned
    UNION
    SELECT delivery_id FROM tracking.deals
    WHERE :incomplete AND {_OF_CONNECTION} AND {INCOMPLETE}
"""
"""The `delivery_id` of the newest version of each of a connection's records that is of one of the `users` of its
`source`, and of each won deal that lacks what it has to have to be credited if `incomplete`."""

NEWEST_DELIVERIES: Final = f"""
    SELECT delivery_id, bool_or(is_named) AS is_named
    FROM (
        SELECT delivery_id,
            coalesce(stage = ANY(CAST(:stages AS text[])) OR pipeline = ANY(CAST(:pipelines AS text[])), false)
                AS is_named
        FROM tracking.deals WHERE {_OF_CONNECTION}
        UNION ALL
        SELECT delivery_id, false FROM tracking.activities WHERE {_OF_CONNECTION}
    ) AS newest
    GROUP BY delivery_id
"""
"""The `delivery_id` of the newest version of each of a connection's records, and whether it is of a deal of one of the
`stages` or `pipelines`."""
