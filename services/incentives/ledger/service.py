"""Posting to the ledger, reading it, and checking that it is what was posted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.ledger import store
from services.incentives.ledger.domain import Break, ChainCheck, Head, LedgerTransaction, Posting, chained
from shared.db.database import Transaction
from shared.telemetry.metrics import LEDGER_ENTRIES

_CHECK_TRANSACTIONS: Final = 2000


@dataclass(frozen=True, slots=True)
class Verification:
    """What walking a tenant's chain found."""

    transactions: int
    head: Head
    first_break: Break | None


async def post(tx: Transaction, tenant_id: UUID, postings: Sequence[Posting]) -> None:
    """Add a balanced transaction for each posting to the tenant's chain, in their order. ValueError as `chained`."""
    if not postings:
        return
    head = await store.locked_head(tx, tenant_id)
    await store.append(tx, tenant_id, chained(tenant_id, head, postings, tx.now))
    tx.after_commit(lambda: _count(postings))


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
) -> list[LedgerTransaction]:
    """Transactions in the order they were posted, of some people (None: everyone) and of what else is given."""
    return await store.page(
        tx, tenant_id, after=after, limit=limit, people=people, plan_id=plan_id, subject_id=subject_id, deal_id=deal_id
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
