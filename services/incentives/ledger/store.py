"""Every SQL statement on the ledger. Nothing here changes or removes a transaction."""

import json
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select, text

from services.incentives.ledger.domain import (
    Cause,
    CauseKind,
    Entry,
    Head,
    LedgerTransaction,
)
from services.incentives.ledger.tables import ledger_entries, ledger_heads, ledger_transactions
from shared.db.database import Transaction
from shared.kernel.deals import DealVersion

_APPEND: Final = text(
    f"""
    WITH transactions AS (
        INSERT INTO {ledger_transactions.fullname}
            (tenant_id, sequence, posted_at, cell_id, person_id, plan_id, component, cause, deal_id, deal_modified_at,
             deal_sequence, delivery_id, changes, hash)
        SELECT :tenant_id, s, :posted_at, c, p, l, o, k, d, m, q, v, CAST(g AS jsonb), h FROM unnest(
            CAST(:sequences AS bigint[]), CAST(:cells AS uuid[]), CAST(:people AS uuid[]), CAST(:plans AS uuid[]),
            CAST(:components AS text[]), CAST(:causes AS text[]), CAST(:deals AS uuid[]),
            CAST(:modified AS timestamptz[]), CAST(:deal_sequences AS bigint[]), CAST(:deliveries AS uuid[]),
            CAST(:changes AS text[]), CAST(:hashes AS bytea[])
        ) AS t(s, c, p, l, o, k, d, m, q, v, g, h)
    ), entries AS (
        INSERT INTO {ledger_entries.fullname} (tenant_id, sequence, line, account, amount, currency)
        SELECT :tenant_id, * FROM unnest(
            CAST(:entry_sequences AS bigint[]), CAST(:lines AS smallint[]), CAST(:accounts AS text[]),
            CAST(:amounts AS numeric[]), CAST(:currencies AS text[])
        )
    )
    INSERT INTO {ledger_heads.fullname} (tenant_id, sequence, hash) VALUES (:tenant_id, :sequence, :hash)
    ON CONFLICT (tenant_id) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash
    """
)
_ALL_BALANCES: Final = text(
    f"""
    SELECT t.cell_id, e.currency, -sum(e.amount) AS balance
    FROM {ledger_transactions.fullname} AS t
    JOIN {ledger_entries.fullname} AS e ON e.tenant_id = t.tenant_id AND e.sequence = t.sequence
    WHERE t.tenant_id = :tenant_id AND e.account LIKE 'payable:%'
    GROUP BY t.cell_id, e.currency
    """
)
# Fenced, so that the few transactions of these cells are found by their index, and their entries by key. The tenant is
# asked for outside the first fence: the primary key starts with it, and would seem as good as the index.
_BALANCES_OF: Final = text(
    f"""
    SELECT wanted.cell_id, e.currency, -sum(e.amount) AS balance
    FROM unnest(CAST(:cells AS uuid[])) AS wanted(cell_id)
    CROSS JOIN LATERAL (
        SELECT tenant_id, sequence FROM {ledger_transactions.fullname} WHERE cell_id = wanted.cell_id OFFSET 0
    ) AS t
    CROSS JOIN LATERAL (
        SELECT currency, amount FROM {ledger_entries.fullname}
        WHERE tenant_id = t.tenant_id AND sequence = t.sequence AND account LIKE 'payable:%' OFFSET 0
    ) AS e
    WHERE t.tenant_id = :tenant_id
    GROUP BY wanted.cell_id, e.currency
    """
)
_ENTRIES: Final = text(
    f"""
    SELECT sequence, account, amount, currency FROM {ledger_entries.fullname}
    WHERE tenant_id = :tenant_id AND sequence = ANY(CAST(:sequences AS bigint[])) ORDER BY sequence, line
    """
)


async def locked_head(tx: Transaction, tenant_id: UUID) -> Head:
    """Where the chain ends; nobody else posts for the tenant until the end of the transaction."""
    return await _head(tx, tenant_id, lock=True)


async def head(tx: Transaction, tenant_id: UUID) -> Head:
    return await _head(tx, tenant_id, lock=False)


