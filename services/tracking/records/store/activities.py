"""The statements that only activities need."""

from collections.abc import Collection, Sequence

from services.tracking.records.columns import ACTIVITY_COLUMNS
from services.tracking.records.domain.records import ActivityFilter
from services.tracking.records.store.records import RecordStore
from services.tracking.records.tables import activities, activity_versions
from shared.contracts.activities import Activity
from shared.kernel.activities import ActivityFacts
from shared.kernel.org import CrmUser


class ActivityStore(RecordStore[Activity, ActivityFacts, ActivityFilter]):
    """The statements on activities."""

    def __init__(self) -> None:
        super().__init__(Activity, ActivityFacts, ACTIVITY_COLUMNS, activities, activity_versions)

    def _seen_by(self, users: Collection[CrmUser]) -> tuple[str, dict[str, object]]:
        seen = sorted(users)
        return (
            "(r.source, r.owner_external_id) IN"
            " (SELECT * FROM unnest(CAST(:seen_sources AS text[]), CAST(:seen_ids AS text[])))",
            {"seen_sources": [user.source for user in seen], "seen_ids": [user.external_id for user in seen]},
        )

    def _wanted(self, wanted: ActivityFilter) -> tuple[Sequence[str], dict[str, object]]:
        conditions = {
            "r.type = :type": wanted.type,
            "r.status = :status": wanted.status,
            "r.source = :source": wanted.source,
            "r.owner_external_id = :owner": wanted.owner_external_id,
            "r.deal_external_id = :deal": wanted.deal_external_id,
            "r.occurred_at >= :occurred_from": wanted.occurred_from,
            "r.occurred_at < :occurred_before": wanted.occurred_before,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        return list(given), {condition.rpartition(":")[2]: value for condition, value in given.items()}
