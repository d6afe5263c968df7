"""What keeping a version of a deal changes."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.kernel.deals import DealFacts, DealStatus
from shared.kernel.errors import NotFound
from shared.kernel.org import CrmUser


class DealNotFound(NotFound):
    """No deal of the tenant that the caller may see has this id."""

    code = "deal_not_found"
    title = "Deal not found"


@dataclass(frozen=True, slots=True)
class DealChange:
    """A deal whose newest version is another one now. `before` is None for a deal that was not known."""

    tenant_id: UUID
    before: DealFacts | None
    after: DealFacts
    received_at: datetime
    """When the delivery that brought the new version was accepted."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of versions of deals that were told in some order."""

    changes: tuple[DealChange, ...]
    overtaken: frozenset[tuple[UUID, UUID]]
    """The deals (tenant, deal) whose version told last is older than the newest."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at deals: which CRM users are somebody, and whose deals may be seen; None for everybody's."""

    mapped: frozenset[CrmUser]
    visible: frozenset[CrmUser] | None

    def sees(self, source: str, owner_external_id: str | None) -> bool:
        """Whether a deal with this owner may be seen."""
        if self.visible is None:
            return True
        return owner_external_id is not None and CrmUser(source, owner_external_id) in self.visible


@dataclass(frozen=True, slots=True)
class DealFilter:
    """Which deals to list; what is None, and `unmapped` when false, does not restrict."""

    status: DealStatus | None = None
    source: str | None = None
    owner_external_id: str | None = None
    unmapped: bool = False
