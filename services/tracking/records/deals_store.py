"""Every statement on deals and their versions."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple, cast
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, text

from services.tracking.records.domain.deals import DealFilter, UncreditedReason
from services.tracking.records.snapshot_sql import SnapshotSql
from shared.contracts.base import Correction
from shared.contracts.deals import Deal, Payment, Product, Split
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, DealKind, DealStatus, DealVersion
from shared.kernel.deals import Payment as PaymentFacts
from shared.kernel.deals import Split as SplitFacts
from shared.kernel.errors import Conflict
from shared.kernel.org import CrmUser

_Text = str | None
_Number = Decimal | None
_Instant = datetime | None
_Day = date | None
_Columns = tuple[
    UUID, UUID, datetime, int, UUID, UUID, datetime, str, str, str, str,
    _Text, _Text, _Number, _Text, _Number, _Instant, _Day, _Instant, _Day, _Text, _Text, _Number,
    _Text, _Text, _Text, _Text, _Text, _Text, _Text, _Text, _Text,
    _Number, _Text, _Text, _Number, _Text, _Instant,
]  # fmt: skip

_SPLITS: Final = TypeAdapter(tuple[Split, ...])
_PRODUCTS: Final = TypeAdapter(tuple[Product, ...])
_CUSTOM: Final = TypeAdapter(dict[str, str])
_PAYMENTS: Final = TypeAdapter(tuple[Payment, ...])
_CORRECTIONS: Final = TypeAdapter(tuple[Correction, ...])

_KINDS: Final = {kind.value: kind for kind in DealKind}
_STATUSES: Final = {status.value: status for status in DealStatus}
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
    "home_amount": "numeric",
    "home_currency": "text",
    "payments": "jsonb",
    "paid_amount": "numeric",
    "corrections": "jsonb",
    "expected_close_at": "timestamptz",
}
_KEEP_SPLIT_USERS: Final = text(
    """
    INSERT INTO tracking.deal_split_users (tenant_id, source, external_id, deal_id)
    SELECT * FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:sources AS text[]), CAST(:users AS text[]), CAST(:deal_ids AS uuid[])
    )
    ON CONFLICT DO NOTHING
    """
)
_SQL: Final = SnapshotSql("deals", "deal_versions", _TYPES)
_RECORD: Final = _SQL.record()
_FIND: Final = _SQL.find()
_BROUGHT: Final = _SQL.brought()
_FIND_ALL: Final = _SQL.find_all()
_AFTER: Final = _SQL.after()
_TENANTS: Final = text("SELECT tenant_id FROM tracking.deals GROUP BY tenant_id ORDER BY tenant_id")
_NEWEST_VERSIONS: Final = text(
    """
    SELECT deal_id, modified_at, sequence, delivery_id FROM tracking.deals
    WHERE tenant_id = :tenant_id AND deal_id > :after
        AND (CAST(:until AS uuid) IS NULL OR deal_id <= CAST(:until AS uuid))
    ORDER BY deal_id LIMIT :limit
    """
)


def columns_of(alias: str) -> str:
    """The select list of a deal or a version, as `facts_of` reads it."""
    return _SQL.columns_of(alias)


class RecordedTogether(Conflict):
    """Two transactions recorded versions of one deal at the same time; this one must be done again."""

    code = "deals_recorded_together"
    title = "Deals recorded together"


async def record(
    tx: Transaction, versions: Sequence[Deal], newest: Sequence[bool]
) -> list[tuple[Deal, DealFacts | None]]:
    """Append versions, and keep those marked `newest` where they are newer than what is held.

    Those marked `newest`, in the order given, each with what was held of its deal before. `versions` are distinct and
    sorted by tenant, deal and version; `newest` marks at most one of each deal. Raises RecordedTogether when what was
    held changed while the statement ran.
    """
    parameters = dict(zip(_TYPES, zip(*map(_values, versions), strict=True), strict=True))
    result = await tx.execute(_RECORD, {**parameters, "newest": newest, "recorded_at": tx.now})
    await _keep_split_users(tx, versions)
    rows = result.all()
    held = {(columns[0], columns[1]): facts_of(columns) for _, *columns in rows if columns[0] is not None}
    marked = [
        (deal, held.get((deal.tenant_id, deal.id)))
        for deal, is_newest in zip(versions, newest, strict=True)
        if is_newest
    ]
    if sum(before is None or before.version < deal.version for deal, before in marked) != rows[0][0]:
        raise RecordedTogether("Deals were changed by another transaction at the same time.")
    return marked


async def _keep_split_users(tx: Transaction, versions: Sequence[Deal]) -> None:
    users = sorted(
        {(deal.tenant_id, deal.source, split.owner_external_id, deal.id) for deal in versions for split in deal.splits}
    )
    if users:
        names = ("tenant_ids", "sources", "users", "deal_ids")
        columns = (list(column) for column in zip(*users, strict=True))
        await tx.execute(_KEEP_SPLIT_USERS, dict(zip(names, columns, strict=True)))


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
        deal.kind,
        deal.status,
        deal.owner_external_id,
        deal.name,
        deal.amount,
        deal.currency,
        deal.quantity,
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
        deal.home_amount,
        deal.home_currency,
        _PAYMENTS.dump_json(deal.payments).decode() if deal.payments else None,
        deal.paid_amount,
        _CORRECTIONS.dump_json(deal.corrections).decode() if deal.corrections else None,
        deal.expected_close_at,
    )


def facts_of(columns: Sequence[object]) -> DealFacts:
    """The facts in the columns that `columns_of` selects, in their order."""
    (
        _,
        deal_id,
        modified_at,
        sequence,
        delivery_id,
        _,
        _,
        source,
        external_id,
        kind,
        status,
        owner_external_id,
        name,
        amount,
        currency,
        quantity,
        created_at,
        expected_close_on,
        closed_at,
        closed_on,
        stage,
        pipeline,
        probability,
        deal_type,
        channel,
        region,
        account_id,
        account_name,
        _,
        splits,
        _,
        custom,
        home_amount,
        home_currency,
        payments,
        _,
        _,
        expected_close_at,
    ) = cast(_Columns, columns)
    return DealFacts(
        deal_id,
        source,
        external_id,
        DealVersion(modified_at, sequence, delivery_id),
        _KINDS[kind],
        _STATUSES[status],
        owner_external_id,
        name,
        amount,
        currency,
        quantity,
        created_at,
        expected_close_on,
        closed_at,
        closed_on,
        stage,
        pipeline,
        probability,
        deal_type,
        channel,
        region,
        account_id,
        account_name,
        {} if custom is None else _CUSTOM.validate_json(custom),
        () if splits is None else _split_facts(_SPLITS.validate_json(splits)),
        home_amount,
        home_currency,
        () if payments is None else _payment_facts(_PAYMENTS.validate_json(payments)),
        expected_close_at,
    )


def _split_facts(splits: Sequence[Split]) -> tuple[SplitFacts, ...]:
    return tuple(SplitFacts(split.owner_external_id, split.percent, split.role) for split in splits)


def _payment_facts(payments: Sequence[Payment]) -> tuple[PaymentFacts, ...]:
    return tuple(PaymentFacts(payment.paid_on, payment.amount, payment.paid_at) for payment in payments)


class RecordedVersion(NamedTuple):
    """A version of a deal and when it was recorded."""

    deal: Deal
    recorded_at: datetime


_OWNERS: Final = "SELECT * FROM unnest(CAST(:{0}_sources AS text[]), CAST(:{0}_ids AS text[]))"


_NOT_MAPPED: Final = (
    f"NOT EXISTS (SELECT FROM ({_OWNERS.format('mapped')}) AS m(s, i) WHERE m.s = r.source AND m.i = {{}})"
)
_OWNED_BY_NOBODY: Final = f"(r.owner_external_id IS NULL OR {_NOT_MAPPED.format('r.owner_external_id')})"
_SHARED_WITH_NOBODY: Final = (
    "EXISTS (SELECT FROM jsonb_to_recordset(r.splits) AS split(owner_external_id text, percent numeric)"
    f" WHERE split.percent <> 0 AND {_NOT_MAPPED.format('split.owner_external_id')})"
)
_SEEN: Final = f"({_OWNERS.format('seen')})"
_CONCERNS_SEEN: Final = (
    f"AND ((r.source, r.owner_external_id) IN {_SEEN} OR r.splits IS NOT NULL AND EXISTS (SELECT FROM"
    f" jsonb_array_elements(r.splits) AS s WHERE (r.source, s ->> 'owner_external_id') IN {_SEEN}))"
)
# Of few users the deals are looked up by theirs; of many, most deals are, and the first page of them is soon read.
_LOOKED_UP_USERS_MAX: Final = 50
_OF_SEEN: Final = f"""
    AND r.deal_id = ANY(ARRAY(
        SELECT owned.deal_id FROM {_SEEN} AS named(source, user_id)
        CROSS JOIN LATERAL (
            SELECT d.deal_id FROM tracking.deals AS d
            WHERE d.owner_external_id = named.user_id AND d.source = named.source AND d.tenant_id = :tenant_id
                AND d.deal_id > :after OFFSET 0
        ) AS owned
        UNION
        SELECT shared.deal_id FROM {_SEEN} AS named(source, user_id)
        CROSS JOIN LATERAL (
            SELECT s.deal_id FROM tracking.deal_split_users AS s
            WHERE s.tenant_id = :tenant_id AND s.source = named.source AND s.external_id = named.user_id
                AND s.deal_id > :after OFFSET 0
        ) AS shared
    ))
    {_CONCERNS_SEEN}
