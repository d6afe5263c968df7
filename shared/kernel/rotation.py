"""Secrets shared with another system, and how one follows the other without a moment in which none is valid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

SECRETS_VALID_MAX: Final = 2

OVERLAP_DAYS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret at rest. Without `expires_at` it is valid until it is retired."""

    id: UUID
    ciphertext: str
    created_at: datetime
    expires_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


def with_secret(
    secrets: Sequence[SealedSecret], secret: SealedSecret, *, overlap: timedelta, now: datetime
) -> tuple[SealedSecret, ...] | None:
    """With a new secret, the old one valid for `overlap` more, never longer than it was; None while two are valid."""
    valid = [known for known in secrets if known.is_valid(now)]
    if len(valid) >= SECRETS_VALID_MAX:
        return None
    until = now + overlap
    old = [
        replace(known, expires_at=until if known.expires_at is None else min(known.expires_at, until))
        for known in valid
    ]
    return (*(known for known in old if known.is_valid(now)), secret)


def without_secret(
    secrets: Sequence[SealedSecret], secret_id: UUID, *, now: datetime
) -> tuple[SealedSecret, ...] | None:
    """The valid ones without one of them, the only one left then valid without end; None where that is not valid.

    So taking the new one back undoes a rotation, and there is no time after which none is valid.
    """
    valid = [known for known in secrets if known.is_valid(now)]
    remaining = [known for known in valid if known.id != secret_id]
    if len(remaining) == len(valid):
        return None
    return tuple(replace(known, expires_at=None) for known in remaining) if len(remaining) == 1 else tuple(remaining)
