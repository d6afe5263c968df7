"""What a verification finds."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Difference:
    """Something stored that is not what it should be."""

    kind: str
    tenant_id: UUID
    subject: str
    stored: str
    recomputed: str
    is_passing: bool = False
    """Work that is known to be due and not done yet."""

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.subject} (tenant {self.tenant_id}): {self.stored} stored, {self.recomputed} recomputed"
        )