"""
_GAPS: Final = {
    UncreditedReason.OWNER_MISSING: "r.splits IS NULL AND r.owner_external_id IS NULL",
    UncreditedReason.OWNER_UNKNOWN: f"r.splits IS NULL AND r.owner_external_id IS NOT NULL AND {_OWNED_BY_NOBODY}",
    UncreditedReason.SPLIT_UNKNOWN: _SHARED_WITH_NOBODY,
    UncreditedReason.NO_CURRENCY: "r.amount IS NOT NULL AND r.currency IS NULL",
    UncreditedReason.NO_CLOSE_DATE: "r.closed_on IS NULL AND r.closed_at IS NULL",
}


async def page(
    tx: Transaction,
    tenant_id: UUID,
    users: Collection[CrmUser] | None,
    wanted: DealFilter,
    *,
    after: UUID | None,
    limit: int,
) -> list[Deal]:
    """Deals that concern one of some users (None: all deals), by id."""
    conditions = []
    parameters: dict[str, object] = {"tenant_id": tenant_id, "after": after or UUID(int=0), "limit": limit}
    if users is not None:
        conditions.append(_OF_SEEN if len(users) <= _LOOKED_UP_USERS_MAX else _CONCERNS_SEEN)
        parameters |= _owners("seen", users)
    if wanted.status is not None:
        conditions.append("AND r.status = :status")
        parameters["status"] = wanted.status.value
    if wanted.source is not None:
        conditions.append("AND r.source = :source")
        parameters["source"] = wanted.source
    if wanted.owner_external_id is not None:
        conditions.append("AND r.owner_external_id = :owner")
        parameters["owner"] = wanted.owner_external_id
    if wanted.connection_id is not None:
        conditions.append("AND r.connection_id = :connection_id")
        parameters["connection_id"] = wanted.connection_id
    if wanted.unmapped:
        conditions.append(f"AND ({_OWNED_BY_NOBODY} OR {_SHARED_WITH_NOBODY})")
    if wanted.uncredited is not None:
        conditions.append(f"AND r.status = 'won' AND r.kind IN ('upserted', 'restored') AND {_GAPS[wanted.uncredited]}")
    if wanted.unmapped or wanted.uncredited in (UncreditedReason.OWNER_UNKNOWN, UncreditedReason.SPLIT_UNKNOWN):
        parameters |= _owners("mapped", wanted.mapped)
    rows = await tx.rows(_SQL.page(" ".join(conditions)), parameters)
    return [_event(row) for row in rows]


async def find(tx: Transaction, tenant_id: UUID, deal_id: UUID) -> Deal | None:
    """The newest version of a deal of the tenant."""
    row = await tx.one_or_none(_FIND, {"tenant_id": tenant_id, "id": deal_id})
    return None if row is None else _event(row)


async def find_all(tx: Transaction, keys: Collection[tuple[UUID, UUID]]) -> list[Deal]:
    """The newest versions of these deals (tenant, deal), in their order; those that are not held are left out."""
    ordered = sorted(keys)
    parameters = {"tenant_ids": [tenant for tenant, _ in ordered], "ids": [deal for _, deal in ordered]}
    return [_event(row) for row in await tx.rows(_FIND_ALL, parameters)]


async def after(tx: Transaction, key: tuple[UUID, UUID], *, limit: int) -> list[Deal]:
    """The newest versions of the next deals of every tenant in the transaction's scope, by tenant and deal."""
    parameters = {"after_tenant_id": key[0], "after_id": key[1], "limit": limit}
    return [_event(row) for row in await tx.rows(_AFTER, parameters)]


