"""Secrets on the wire: that they exist, never what they are."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from shared.kernel.rotation import SealedSecret


class SecretAnswer(BaseModel):
    """That a secret exists; never its value."""

    id: UUID
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, secret: SealedSecret) -> Self:
        return cls(id=secret.id, created_at=secret.created_at, expires_at=secret.expires_at)
