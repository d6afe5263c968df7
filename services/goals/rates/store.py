"""Every statement on exchange rates."""

from collections.abc import Collection, Sequence
from datetime import date
from itertools import groupby
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, delete, literal, select, text, true, tuple_

from services.goals.rates.domain import Month, StatedRate, StoredRate, month_id
from services.goals.rates.tables import exchange_rate_months, exchange_rates
from shared.db.conditions import equal
from shared.db.database import Transaction
from shared.db.versioned import Key

MonthKey = tuple[str, date]
"""Currency and first day."""

_STATE: Final = text(
    f"""
    INSERT INTO {exchange_rates.fullname} AS stored (tenant_id, base_currency, currency, day, rate, changed_at)
    SELECT :tenant_id, :base_currency, currency, day, rate, :now
    FROM unnest(CAST(:currencies AS text[]), CAST(:days AS date[]), CAST(:rates AS numeric[])) AS t(currency, day, rate)
    ORDER BY currency, day
    ON CONFLICT (tenant_id, base_currency, currency, day) DO UPDATE
    SET rate = excluded.rate, changed_at = excluded.changed_at
    WHERE stored.rate <> excluded.rate
    RETURNING currency, day
    """
)
_BUMP: Final = text(
    f"""
    INSERT INTO {exchange_rate_months.fullname} AS stored (tenant_id, id, base_currency, currency, first_day, version)
    SELECT :tenant_id, id, :base_currency, currency, first_day, 1
    FROM unnest(CAST(:ids AS uuid[]), CAST(:currencies AS text[]), CAST(:first_days AS date[]))
        AS t(id, currency, first_day)
    ORDER BY id
    ON CONFLICT (tenant_id, id) DO UPDATE SET version = stored.version + 1
    """
)
_MONTHS: Final = text(
    f"""
    SELECT month.tenant_id, month.id, month.base_currency, month.currency, month.first_day, month.version,
        stated.day, stated.rate
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS wanted(tenant_id, id)
    CROSS JOIN LATERAL (
        SELECT * FROM {exchange_rate_months.fullname} AS m
        WHERE m.tenant_id = wanted.tenant_id AND m.id = wanted.id LIMIT 1
    ) AS month
    LEFT JOIN LATERAL (
        SELECT day, rate FROM {exchange_rates.fullname} AS r
        WHERE r.tenant_id = month.tenant_id AND r.base_currency = month.base_currency AND r.currency = month.currency
            AND r.day >= month.first_day AND r.day < CAST(month.first_day + interval '1 month' AS date)
        OFFSET 0
    ) AS stated ON true
    ORDER BY month.tenant_id, month.id, stated.day
    """
)


async def state(
    tx: Transaction, tenant_id: UUID, base_currency: str, rates: Collection[StatedRate]
) -> list[tuple[str, date]]:
    """Store these rates, one of a currency and day; the currency and day of those that are other ones than before."""
    rows = await tx.rows(
        _STATE,
        {
            "tenant_id": tenant_id,
            "base_currency": base_currency,
            "now": tx.now,
            "currencies": [stated.currency for stated in rates],
            "days": [stated.day for stated in rates],
            "rates": [stated.rate for stated in rates],
        },
    )
    return [(row["currency"], row["day"]) for row in rows]


async def delete_rate(tx: Transaction, tenant_id: UUID, base_currency: str, currency: str, day: date) -> bool:
    """Whether there was one."""
    columns = exchange_rates.c
    result = await tx.execute(
        delete(exchange_rates).where(
            columns.tenant_id == tenant_id,
            columns.base_currency == base_currency,
            columns.currency == currency,
            columns.day == day,
        )
    )
    return result.rowcount > 0


async def bump_months(
    tx: Transaction, tenant_id: UUID, base_currency: str, months: Collection[MonthKey]
) -> list[Month]:
    """Give these months their next version; as they are then."""
    ordered = sorted(months)
    ids = [month_id(tenant_id, base_currency, currency, first_day) for currency, first_day in ordered]
    await tx.execute(
        _BUMP,
        {
            "tenant_id": tenant_id,
            "base_currency": base_currency,
            "ids": ids,
            "currencies": [currency for currency, _ in ordered],
            "first_days": [first_day for _, first_day in ordered],
        },
    )
    return [month for _, _, month in await _months(tx, [(tenant_id, month) for month in ids])]


async def list_rates(
    tx: Transaction,
    tenant_id: UUID,
    base_currency: str,
    *,
    currency: str | None,
    start: date | None,
    end: date | None,
    after: tuple[str, date] | None,
    limit: int,
) -> list[StoredRate]:
    """Rates by currency and day; `end` is the first day that is left out."""
    columns = exchange_rates.c
    key = tuple_(columns.currency, columns.day)
    statement = (
        select(exchange_rates)
        .where(
            columns.tenant_id == tenant_id,
            columns.base_currency == base_currency,
            equal(columns.currency, currency),
            true() if start is None else columns.day >= start,
            true() if end is None else columns.day < end,
            true() if after is None else key > tuple_(literal(after[0]), literal(after[1])),
        )
        .order_by(columns.currency, columns.day)
        .limit(limit)
    )
    return [
        StoredRate(row["base_currency"], StatedRate(row["currency"], row["day"], row["rate"]), row["changed_at"])
        for row in await tx.rows(statement)
    ]


async def every_month(tx: Transaction, after: Key, limit: int) -> list[tuple[UUID, UUID, Month]]:
    """Tenant, id and month, of all tenants; none changes before the end of the transaction."""
    columns = exchange_rate_months.c
    statement = (
        select(columns.tenant_id, columns.id)
        .where(tuple_(columns.tenant_id, columns.id) > after)
        .order_by(columns.tenant_id, columns.id)
        .limit(limit)
        .with_for_update(read=True)
    )
    rows = await tx.rows(statement)
    return await _months(tx, [(row["tenant_id"], row["id"]) for row in rows])


async def _months(tx: Transaction, keys: Sequence[tuple[UUID, UUID]]) -> list[tuple[UUID, UUID, Month]]:
    rows = await tx.rows(
        _MONTHS, {"tenant_ids": [tenant_id for tenant_id, _ in keys], "ids": [month for _, month in keys]}
    )
    return [_month(list(of_month)) for _, of_month in groupby(rows, key=lambda row: (row["tenant_id"], row["id"]))]


def _month(rows: Sequence[RowMapping]) -> tuple[UUID, UUID, Month]:
    first = rows[0]
    rates = tuple((row["day"], row["rate"]) for row in rows if row["day"] is not None)
    month = Month(first["base_currency"], first["currency"], first["first_day"], first["version"], rates)
    return first["tenant_id"], first["id"], month
