"""Statements that are kept as they were: the parts of each, and the digests that show that nothing of them changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID


class KeptPart(StrEnum):
    """What is kept of a statement, and when."""

    EARNED = "earned"
    """What the pay period paid for, line by line: right after its cut-off."""
    PAID = "paid"
    """What payout runs made of it: after it is closed. It names the digest of the first."""


@dataclass(frozen=True, slots=True)
class KeptStatement:
    """A part as it was written; the digest is SHA-256 of its bytes in UTF-8, in hexadecimal."""

    content: str
    digest: str
    kept_at: datetime

    @property
    def is_intact(self) -> bool:
        """Whether it is what was written."""
        return digest_of(self.content) == self.digest


@dataclass(frozen=True, slots=True)
class KeptPeriod:
    """That a part of the statements of a pay period was written for everybody, so many, and the digest of all."""

    pay_period_id: UUID
    part: KeptPart
    statements: int
    digest: str
    kept_at: datetime


def digest_of(content: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return sha256(content.encode()).hexdigest()


def digest_of_all(digests: Mapping[UUID, str]) -> str:
    """SHA-256 of the lines `<person id> <digest>`, each with a line feed, in the order of the ids."""
    return digest_of("".join(f"{person_id} {digests[person_id]}\n" for person_id in sorted(digests)))
