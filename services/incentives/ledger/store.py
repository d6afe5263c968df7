"""Every SQL statement on the ledger. Nothing here changes or removes a transaction."""

import json
from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, func, select, text

from services.incentives.ledger.domain import (
    EARNED,
    EARNING,
    PAYABLE,
    Account,
    Cause,
    EarnedOnDeal,
    Entry,
    Head,
    LedgerTransaction,
    Movement,
    Posted,
    Posting,
    Subject,
)
from services.incentives.ledger.tables import (
    ledger_entries,
    ledger_first_periods,
    ledger_heads,
    ledger_transactions,
)
from shared.db.database import Transaction
from shared.kernel.deals import RecordVersion
from shared.kernel.periods import Period

_APPEND: Final = text(
    f"""
    WITH transactions AS (
        INSERT INTO {ledger_transactions.fullname}
            (tenant_id, posted_at, sequence, kind, subject_kind, cell_id, person_id, plan_id, component, period_start,
             period_end, posted_in_start, posted_in_end, cause, deal_id, deal_modified_at, deal_sequence, delivery_id,
             hash, changes)
        SELECT :tenant_id, :posted_at, s, k, n, i, p, l, o, b, e, x, y, c, d, m, q, v, h, CAST(g AS jsonb) FROM unnest(
            CAST(:sequences AS bigint[]), CAST(:kinds AS text[]), CAST(:subject_kinds AS text[]),
            CAST(:subjects AS uuid[]), CAST(:people AS uuid[]), CAST(:plans AS uuid[]), CAST(:components AS text[]),
            CAST(:starts AS date[]), CAST(:ends AS date[]), CAST(:open_starts AS date[]), CAST(:open_ends AS date[]),
            CAST(:causes AS text[]), CAST(:deals AS uuid[]), CAST(:modified AS timestamptz[]),
            CAST(:deal_sequences AS bigint[]), CAST(:deliveries AS uuid[]), CAST(:hashes AS bytea[]),
            CAST(:changes AS text[])
        ) AS t(s, k, n, i, p, l, o, b, e, x, y, c, d, m, q, v, h, g)
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
_BALANCES_OF_KIND: Final = text(
    f"""
    SELECT t.cell_id AS subject_id, e.currency, sum(e.amount) AS balance
    FROM {ledger_transactions.fullname} AS t
    JOIN {ledger_entries.fullname} AS e ON e.tenant_id = t.tenant_id AND e.sequence = t.sequence
    WHERE t.tenant_id = :tenant_id AND e.account_kind = :account_kind
        AND COALESCE(t.subject_kind, '{EARNING}') = :subject_kind
    GROUP BY t.cell_id, e.currency
    """
)
# Fenced, so that the few transactions of these subjects are found by their index, and their entries by key. The
# tenant's condition is outside the first fence: the primary key starts with it, and would seem as good as the index.
_BALANCES_OF: Final = text(
    f"""
    SELECT wanted.id AS subject_id, e.currency, sum(e.amount) AS balance
    FROM unnest(CAST(:subjects AS uuid[])) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT tenant_id, sequence FROM {ledger_transactions.fullname} WHERE cell_id = wanted.id OFFSET 0
    ) AS t
    CROSS JOIN LATERAL (
        SELECT currency, amount FROM {ledger_entries.fullname}
        WHERE tenant_id = t.tenant_id AND sequence = t.sequence AND account_kind = :account_kind OFFSET 0
    ) AS e
    WHERE t.tenant_id = :tenant_id
    GROUP BY wanted.id, e.currency
    """
)
_ENTRIES: Final = text(
    f"""
    SELECT sequence, account, amount, currency FROM {ledger_entries.fullname}
    WHERE tenant_id = :tenant_id AND sequence = ANY(CAST(:sequences AS bigint[])) ORDER BY sequence, line
    """
)


_BEGIN: Final = text(
    f"INSERT INTO {ledger_heads.fullname} (tenant_id, sequence, hash) VALUES (:tenant_id, :sequence, :hash)"
    " ON CONFLICT DO NOTHING"
)
_CUT_OFF: Final = text(
    f"""
    INSERT INTO {ledger_heads.fullname} (tenant_id, sequence, hash, open_start, open_end)
    VALUES (:tenant_id, :sequence, :hash, :open_start, :open_end)
    ON CONFLICT (tenant_id) DO UPDATE SET open_start = excluded.open_start, open_end = excluded.open_end
    """
)
# Whoever wants what was posted from some day on finds it by the index; earlier forms, which name no pay period, are in
# the same index, as those without one.
_POSTED_BY: Final = f"""
    SELECT t.cell_id AS subject_id, t.person_id, t.plan_id, t.component,
        COALESCE(t.period_start, f.period_start) AS origin_start, COALESCE(t.period_end, f.period_end) AS origin_end,
        COALESCE(t.posted_in_end, t.period_end, f.period_end) AS posted_until, e.currency, -sum(e.amount) AS amount
    FROM {ledger_transactions.fullname} AS t
    LEFT JOIN {ledger_first_periods.fullname} AS f
        ON t.kind IS NULL AND f.tenant_id = t.tenant_id AND f.cell_id = t.cell_id
    JOIN {ledger_entries.fullname} AS e ON e.tenant_id = t.tenant_id AND e.sequence = t.sequence
    WHERE t.tenant_id = :tenant_id AND e.account_kind = :account_kind
        AND COALESCE(t.subject_kind, '{EARNING}') = :subject_kind
        AND (
            t.posted_in_end > :after
            OR t.posted_in_end IS NULL AND COALESCE(t.period_end, f.period_end) > :after
        )
        AND COALESCE(t.posted_in_end, t.period_end, f.period_end) <= :until
        {{of_whom}}
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY person_id, origin_start, subject_id, posted_until, currency
    """
_POSTED: Final = text(_POSTED_BY.format(of_whom=""))
_POSTED_OF: Final = text(_POSTED_BY.format(of_whom="AND t.person_id = ANY(CAST(:people AS uuid[]))"))

_MOVEMENTS: Final = text(
    f"""
    SELECT COALESCE(t.posted_in_end, t.period_end, f.period_end) AS posted_until, e.account, t.person_id, e.currency,
        sum(e.amount) AS amount
    FROM {ledger_transactions.fullname} AS t
    LEFT JOIN {ledger_first_periods.fullname} AS f
        ON t.kind IS NULL AND f.tenant_id = t.tenant_id AND f.cell_id = t.cell_id
    JOIN {ledger_entries.fullname} AS e ON e.tenant_id = t.tenant_id AND e.sequence = t.sequence
    WHERE t.tenant_id = :tenant_id
        AND (
            t.posted_in_end > :after
            OR t.posted_in_end IS NULL AND COALESCE(t.period_end, f.period_end) > :after
        )
        AND COALESCE(t.posted_in_end, t.period_end, f.period_end) <= :until
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
    """
)
_EARNED_ON_DEALS: Final = text(
    f"""
    SELECT t.person_id, t.plan_id, t.component, t.deal_id, COALESCE(t.period_end, f.period_end) AS origin_end,
        e.currency, -sum(e.amount) AS amount
    FROM {ledger_transactions.fullname} AS t
    LEFT JOIN {ledger_first_periods.fullname} AS f
        ON t.kind IS NULL AND f.tenant_id = t.tenant_id AND f.cell_id = t.cell_id
    JOIN {ledger_entries.fullname} AS e ON e.tenant_id = t.tenant_id AND e.sequence = t.sequence
    WHERE t.tenant_id = :tenant_id AND e.account_kind = '{PAYABLE}' AND t.plan_id IS NOT NULL
        AND COALESCE(t.subject_kind, '{EARNING}') = :subject_kind
        AND COALESCE(t.posted_in_end, t.period_end, f.period_end) > :after
        AND COALESCE(t.posted_in_end, t.period_end, f.period_end) <= :until
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING sum(e.amount) <> 0
    ORDER BY 1, 2, 3, 4, 5, 6
    """
)
_COUNT_POSTED: Final = text(
    f"""
    SELECT count(*) AS count
    FROM {ledger_transactions.fullname} AS t
    LEFT JOIN {ledger_first_periods.fullname} AS f
        ON t.kind IS NULL AND f.tenant_id = t.tenant_id AND f.cell_id = t.cell_id
    WHERE t.tenant_id = :tenant_id AND t.sequence > :sequence
        AND COALESCE(t.posted_in_end, t.period_end, f.period_end) > :after
        AND COALESCE(t.posted_in_end, t.period_end, f.period_end) <= :until
    """
)


async def locked_head(tx: Transaction, tenant_id: UUID) -> Head:
    """Where the chain ends; nobody else posts for the tenant until the end of the transaction."""
    found = await _head(tx, tenant_id, lock=True)
    if found is None:
        # Of two that post first each waits for the other to begin the chain, and goes on from where that ended it.
        await tx.execute(_BEGIN, {"tenant_id": tenant_id, "sequence": Head().sequence, "hash": Head().hash})
        found = await _head(tx, tenant_id, lock=True)
    return found or Head()


async def head(tx: Transaction, tenant_id: UUID) -> Head:
    return await _head(tx, tenant_id, lock=False) or Head()


async def append(tx: Transaction, tenant_id: UUID, added: Sequence[LedgerTransaction]) -> None:
    """Add transactions that go on from the head, and move it."""
    postings = [transaction.posting for transaction in added]
    subjects = [posting.subject for posting in postings]
    causes = [posting.cause for posting in postings]
    versions = [cause.deal_version for cause in causes]
    entries = [
        (transaction.sequence, line, entry)
        for transaction in added
        for line, entry in enumerate(transaction.posting.entries, start=1)
    ]
    await tx.execute(
        _APPEND,
        {
            "tenant_id": tenant_id,
            "posted_at": added[0].posted_at,
            "sequences": [transaction.sequence for transaction in added],
            "kinds": [posting.kind for posting in postings],
            "subject_kinds": [subject.kind for subject in subjects],
            "subjects": [subject.id for subject in subjects],
            "people": [subject.person_id for subject in subjects],
            "plans": [subject.plan_id for subject in subjects],
            "components": [subject.component for subject in subjects],
            "starts": [None if posting.period is None else posting.period.start for posting in postings],
            "ends": [None if posting.period is None else posting.period.end for posting in postings],
            "open_starts": [None if posting.posted_in is None else posting.posted_in.start for posting in postings],
            "open_ends": [None if posting.posted_in is None else posting.posted_in.end for posting in postings],
            "causes": [cause.kind for cause in causes],
            "deals": [cause.deal_id for cause in causes],
            "modified": [None if version is None else version.modified_at for version in versions],
            "deal_sequences": [None if version is None else version.sequence for version in versions],
            "deliveries": [None if version is None else version.delivery_id for version in versions],
            "changes": [json.dumps(cause.changes) for cause in causes],
            "hashes": [transaction.hash for transaction in added],
            "entry_sequences": [sequence for sequence, _, _ in entries],
            "lines": [line for _, line, _ in entries],
            "accounts": [str(entry.account) for _, _, entry in entries],
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
    subject_id: UUID | None = None,
    deal_id: UUID | None = None,
    posted_in: date | None = None,
    origin: date | None = None,
    correcting: Period | None = None,
    correcting_in: Period | None = None,
) -> list[LedgerTransaction]:
    """Transactions with their entries in the order they were posted, those of some people (None: everyone) only."""
    table = ledger_transactions
    conditions: list[ColumnElement[bool]] = [table.c.tenant_id == tenant_id, table.c.sequence > after]
    if people is not None:
        conditions.append(table.c.person_id.in_(people))
    for column, value in ((table.c.plan_id, plan_id), (table.c.subject_id, subject_id), (table.c.deal_id, deal_id)):
        if value is not None:
            conditions.append(column == value)
    if posted_in is not None:
        conditions += [table.c.posted_in_start <= posted_in, table.c.posted_in_end > posted_in]
    if origin is not None:
        conditions += [table.c.period_start <= origin, table.c.period_end > origin]
    if correcting is not None:
        conditions += [
            table.c.period_end > correcting.start,
            table.c.period_end <= correcting.end,
            table.c.posted_in_end > correcting.end,
            # A payout run's own postings come after the cut-off and correct nothing.
            func.coalesce(table.c.subject_kind, EARNING) == EARNING,
        ]
    if correcting_in is not None:
        conditions += [
            table.c.period_end <= correcting_in.start,
            table.c.posted_in_end > correcting_in.start,
            table.c.posted_in_end <= correcting_in.end,
        ]
    rows = await tx.rows(select(table).where(*conditions).order_by(table.c.sequence).limit(limit))
    entries: dict[int, list[Entry]] = {row["sequence"]: [] for row in rows}
    for row in await tx.rows(_ENTRIES, {"tenant_id": tenant_id, "sequences": list(entries)}):
        entries[row["sequence"]].append(Entry(Account.of(row["account"]), row["amount"], row["currency"]))
    return [_transaction(row, tuple(entries[row["sequence"]])) for row in rows]


async def cut_off(tx: Transaction, tenant_id: UUID, head: Head, opens: Period) -> None:
    values = {"sequence": head.sequence, "hash": head.hash, "open_start": opens.start, "open_end": opens.end}
    await tx.execute(_CUT_OFF, {"tenant_id": tenant_id, **values})


async def posted(
    tx: Transaction,
    tenant_id: UUID,
    account_kind: str,
    subject_kind: str,
    *,
    after: date,
    until: date,
    people: Collection[UUID] | None,
) -> list[Posted]:
    """What was posted on accounts of a kind about subjects of a kind, in pay periods that end in (after, until]."""
    parameters = {"account_kind": account_kind, "subject_kind": subject_kind, "after": after, "until": until}
    if people is None:
        rows = await tx.rows(_POSTED, {"tenant_id": tenant_id, **parameters})
    else:
        rows = await tx.rows(_POSTED_OF, {"tenant_id": tenant_id, "people": sorted(people), **parameters})
    return [
        Posted(
            row["subject_id"],
            row["person_id"],
            row["plan_id"],
            row["component"],
            Period(row["origin_start"], row["origin_end"]),
            row["posted_until"],
            row["currency"],
            row["amount"],
        )
        for row in rows
    ]


async def movements(tx: Transaction, tenant_id: UUID, *, after: date, until: date) -> list[Movement]:
    """What was posted on every account, by person, in pay periods that end in (after, until]."""
    rows = await tx.rows(_MOVEMENTS, {"tenant_id": tenant_id, "after": after, "until": until})
    return [
        Movement(row["posted_until"], row["account"], row["person_id"], row["currency"], row["amount"]) for row in rows
    ]


async def earned_on_deals(
    tx: Transaction, tenant_id: UUID, subject_kind: str, *, after: date, until: date
) -> list[EarnedOnDeal]:
    """What became payable about subjects of a kind in pay periods that end in (after, until], deal by deal."""
    parameters = {"tenant_id": tenant_id, "subject_kind": subject_kind, "after": after, "until": until}
    rows = await tx.rows(_EARNED_ON_DEALS, parameters)
    return [EarnedOnDeal(**row) for row in rows]


async def count_posted(tx: Transaction, tenant_id: UUID, *, after: date, until: date, sequence: int) -> int:
    """How many transactions behind that one are posted in pay periods that end in (after, until]."""
    row = await tx.one_or_none(
        _COUNT_POSTED, {"tenant_id": tenant_id, "after": after, "until": until, "sequence": sequence}
    )
    return 0 if row is None else int(row["count"])


async def balances(
    tx: Transaction, tenant_id: UUID, account_kind: str, subject_ids: Collection[UUID]
) -> dict[UUID, dict[str, Decimal]]:
    """What the entries on accounts of a kind sum to, by subject and currency."""
    subjects = {"subjects": sorted(subject_ids)}
    return _by_subject(await tx.rows(_BALANCES_OF, {"tenant_id": tenant_id, "account_kind": account_kind, **subjects}))


async def balances_of_kind(
    tx: Transaction, tenant_id: UUID, account_kind: str, subject_kind: str
) -> dict[UUID, dict[str, Decimal]]:
    """The same of every subject of a kind."""
    kinds = {"account_kind": account_kind, "subject_kind": subject_kind}
    return _by_subject(await tx.rows(_BALANCES_OF_KIND, {"tenant_id": tenant_id, **kinds}))


async def first_posted_in(tx: Transaction, tenant_id: UUID) -> date | None:
    """The first day of the earliest pay period in which anything was posted; of transactions that name one."""
    table = ledger_transactions
    statement = (
        select(table.c.posted_in_start)
        .where(table.c.tenant_id == tenant_id, table.c.posted_in_end.is_not(None))
        .order_by(table.c.posted_in_end)
        .limit(1)
    )
    row = await tx.one_or_none(statement)
    return None if row is None else row["posted_in_start"]


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant that has a ledger, as far as the transaction sees tenants."""
    rows = await tx.rows(select(ledger_heads.c.tenant_id).order_by(ledger_heads.c.tenant_id))
    return [row["tenant_id"] for row in rows]