async def append(tx: Transaction, tenant_id: UUID, added: Sequence[LedgerTransaction]) -> None:
    """Add transactions that go on from the head, and move it."""
    versions = [transaction.cause.deal_version for transaction in added]
    entries = [
        (transaction.sequence, line, entry)
        for transaction in added
        for line, entry in enumerate(transaction.entries, start=1)
    ]
    await tx.execute(
        _APPEND,
        {
            "tenant_id": tenant_id,
            "posted_at": added[0].posted_at,
            "sequences": [transaction.sequence for transaction in added],
            "cells": [transaction.cell_id for transaction in added],
            "people": [transaction.person_id for transaction in added],
            "plans": [transaction.plan_id for transaction in added],
            "components": [transaction.component for transaction in added],
            "causes": [transaction.cause.kind.value for transaction in added],
            "deals": [transaction.cause.deal_id for transaction in added],
            "modified": [None if version is None else version.modified_at for version in versions],
            "deal_sequences": [None if version is None else version.sequence for version in versions],
            "deliveries": [None if version is None else version.delivery_id for version in versions],
            "changes": [json.dumps(transaction.cause.changes) for transaction in added],
            "hashes": [transaction.hash for transaction in added],
            "entry_sequences": [sequence for sequence, _, _ in entries],
            "lines": [line for _, line, _ in entries],
            "accounts": [entry.account for _, _, entry in entries],
            "amounts": [entry.amount for _, _, entry in entries],
            "currencies": [entry.currency for _, _, entry in entries],
            "sequence": added[-1].sequence,
            "hash": added[-1].hash,
        },
    )


async def page(
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
    """Transactions with their entries in the order they were posted, those of some people (None: everyone) only."""
    table = ledger_transactions
    conditions: list[ColumnElement[bool]] = [table.c.tenant_id == tenant_id, table.c.sequence > after]
    if people is not None:
        conditions.append(table.c.person_id.in_(people))
    for column, value in ((table.c.plan_id, plan_id), (table.c.cell_id, cell_id), (table.c.deal_id, deal_id)):
        if value is not None:
            conditions.append(column == value)
    rows = await tx.rows(select(table).where(*conditions).order_by(table.c.sequence).limit(limit))
    entries: dict[int, list[Entry]] = {row["sequence"]: [] for row in rows}
    for row in await tx.rows(_ENTRIES, {"tenant_id": tenant_id, "sequences": list(entries)}):
        entries[row["sequence"]].append(Entry(row["account"], row["amount"], row["currency"]))
    return [_transaction(row, tuple(entries[row["sequence"]])) for row in rows]


async def balances(
    tx: Transaction, tenant_id: UUID, cell_ids: Collection[UUID] | None
) -> dict[UUID, dict[str, Decimal]]:
    """What is owed on each of these cells (None: every cell) in each currency, summed from the entries."""
    found: dict[UUID, dict[str, Decimal]] = {}
    if cell_ids is None:
        rows = await tx.rows(_ALL_BALANCES, {"tenant_id": tenant_id})
    else:
        rows = await tx.rows(_BALANCES_OF, {"tenant_id": tenant_id, "cells": sorted(cell_ids)})
    for row in rows:
        found.setdefault(row["cell_id"], {})[row["currency"]] = row["balance"]
    return found


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant that has a ledger, as far as the transaction sees tenants."""
    rows = await tx.rows(select(ledger_heads.c.tenant_id).order_by(ledger_heads.c.tenant_id))
    return [row["tenant_id"] for row in rows]


async def _head(tx: Transaction, tenant_id: UUID, *, lock: bool) -> Head:
    statement = select(ledger_heads).where(ledger_heads.c.tenant_id == tenant_id)
    row = await tx.one_or_none(statement.with_for_update() if lock else statement)
    return Head() if row is None else Head(row["sequence"], row["hash"])


def _transaction(row: RowMapping, entries: tuple[Entry, ...]) -> LedgerTransaction:
    version = None
    if row["delivery_id"] is not None:
        version = DealVersion(row["deal_modified_at"], row["deal_sequence"], row["delivery_id"])
    cause = Cause(CauseKind(row["cause"]), row["deal_id"], version, tuple(row["changes"]))
    return LedgerTransaction(
        row["tenant_id"],
        row["sequence"],
        row["posted_at"],
        row["cell_id"],
        row["person_id"],
        row["plan_id"],
        row["component"],
        cause,
        entries,
        row["hash"],
    )
