"""What keeping a version of a deal changes, and which deals to look at."""

from dataclasses import dataclass

from services.tracking.snapshots import Change, Recorded
from shared.kernel.deals import DealFacts, DealStatus
from shared.kernel.errors import NotFound

DealChange = Change[DealFacts]
RecordedDeals = Recorded[DealFacts]


class DealNotFound(NotFound):
    """No deal of the tenant that the caller may see has this id."""

    code = "deal_not_found"
    title = "Deal not found"


@dataclass(frozen=True, slots=True)
class DealFilter:
    """Which deals to list; what is None, and `unmapped` when false, does not restrict."""

    status: DealStatus | None = None
    source: str | None = None
    owner_external_id: str | None = None
    unmapped: bool = False
