"""Secrets on the wire: that they exist, never what they are."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel


class SecretAnswer(BaseModel):
    """That a secret exists; never its value."""

    id: UUID
    created_at: datetime
    expires_at: datetime | None
