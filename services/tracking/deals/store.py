"""Every statement on deals and their versions."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, text

from shared.contracts.deals import Deal, Product, Split
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, DealKind, DealStatus, DealVersion
from shared.kernel.deals import Split as SplitFacts

DealKey = tuple[UUID, UUID]
"""Tenant and deal."""

_SPLITS: Final = TypeAdapter(tuple[Split, ...])
_PRODUCTS: Final = TypeAdapter(tuple[Product, ...])
_CUSTOM: Final = TypeAdapter(dict[str, str])

_TYPES: Final = {
    "tenant_id": "uuid",
    "deal_id": "uuid",
    "modified_at": "timestamptz",
    "sequence": "bigint",
    "delivery_id": "uuid",
    "connection_id": "uuid",
    "received_at": "timestamptz",
    "source": "text",
    "external_id": "text",
    "kind": "text",
    "status": "text",
    "owner_external_id": "text",
    "name": "text",
    "amount": "numeric",
    "currency": "text",
    "quantity": "numeric",
    "created_at": "timestamptz",
    "expected_close_on": "date",
    "closed_at": "timestamptz",
    "closed_on": "date",
    "stage": "text",
    "pipeline": "text",
    "probability": "numeric",
    "type": "text",
    "channel": "text",
    "region": "text",
    "account_id": "text",
    "account_name": "text",
    "merged_into": "text",
    "splits": "jsonb",
    "products": "jsonb",
    "custom": "jsonb",
}
_JSON: Final = frozenset(name for name, kind in _TYPES.items() if kind == "jsonb")
_KEY: Final = ("tenant_id", "deal_id")
_COLUMNS: Final = ", ".join(_TYPES)
_READ: Final = ", ".join(f"{{0}}.{name}::text AS {name}" if name in _JSON else f"{{0}}.{name}" for name in _TYPES)


def columns_of(alias: str) -> str:
    """The select list of a deal or a version, as `facts_of` reads it."""
    return _READ.format(alias)


def _incoming() -> str:
    arrays = ", ".join(f"CAST(:{name} AS {'text' if name in _JSON else kind}[])" for name, kind in _TYPES.items())
    names = ", ".join(_TYPES)
    values = ", ".join(f"CAST({name} AS jsonb) AS {name}" if name in _JSON else name for name in _TYPES)
    return f"SELECT {values}, newest FROM unnest({arrays}, CAST(:newest AS boolean[])) AS t({names}, newest)"


# Every part of one statement sees the rows as they were before it, so `before` is what the upsert replaces.
_RECORD: Final = text(
    f"""
    WITH incoming AS MATERIALIZED ({_incoming()}),
    before AS (
        SELECT {columns_of("held")}
        FROM incoming JOIN tracking.deals AS held USING (tenant_id, deal_id)
        WHERE incoming.newest
    ),
    versions AS (
        INSERT INTO tracking.deal_versions ({_COLUMNS}, recorded_at)
        SELECT {_COLUMNS}, :recorded_at FROM incoming
        ON CONFLICT DO NOTHING
    ),
    kept AS (
        INSERT INTO tracking.deals AS held ({_COLUMNS})
        SELECT {_COLUMNS} FROM incoming WHERE newest
        ON CONFLICT (tenant_id, deal_id) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in _TYPES if name not in _KEY)}
        WHERE (held.modified_at, held.sequence, held.delivery_id)
            < (excluded.modified_at, excluded.sequence, excluded.delivery_id)
        RETURNING tenant_id, deal_id
    )
    SELECT kept.tenant_id AS kept_tenant_id, kept.deal_id AS kept_deal_id, before.*
    FROM kept LEFT JOIN before USING (tenant_id, deal_id)
    """
)


async def record(
    tx: Transaction, versions: Sequence[Deal], newest: Collection[tuple[DealKey, DealVersion]]
) -> dict[DealKey, DealFacts | None]:
    """Append versions and keep those of `newest` that are newer than what is held; what was held, where replaced.

    `versions` are distinct and sorted by key and version; `newest` names at most one for a deal.
    """
    parameters: dict[str, object] = {name: [] for name in _TYPES}
    columns = list(zip(*(_values(deal) for deal in versions), strict=True))
    parameters.update(zip(_TYPES, columns, strict=True))
    parameters["newest"] = [((deal.tenant_id, deal.id), deal.version) in newest for deal in versions]
    parameters["recorded_at"] = tx.now
    rows = await tx.rows(_RECORD, parameters)
    return {
        (row["kept_tenant_id"], row["kept_deal_id"]): None if row["deal_id"] is None else facts_of(row) for row in rows
    }


def _values(deal: Deal) -> tuple[object, ...]:
    """The event in the order of the columns."""
    return (
        deal.tenant_id,
        deal.id,
        deal.modified_at,
        deal.sequence,
        deal.delivery_id,
        deal.connection_id,
        deal.received_at,
        deal.source,
        deal.external_id,
        deal.kind.value,
        deal.status.value,
        deal.owner_external_id,
        deal.name,
        deal.amount,
        deal.currency,
        sum((line.quantity for line in deal.products), Decimal(0)) if deal.products else None,
        deal.created_at,
        deal.expected_close_on,
        deal.closed_at,
        deal.closed_on,
        deal.stage,
        deal.pipeline,
        deal.probability,
        deal.type,
        deal.channel,
        deal.region,
        deal.account_id,
        deal.account_name,
        deal.merged_into,
        _SPLITS.dump_json(deal.splits).decode() if deal.splits else None,
        _PRODUCTS.dump_json(deal.products).decode() if deal.products else None,
        _CUSTOM.dump_json(deal.custom).decode() if deal.custom else None,
    )


def facts_of(row: RowMapping) -> DealFacts:
    """The facts in a row that was read with `columns_of`."""
    splits = _SPLITS.validate_json(row["splits"]) if row["splits"] else ()
    return DealFacts(
        deal_id=row["deal_id"],
        source=row["source"],
        external_id=row["external_id"],
        version=DealVersion(row["modified_at"], row["sequence"], row["delivery_id"]),
        kind=DealKind(row["kind"]),
        status=DealStatus(row["status"]),
        owner_external_id=row["owner_external_id"],
        name=row["name"],
        amount=row["amount"],
        currency=row["currency"],
        quantity=row["quantity"],
        created_at=row["created_at"],
        expected_close_on=row["expected_close_on"],
        closed_at=row["closed_at"],
        closed_on=row["closed_on"],
        stage=row["stage"],
        pipeline=row["pipeline"],
        probability=row["probability"],
        deal_type=row["type"],
        channel=row["channel"],
        region=row["region"],
        account_id=row["account_id"],
        account_name=row["account_name"],
        custom=_CUSTOM.validate_json(row["custom"]) if row["custom"] else {},
        splits=tuple(SplitFacts(split.owner_external_id, split.percent, split.role) for split in splits),
    )
