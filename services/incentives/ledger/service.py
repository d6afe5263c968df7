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
    """Add a balanced transaction for each posting to the tenant's chain, in their order."""
    if not postings:
        return
    head = await store.locked_head(tx, tenant_id)
    await store.append(tx, tenant_id, chained(tenant_id, head, postings, tx.now))
    count = 2 * len(postings)
    tx.after_commit(lambda: LEDGER_ENTRIES.labels("commission").inc(count))


async def balances(
    tx: Transaction, tenant_id: UUID, cell_ids: Collection[UUID] | None = None
) -> dict[UUID, dict[str, Decimal]]:
    """What the ledger says is owed on cells, by currency: those given, or all that have entries."""
    return await store.balances(tx, tenant_id, cell_ids)


async def transactions(
    tx: Transaction,
    tenant_id: UUID,
    *,
    after: int,
    limit: int,
    people: Collection[UUID] | None = None,
    plan_id: UUID | None = None,
    cell_id: UUID | None = None,
    deal_id: UUID | None = None,
) -> list[LedgerTransaction]:
    """Transactions in the order they were posted, of some people (None: everyone) and what else is asked for."""
    return await store.page(
        tx, tenant_id, after=after, limit=limit, people=people, plan_id=plan_id, cell_id=cell_id, deal_id=deal_id
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
