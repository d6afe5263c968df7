"""What keeping a version of an activity changes, and which activities to look at."""

from dataclasses import dataclass
from datetime import datetime

from services.tracking.records.domain.snapshots import Change, Recorded
from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType
from shared.kernel.errors import NotFound

ActivityChange = Change[ActivityFacts]
RecordedActivities = Recorded[ActivityFacts]


class ActivityNotFound(NotFound):
    """No activity of the tenant that the caller may see has this id."""

    code = "activity_not_found"
    title = "Activity not found"


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """Which activities to list; what is None does not restrict.

    Those that occurred from `occurred_from` on and before `occurred_before`; one of which nobody says when is in no
    such range.
    """

    type: ActivityType | None = None
    status: ActivityStatus | None = None
    source: str | None = None
    owner_external_id: str | None = None
    deal_external_id: str | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None
