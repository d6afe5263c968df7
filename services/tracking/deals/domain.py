"""What keeping a version of a deal changes."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.kernel.deals import DealFacts


@dataclass(frozen=True, slots=True)
class DealChange:
    """A deal whose newest version is another one now. `before` is None for a deal that was not known."""

    tenant_id: UUID
    before: DealFacts | None
    after: DealFacts
    received_at: datetime
    """When the delivery that brought the new version was accepted."""