async def _head(tx: Transaction, tenant_id: UUID, *, lock: bool) -> Head | None:
    statement = select(ledger_heads).where(ledger_heads.c.tenant_id == tenant_id)
    row = await tx.one_or_none(statement.with_for_update() if lock else statement)
    return None if row is None else Head(row["sequence"], row["hash"], _period(row["open_start"], row["open_end"]))


def _period(start: date | None, end: date | None) -> Period | None:
    return None if start is None or end is None else Period(start, end)


def _by_subject(rows: Sequence[RowMapping]) -> dict[UUID, dict[str, Decimal]]:
    found: dict[UUID, dict[str, Decimal]] = {}
    for row in rows:
        found.setdefault(row["subject_id"], {})[row["currency"]] = row["balance"]
    return found


def _transaction(row: RowMapping, entries: tuple[Entry, ...]) -> LedgerTransaction:
    version = None
    if row["delivery_id"] is not None:
        version = RecordVersion(row["deal_modified_at"], row["deal_sequence"], row["delivery_id"])
    posting = Posting(
        row["kind"] or EARNED,
        entries,
        Subject(row["subject_kind"] or EARNING, row["subject_id"], row["person_id"], row["plan_id"], row["component"]),
        _period(row["period_start"], row["period_end"]),
        Cause(row["cause"], row["deal_id"], version, tuple(row["changes"])),
        _period(row["posted_in_start"], row["posted_in_end"]),
    )
    return LedgerTransaction(row["tenant_id"], row["sequence"], row["posted_at"], posting, row["hash"])
