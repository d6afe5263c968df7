"""Which deals and activities to list, and what there is none of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.tracking.records.domain.uncredited import UncreditedReason
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealStatus
from shared.kernel.errors import NotFound
from shared.kernel.org import CrmUser


class DealNotFound(NotFound):
    """No deal of the tenant that the caller may see has this id."""

    code = "deal_not_found"
    title = "Deal not found"


class ActivityNotFound(NotFound):
    """No activity of the tenant that the caller may see has this id."""

    code = "activity_not_found"
    title = "Activity not found"


@dataclass(frozen=True, slots=True)
class DealFilter:
    """Which deals to list; what is None, and `unmapped` when false, does not restrict.

    `unmapped`: those that, or a share of which, belong to none of the `mapped` users, who are somebody.
    """

    status: DealStatus | None = None
    source: str | None = None
    owner_external_id: str | None = None
    unmapped: bool = False
    connection_id: UUID | None = None
    uncredited: UncreditedReason | None = None
    mapped: frozenset[CrmUser] = frozenset()


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """Which activities to list; what is None does not restrict.

    Those that occurred from `occurred_from` on and before `occurred_before`; one without a stated time is in no such
    range.
    """

    type: ActivityType | None = None
    status: ActivityStatus | None = None
    source: str | None = None
    owner_external_id: str | None = None
    deal_external_id: str | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None