async def is_brought_by(tx: Transaction, tenant_id: UUID, deal_id: UUID, delivery_id: UUID) -> bool:
    """Whether the delivery brought a version of the deal."""
    parameters = {"tenant_id": tenant_id, "id": deal_id, "delivery_id": delivery_id}
    return await tx.one_or_none(_BROUGHT, parameters) is not None


async def tenants(tx: Transaction) -> list[UUID]:
    """The tenants in scope that have deals."""
    return [row["tenant_id"] for row in await tx.rows(_TENANTS)]


async def newest_versions(
    tx: Transaction, tenant_id: UUID, *, after: UUID, until: UUID | None, limit: int
) -> list[tuple[UUID, DealVersion]]:
    """The newest version of the tenant's next deals by id, up to and with `until`."""
    rows = await tx.rows(_NEWEST_VERSIONS, {"tenant_id": tenant_id, "after": after, "until": until, "limit": limit})
    return [(row["deal_id"], DealVersion(row["modified_at"], row["sequence"], row["delivery_id"])) for row in rows]


async def versions(
    tx: Transaction, tenant_id: UUID, deal_id: UUID, *, before: tuple[datetime, int, UUID] | None, limit: int
) -> list[RecordedVersion]:
    """Versions of a deal of the tenant, newest first."""
    parameters: dict[str, object] = {"tenant_id": tenant_id, "id": deal_id, "limit": limit}
    conditions = ""
    if before is not None:
        conditions = "AND (v.modified_at, v.sequence, v.delivery_id) < (:modified_at, :sequence, :delivery_id)"
        parameters |= dict(zip(("modified_at", "sequence", "delivery_id"), before, strict=True))
    rows = await tx.rows(_SQL.versions(conditions), parameters)
    return [RecordedVersion(_event(row), row["recorded_at"]) for row in rows]


def _owners(name: str, users: Collection[CrmUser]) -> dict[str, object]:
    ordered = sorted(users)
    return {
        f"{name}_sources": [user.source for user in ordered],
        f"{name}_ids": [user.external_id for user in ordered],
    }


def _event(row: RowMapping) -> Deal:
    return Deal.model_validate(
        {
            **row,
            "id": row["deal_id"],
            "splits": () if row["splits"] is None else _SPLITS.validate_json(row["splits"]),
            "products": () if row["products"] is None else _PRODUCTS.validate_json(row["products"]),
            "custom": {} if row["custom"] is None else _CUSTOM.validate_json(row["custom"]),
            "payments": () if row["payments"] is None else _PAYMENTS.validate_json(row["payments"]),
            "corrections": () if row["corrections"] is None else _CORRECTIONS.validate_json(row["corrections"]),
        }
    )
