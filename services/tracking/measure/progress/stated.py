"""The values that people state of goals: every version of each, and what those that count come to.

A correction or a deletion is a version like any other, so that the past is read as it was known.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from services.tracking.measure.progress.domain import Rule, Stated
from shared.contracts.goals import StatedValue
from shared.db.database import Transaction

_RECORD: Final = text(
    """
    INSERT INTO tracking.stated_value_versions
        (tenant_id, value_id, version, goal_id, day, value, source, note, stated_by, stated_at, deleted, recorded_at)
    SELECT *, :now FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:value_ids AS uuid[]), CAST(:versions AS bigint[]),
        CAST(:goal_ids AS uuid[]), CAST(:days AS date[]), CAST(:values AS numeric[]), CAST(:sources AS text[]),
        CAST(:notes AS text[]), CAST(:stated_by AS uuid[]), CAST(:stated_at AS timestamptz[]),
        CAST(:deleted AS boolean[])
    ) AS t(tenant_id, value_id, version, goal_id, day, value, source, note, stated_by, stated_at, deleted)
    ORDER BY tenant_id, value_id, version
    ON CONFLICT (tenant_id, value_id, version) DO NOTHING
    RETURNING tenant_id, goal_id
    """
)
_NEWEST: Final = text(
    """
    SELECT * FROM (
        SELECT DISTINCT ON (value_id) * FROM tracking.stated_value_versions
        WHERE tenant_id = :tenant_id AND goal_id = ANY(CAST(:goal_ids AS uuid[]))
            AND (CAST(:as_of AS timestamptz) IS NULL OR recorded_at <= :as_of)
        ORDER BY value_id, version DESC
    ) AS newest
    WHERE NOT deleted ORDER BY day, value_id
    """
)
_VERSIONS: Final = text(
    """
    SELECT tenant_id, value_id, max(version) AS version
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:value_ids AS uuid[])) AS wanted(t, v)
    JOIN tracking.stated_value_versions ON tenant_id = wanted.t AND value_id = wanted.v
    GROUP BY tenant_id, value_id
    """
)
SUBJECT: Final = "stated-value/"


async def record(tx: Transaction, events: Sequence[StatedValue]) -> Mapping[UUID, set[UUID]]:
    """Store the versions that are new; of which goals of each tenant those are."""
    if not events:
        return {}
    rows = await tx.rows(
        _RECORD,
        {
            "now": tx.now,
            "tenant_ids": [event.tenant_id for event in events],
            "value_ids": [event.id for event in events],
            "versions": [event.version for event in events],
            "goal_ids": [event.goal_id for event in events],
            "days": [event.day for event in events],
            "values": [event.value for event in events],
            "sources": [event.source.value for event in events],
            "notes": [event.note for event in events],
            "stated_by": [event.stated_by for event in events],
            "stated_at": [event.stated_at for event in events],
            "deleted": [event.deleted for event in events],
        },
    )
    goals: defaultdict[UUID, set[UUID]] = defaultdict(set)
    for row in rows:
        goals[row["tenant_id"]].add(row["goal_id"])
    return goals


async def counting(
    tx: Transaction, tenant_id: UUID, rules: Mapping[UUID, Rule], *, as_of: datetime | None = None
) -> dict[UUID, list[Stated]]:
    """The values that count for those of the goals that are made of them, by day and, within one, as they were stated.

    By what is recorded now, or was up to `as_of`.
    """
    periods = {goal_id: rule.stated_in for goal_id, rule in rules.items() if rule.stated_in is not None}
    if not periods:
        return {}
    found: dict[UUID, list[Stated]] = {goal_id: [] for goal_id in periods}
    parameters = {"tenant_id": tenant_id, "goal_ids": sorted(periods), "as_of": as_of}
    for row in await tx.rows(_NEWEST, parameters):
        if row["day"] in periods[row["goal_id"]]:
            found[row["goal_id"]].append(Stated(*(row[name] for name in Stated._fields)))
    return found


async def versions(tx: Transaction, keys: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], int]:
    """The newest stored version of each of these tenants' subjects that is a stated value."""
    named = [(tenant_id, UUID(each.removeprefix(SUBJECT))) for tenant_id, each in keys if each.startswith(SUBJECT)]
    rows = await tx.rows(_VERSIONS, {"tenant_ids": [t for t, _ in named], "value_ids": [v for _, v in named]})
    return {(row["tenant_id"], f"{SUBJECT}{row['value_id']}"): row["version"] for row in rows}
