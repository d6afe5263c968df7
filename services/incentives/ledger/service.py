"""Posting to the ledger, reading it, and checking that it is what was posted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.ledger import store
from services.incentives.ledger.domain import (
    Break,
    ChainCheck,
    EarnedOnDeal,
    Head,
    LedgerTransaction,
    Movement,
    Posted,
    Posting,
    chained,
)
from shared.db.database import Transaction
from shared.kernel.periods import Period
from shared.telemetry.metrics import LEDGER_ENTRIES

_CHECK_TRANSACTIONS: Final = 2000


@dataclass(frozen=True, slots=True)
class Verification:
    """What walking a tenant's chain found."""

    transactions: int
    head: Head
    first_break: Break | None


async def post(tx: Transaction, tenant_id: UUID, postings: Sequence[Posting]) -> None:
    """Add a balanced transaction for each posting to the tenant's chain, in their order. ValueError as `chained`.

    Each is posted in the pay period it names, or in the first that still takes postings. Nobody else posts for the
    tenant until the end of the transaction: so post last, and for several tenants in the order of their ids.
    """
    if not postings:
        return
    head = await store.locked_head(tx, tenant_id)
    await store.append(tx, tenant_id, chained(tenant_id, head, postings, tx.now))
    tx.after_commit(lambda: _count(postings))


async def opens(tx: Transaction, tenant_id: UUID) -> Period | None:
    """The first pay period that takes postings; None while all do."""
    return (await store.head(tx, tenant_id)).opens


async def cut_off(tx: Transaction, tenant_id: UUID, first_open: Period) -> int:
    """From now on take no postings in pay periods before this one; the sequence number of the last transaction so far.

    ValueError for one that starts before the first that takes postings already.
    """
    head = await store.locked_head(tx, tenant_id)
    if head.opens is not None and first_open.start <= head.opens.start:
        raise ValueError(f"pay periods before {head.opens.start} take no postings already")
    await store.cut_off(tx, tenant_id, head, first_open)
    return head.sequence


async def posted(
    tx: Transaction,
    tenant_id: UUID,
    account_kind: str,
    subject_kind: str,
    *,
    after: date = date.min,
    until: date = date.max,
    people: Collection[UUID] | None = None,
) -> list[Posted]:
    """What was posted on accounts of a kind about subjects of a kind, by subject, origin and pay period.

    In pay periods whose last day is `after` or later and before `until`; of some people (None: everyone), by person.
    """
    return await store.posted(tx, tenant_id, account_kind, subject_kind, after=after, until=until, people=people)


async def movements(tx: Transaction, tenant_id: UUID, *, after: date, until: date) -> list[Movement]:
    """What was posted on every account, by person, in pay periods that end in (after, until]."""
    return await store.movements(tx, tenant_id, after=after, until=until)


async def earned_on_deals(
    tx: Transaction, tenant_id: UUID, subject_kind: str, *, after: date, until: date
) -> list[EarnedOnDeal]:
    """What became payable about subjects of a kind in pay periods that end in (after, until], deal by deal."""
    return await store.earned_on_deals(tx, tenant_id, subject_kind, after=after, until=until)


async def count_posted(tx: Transaction, tenant_id: UUID, *, after: date, until: date, sequence: int) -> int:
    """How many transactions behind that one are posted in pay periods as `posted` has them."""
    return await store.count_posted(tx, tenant_id, after=after, until=until, sequence=sequence)


async def first_posted_in(tx: Transaction, tenant_id: UUID) -> date | None:
    """The first day of the earliest pay period in which anything was posted."""
    return await store.first_posted_in(tx, tenant_id)


async def balances(
    tx: Transaction, tenant_id: UUID, account_kind: str, subject_ids: Collection[UUID]
) -> dict[UUID, dict[str, Decimal]]:
    """What the entries on accounts of a kind sum to, by subject and currency."""
    return await store.balances(tx, tenant_id, account_kind, subject_ids)


async def balances_of_kind(
    tx: Transaction, tenant_id: UUID, account_kind: str, subject_kind: str
) -> dict[UUID, dict[str, Decimal]]:
    """What the entries on accounts of a kind sum to, by subject and currency, of every subject of a kind."""
    return await store.balances_of_kind(tx, tenant_id, account_kind, subject_kind)


async def transactions(
    tx: Transaction,
    tenant_id: UUID,
    *,
    after: int,
    limit: int,
    people: Collection[UUID] | None = None,
    plan_id: UUID | None = None,
    subject_id: UUID | None = None,
    deal_id: UUID | None = None,
    posted_in: date | None = None,
    origin: date | None = None,
    correcting: Period | None = None,
    correcting_in: Period | None = None,
) -> list[LedgerTransaction]:
    """Transactions in the order they were posted, of some people (None: everyone) and of what else is given.

    `posted_in` is a day of the pay period they are posted in, `origin` one of the period they belong to. `correcting`
    is a span of days: what was earned in periods whose last day is in it and was posted in a pay period after it.
    `correcting_in` is one too: what was posted in pay periods whose last day is in it and belongs to earlier periods.
    """
    return await store.page(
        tx,
        tenant_id,
        after=after,
        limit=limit,
        people=people,
        plan_id=plan_id,
        subject_id=subject_id,
        deal_id=deal_id,
        posted_in=posted_in,
        origin=origin,
        correcting=correcting,
        correcting_in=correcting_in,
    )


async def verify(tx: Transaction, tenant_id: UUID) -> Verification:
    """Walk the tenant's whole chain, from the first transaction to the head."""
    head = await store.head(tx, tenant_id)
    check = ChainCheck()
    after = 0
    while page := await store.page(tx, tenant_id, after=after, limit=_CHECK_TRANSACTIONS):
        for transaction in page:
            check.take(transaction)
        after = page[-1].sequence
    check.finish(head)
    return Verification(check.transactions, head, check.first_break)


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant that has a ledger, as far as the transaction sees tenants."""
    return await store.tenants(tx)


def _count(postings: Sequence[Posting]) -> None:
    for posting in postings:
        LEDGER_ENTRIES.labels(posting.kind).inc(len(posting.entries))
