"""The double-entry ledger: every transaction balances, and each is sealed onto the one before it.

An amount is signed: the entries of a transaction sum to zero in every currency. Kinds of postings, of accounts and of
subjects are open: rooms above post their own words, and the ledger knows none of them but those of its first form.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

from shared.kernel.deals import RecordVersion
from shared.kernel.money import format_amount
from shared.kernel.periods import Period

GENESIS: Final = bytes(32)
"""What the first transaction of a tenant is sealed onto."""
CHANGES_MAX: Final = 20
EARNED: Final = "earned"
EARNING: Final = "earning"
"""The kind of posting, and of its subject, in the ledger's first form, which names neither."""
PAYABLE: Final = "payable"
"""The kind of account of what the company owes each person: the negative of its balance."""
_WORD: Final = re.compile(r"[a-z][a-z_]*\Z")
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something was posted: a version of a deal, or changes of things named `<subject> v<version>`."""

    kind: str
    deal_id: UUID | None = None
    deal_version: RecordVersion | None = None
    changes: tuple[str, ...] = ()

    @classmethod
    def of_deal(cls, deal_id: UUID, version: RecordVersion) -> "Cause":
        """A deal came to this version."""
        return cls("deal", deal_id, version)

    @classmethod
    def of_definitions(cls, changes: Iterable[str]) -> "Cause":
        """Plans, assignments, goals or the organisation changed; the first few changes are named."""
        return cls("definitions", changes=tuple(dict.fromkeys(changes))[:CHANGES_MAX])


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a kind, such as `payable`, and its name in it, such as the id of whom something is owed."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def of(cls, text: str) -> "Account":
        """The account that is written so."""
        kind, _, name = text.partition(":")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a transaction."""

    account: Account
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a posting is about: one thing of a room above, whose it is, and what else it is found by."""

    kind: str
    id: UUID
    person_id: UUID
    plan_id: UUID | None = None
    component: str | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """Amounts that move between accounts, rounded to the minor unit, in the period they belong to: their origin.

    `posted_in` is the pay period that pays them: who posts names the one they are due in, and where that takes no more
    postings it is the first that does (`placed`). `period` is None only in the first form, which does not name it, and
    `posted_in` only in the first two.
    """

    kind: str
    entries: tuple[Entry, ...]
    subject: Subject
    period: Period | None
    cause: Cause
    posted_in: Period | None = None


@dataclass(frozen=True, slots=True)
class LedgerTransaction:
    """A transaction in the ledger. `sequence` counts a tenant's transactions from 1 without a gap."""

    tenant_id: UUID
    sequence: int
    posted_at: datetime
    posting: Posting
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain.

    `opens` is the first pay period that takes postings; None until one was cut off, when all of them do.
    """

    sequence: int = 0
    hash: bytes = GENESIS
    opens: Period | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Posted:
    """What was posted about a subject for one origin in pay periods that end on the same day, summed.

    `amount` is what is owed by it: the negative of the entries. `posted_until` is the first day after the pay period.
    """

    subject_id: UUID
    person_id: UUID
    plan_id: UUID | None
    component: str | None
    origin: Period
    posted_until: date
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Movement:
    """What was posted on an account about a person in pay periods that end on the same day: debit above 0."""

    posted_until: date
    account: str
    person_id: UUID
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class EarnedOnDeal:
    """What was posted of what a person earned on a deal, or by terms alone, for periods that end on the same day."""

    person_id: UUID
    plan_id: UUID
    component: str | None
    deal_id: UUID | None
    origin_end: date
    currency: str
    amount: Decimal


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


def placed(posting: Posting, opens: Period | None) -> Posting:
    """The posting in the pay period it is due in, or in the first that still takes postings."""
    due = posting.posted_in
    if due is None or opens is None or opens.start <= due.start:
        return posting
    # A calendar that was changed may have a pay period around the day on which the open one starts.
    return replace(posting, posted_in=opens if due.end <= opens.start else Period(opens.start, due.end))


def chained(tenant_id: UUID, head: Head, postings: Sequence[Posting], posted_at: datetime) -> list[LedgerTransaction]:
    """The transactions that the postings become, in their order, each placed and sealed onto the head.

    ValueError for a posting that does not balance, has no period or pay period, or has a word that can be none.
    """
    transactions = []
    sequence, previous = head.sequence, head.hash
    for each in postings:
        _check(each)
        posting = placed(each, head.opens)
        sequence += 1
        unsealed = LedgerTransaction(tenant_id, sequence, posted_at, posting)
        previous = seal(previous, unsealed)
        transactions.append(replace(unsealed, hash=previous))
    return transactions


def seal(previous: bytes, transaction: LedgerTransaction) -> bytes:
    """SHA-256 over the seal before and the canonical JSON of the transaction."""
    return sha256(previous + canonical(transaction)).digest()


def canonical(transaction: LedgerTransaction) -> bytes:
    """The one JSON text of a transaction: sorted keys, no spaces, ASCII, plain decimals, instants in UTC.

    What has no period is of the first form, and has its text: a commission, its cell, person, plan and component. What
    has no pay period is of the second, which does not name it.
    """
    posting = transaction.posting
    subject, cause, version = posting.subject, posting.cause, posting.cause.deal_version
    about = {
        "person_id": str(subject.person_id),
        "plan_id": None if subject.plan_id is None else str(subject.plan_id),
        "component": subject.component,
    }
    if posting.period is None:
        form: dict[str, object] = {"cell_id": str(subject.id), **about}
    else:
        form = {
            "kind": posting.kind,
            "subject": {"kind": subject.kind, "id": str(subject.id), **about},
            "period": [str(posting.period.start), str(posting.period.end)],
        }
    if posting.posted_in is not None:
        form["posted_in"] = [str(posting.posted_in.start), str(posting.posted_in.end)]
    return _CANONICAL.encode(
        {
            "tenant_id": str(transaction.tenant_id),
            "sequence": transaction.sequence,
            "posted_at": _instant(transaction.posted_at),
            **form,
            "cause": {
                "kind": cause.kind,
                "deal_id": None if cause.deal_id is None else str(cause.deal_id),
                "deal_version": None
                if version is None
                else [_instant(version.modified_at), version.sequence, str(version.delivery_id)],
                "changes": list(cause.changes),
            },
            "entries": [[str(entry.account), format_amount(entry.amount), entry.currency] for entry in posting.entries],
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
        elif not balances(transaction.posting.entries):
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


def _check(posting: Posting) -> None:
    words = (posting.kind, posting.subject.kind, posting.cause.kind, *(entry.account.kind for entry in posting.entries))
    if not all(map(_WORD.match, words)):
        raise ValueError(f"{words} are not all small letters and _")
    has_periods = posting.period is not None and posting.posted_in is not None
    if not has_periods or not posting.entries or not balances(posting.entries):
        raise ValueError(f"a posting of the kind {posting.kind} has no period, no entries, or does not balance")


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
