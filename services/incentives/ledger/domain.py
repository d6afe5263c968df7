"""The double-entry ledger: every transaction balances, and each is sealed onto the one before it.

An amount is signed: what the company owes a person is posted as a positive expense and an equal negative payable, so
the entries of a transaction sum to zero in every currency and a person is owed the negative of the payable's balance.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

from shared.kernel.deals import DealVersion
from shared.kernel.money import format_amount

GENESIS: Final = bytes(32)
"""What the first transaction of a tenant is sealed onto."""
CHANGES_MAX: Final = 20
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class CauseKind(StrEnum):
    """What made an amount change."""

    DEAL = "deal"
    DEFINITIONS = "definitions"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a transaction was posted: a version of a deal, or changes of definitions named `<subject> v<version>`."""

    kind: CauseKind
    deal_id: UUID | None = None
    deal_version: DealVersion | None = None
    changes: tuple[str, ...] = ()

    @classmethod
    def of_deal(cls, deal_id: UUID, version: DealVersion) -> "Cause":
        """A deal became what this version says."""
        return cls(CauseKind.DEAL, deal_id, version)

    @classmethod
    def of_definitions(cls, changes: Iterable[str]) -> "Cause":
        """Plans, assignments, goals or the organisation changed; the first few changes are kept."""
        return cls(CauseKind.DEFINITIONS, changes=tuple(dict.fromkeys(changes))[:CHANGES_MAX])


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a transaction."""

    account: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Posting:
    """A commission that grew by `amount` (shrank, when negative), rounded to the minor unit."""

    cell_id: UUID
    person_id: UUID
    plan_id: UUID
    component: str
    amount: Decimal
    currency: str
    cause: Cause

    @property
    def entries(self) -> tuple[Entry, Entry]:
        """The company's expense and what it owes the person."""
        return (
            Entry(expense_account(self.plan_id), self.amount, self.currency),
            Entry(payable_account(self.person_id), -self.amount, self.currency),
        )


@dataclass(frozen=True, slots=True)
class LedgerTransaction:
    """What stands in the ledger. `sequence` counts a tenant's transactions from 1 without a gap."""

    tenant_id: UUID
    sequence: int
    posted_at: datetime
    cell_id: UUID
    person_id: UUID
    plan_id: UUID
    component: str
    cause: Cause
    entries: tuple[Entry, ...]
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain."""

    sequence: int = 0
    hash: bytes = GENESIS


class Flaw(StrEnum):
    """What can be wrong with a chain."""

    MISSING = "missing"
    """A sequence number is not there."""
    UNBALANCED = "unbalanced"
    """The entries do not sum to zero in some currency."""
    ALTERED = "altered"
    """The content is not what was sealed onto the transaction before it."""
    HEAD_DIFFERS = "head_differs"
    """The chain does not end where it was last seen to end."""


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain stops being what was posted, and how that shows."""

    sequence: int
    flaw: Flaw


def expense_account(plan_id: UUID) -> str:
    """What a plan costs the company."""
    return f"expense:commission:{plan_id}"


def payable_account(person_id: UUID) -> str:
    """What the company owes a person."""
    return f"payable:{person_id}"


def chained(tenant_id: UUID, head: Head, postings: Sequence[Posting], posted_at: datetime) -> list[LedgerTransaction]:
    """The transactions that the postings become, in their order, sealed onto the head."""
    transactions = []
    sequence, previous = head.sequence, head.hash
    for posting in postings:
        sequence += 1
        unsealed = LedgerTransaction(
            tenant_id,
            sequence,
            posted_at,
            posting.cell_id,
            posting.person_id,
            posting.plan_id,
            posting.component,
            posting.cause,
            posting.entries,
        )
        previous = seal(previous, unsealed)
        transactions.append(
            LedgerTransaction(
                tenant_id,
                sequence,
                posted_at,
                posting.cell_id,
                posting.person_id,
                posting.plan_id,
                posting.component,
                posting.cause,
                posting.entries,
                previous,
            )
        )
    return transactions


def seal(previous: bytes, transaction: LedgerTransaction) -> bytes:
    """SHA-256 over the seal before and the canonical JSON of the transaction."""
    return sha256(previous + canonical(transaction)).digest()


def canonical(transaction: LedgerTransaction) -> bytes:
    """The one JSON text of a transaction: sorted keys, no spaces, ASCII, plain decimals, instants in UTC."""
    cause, version = transaction.cause, transaction.cause.deal_version
    return _CANONICAL.encode(
        {
            "tenant_id": str(transaction.tenant_id),
            "sequence": transaction.sequence,
            "posted_at": _instant(transaction.posted_at),
            "cell_id": str(transaction.cell_id),
            "person_id": str(transaction.person_id),
            "plan_id": str(transaction.plan_id),
            "component": transaction.component,
            "cause": {
                "kind": cause.kind,
                "deal_id": None if cause.deal_id is None else str(cause.deal_id),
                "deal_version": None
                if version is None
                else [_instant(version.modified_at), version.sequence, str(version.delivery_id)],
                "changes": list(cause.changes),
            },
            "entries": [[entry.account, format_amount(entry.amount), entry.currency] for entry in transaction.entries],
        }
    ).encode()


class ChainCheck:
    """Walks a tenant's transactions in order and remembers the first that is not what was posted."""

    def __init__(self) -> None:
        self._end = Head()
        self.first_break: Break | None = None

    @property
    def transactions(self) -> int:
        """How many sequence numbers were walked over."""
        return self._end.sequence

    def take(self, transaction: LedgerTransaction) -> None:
        """The next transaction that is there."""
        expected = self._end.sequence + 1
        if transaction.sequence != expected:
            self._broken(expected, Flaw.MISSING)
        elif seal(self._end.hash, transaction) != transaction.hash:
            self._broken(transaction.sequence, Flaw.ALTERED)
        elif not balances(transaction.entries):
            self._broken(transaction.sequence, Flaw.UNBALANCED)
        self._end = Head(transaction.sequence, transaction.hash)

    def finish(self, head: Head) -> None:
        """Compare with where the chain is known to end."""
        if self._end.sequence < head.sequence:
            self._broken(self._end.sequence + 1, Flaw.MISSING)
        elif self._end != head:
            self._broken(self._end.sequence, Flaw.HEAD_DIFFERS)

    def _broken(self, sequence: int, flaw: Flaw) -> None:
        if self.first_break is None:
            self.first_break = Break(sequence, flaw)


def balances(entries: Iterable[Entry]) -> bool:
    """Whether the entries sum to zero in every currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        sums[entry.currency] += entry.amount
    return not any(sums.values())


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
