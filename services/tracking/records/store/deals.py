"""The statements that only deals need: whom their splits name, and which of them nobody is credited with."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import text

from services.tracking.records.columns import DEAL_COLUMNS
from services.tracking.records.domain.records import DealFilter
from services.tracking.records.domain.uncredited import UncreditedReason
from services.tracking.records.store.records import RecordStore, StoredRows
from services.tracking.records.tables import deal_versions, deals
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.deals import DealFacts, RecordVersion
from shared.kernel.org import CrmUser


class Sum(NamedTuple):
    """What deals come to in one currency; None for those that state none."""

    currency: str | None
    amount: Decimal


class UnmappedOwner(NamedTuple):
    """A user of a source that no identity names, and the deals it owns or shares in."""

    external_id: str
    deals: int
    amounts: tuple[Sum, ...]


_STORE_SPLIT_USERS: Final = text(
    """
    INSERT INTO tracking.deal_split_users (tenant_id, source, external_id, deal_id)
    SELECT * FROM unnest(
        CAST(:tenant_ids AS uuid[]), CAST(:sources AS text[]), CAST(:users AS text[]), CAST(:deal_ids AS uuid[])
    )
    ON CONFLICT DO NOTHING
    """
)
_NEWEST_VERSIONS: Final = text(
    """
    SELECT deal_id, modified_at, sequence, delivery_id FROM tracking.deals
    WHERE tenant_id = :tenant_id AND deal_id > :after
        AND (CAST(:until AS uuid) IS NULL OR deal_id <= CAST(:until AS uuid))
    ORDER BY deal_id LIMIT :limit
    """
)
_AMOUNTS: Final = TypeAdapter(list[tuple[str | None, Decimal]])
_OWNED: Final = """
    SELECT d.deal_id, d.currency, d.amount, owner.external_id
    FROM tracking.deals AS d CROSS JOIN LATERAL (
        SELECT d.owner_external_id AS external_id
        UNION SELECT split ->> 'owner_external_id' FROM jsonb_array_elements(coalesce(d.splits, '[]')) AS split
    ) AS owner
    WHERE d.tenant_id = :tenant_id AND d.connection_id = :connection_id AND d.kind IN ('upserted', 'restored')
"""
_UNMAPPED_OWNERS: Final = text(
    f"""
    WITH unmapped AS (
        SELECT * FROM ({_OWNED}) AS owned WHERE external_id IS NOT NULL AND external_id <> ALL(:known)
    ), by_currency AS (
        SELECT external_id, currency, count(*) AS deals, coalesce(sum(amount), 0) AS amount
        FROM unmapped GROUP BY external_id, currency
    )
    SELECT external_id, sum(deals)::bigint AS deals, count(*) OVER () AS owners,
        jsonb_agg(jsonb_build_array(currency, amount::text) ORDER BY currency)::text AS amounts
    FROM by_currency GROUP BY external_id ORDER BY sum(deals) DESC, external_id LIMIT :limit
    """
)
_WITHOUT_OWNER: Final = text(
    """
    SELECT count(*) AS deals FROM tracking.deals
    WHERE tenant_id = :tenant_id AND connection_id = :connection_id AND kind IN ('upserted', 'restored')
        AND owner_external_id IS NULL AND splits IS NULL
    """
)

_USERS_OF: Final = "SELECT * FROM unnest(CAST(:{0}_sources AS text[]), CAST(:{0}_ids AS text[]))"
_NOT_MAPPED: Final = (
    f"NOT EXISTS (SELECT FROM ({_USERS_OF.format('mapped')}) AS m(s, i) WHERE m.s = r.source AND m.i = {{}})"
)
_OWNED_BY_NOBODY: Final = f"(r.owner_external_id IS NULL OR {_NOT_MAPPED.format('r.owner_external_id')})"
_SHARED_WITH_NOBODY: Final = (
    "EXISTS (SELECT FROM jsonb_to_recordset(r.splits) AS split(owner_external_id text, percent numeric)"
    f" WHERE split.percent <> 0 AND {_NOT_MAPPED.format('split.owner_external_id')})"
)
_SEEN: Final = f"({_USERS_OF.format('seen')})"
_CONCERNS_SEEN: Final = (
    f"((r.source, r.owner_external_id) IN {_SEEN} OR r.splits IS NOT NULL AND EXISTS (SELECT FROM"
    f" jsonb_array_elements(r.splits) AS s WHERE (r.source, s ->> 'owner_external_id') IN {_SEEN}))"
)
# Of few users the deals are looked up by theirs; of many, most deals are, and the first page of them is soon read.
_LOOKED_UP_USERS_MAX: Final = 50
_OF_SEEN: Final = f"""
    r.deal_id = ANY(ARRAY(
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
    AND {_CONCERNS_SEEN}
"""
_GAPS: Final = {
    UncreditedReason.OWNER_MISSING: "r.splits IS NULL AND r.owner_external_id IS NULL",
    UncreditedReason.OWNER_UNKNOWN: f"r.splits IS NULL AND r.owner_external_id IS NOT NULL AND {_OWNED_BY_NOBODY}",
    UncreditedReason.SPLIT_UNKNOWN: _SHARED_WITH_NOBODY,
    UncreditedReason.NO_CURRENCY: "r.amount IS NOT NULL AND r.currency IS NULL",
    UncreditedReason.NO_CLOSE_DATE: "r.closed_on IS NULL AND r.closed_at IS NULL",
}


class DealStore(RecordStore[Deal, DealFacts, DealFilter]):
    """The statements on deals."""

    def __init__(self) -> None:
        super().__init__(Deal, DealFacts, DEAL_COLUMNS, deals, deal_versions)
        # The stored day is in UTC, at most one day away from the business date.
        self._won_or_open = text(
            f"""
            SELECT {self._read_facts("r")} FROM {deals.fullname} AS r
            WHERE r.tenant_id = :tenant_id AND r.deal_id > :after AND {_OF_SEEN}
                AND r.kind IN ('upserted', 'restored')
                AND (r.status = 'open' OR r.status = 'won' AND r.closed_day >= CAST(:since AS date) - 1)
            ORDER BY r.deal_id LIMIT :limit
            """
        )

    async def record(self, tx: Transaction, versions: Sequence[Deal], arrays: Mapping[str, str]) -> StoredRows:
        recorded = await super().record(tx, versions, arrays)
        users = sorted(
            {
                (deal.tenant_id, deal.source, split.owner_external_id, deal.id)
                for deal in versions
                for split in deal.splits
            }
        )
        if users:
            names = ("tenant_ids", "sources", "users", "deal_ids")
            columns = (list(column) for column in zip(*users, strict=True))
            await tx.execute(_STORE_SPLIT_USERS, dict(zip(names, columns, strict=True)))
        return recorded

    async def won_or_open(
        self, tx: Transaction, tenant_id: UUID, users: Collection[CrmUser], *, since: date, after: UUID, limit: int
    ) -> list[DealFacts]:
        """The next won and open deals by id that one of the users owns or has a share of.

        Of won ones those that were closed on the day `since` or later, in whatever time zone.
        """
        parameters = {**_users("seen", users), "tenant_id": tenant_id, "since": since, "after": after, "limit": limit}
        return [self._facts_of(row) for row in (await tx.execute(self._won_or_open, parameters)).all()]

    async def newest_versions(
        self, tx: Transaction, tenant_id: UUID, *, after: UUID, until: UUID | None, limit: int
    ) -> list[tuple[UUID, RecordVersion]]:
        """The newest version of the tenant's next deals by id, up to and with `until`."""
        parameters = {"tenant_id": tenant_id, "after": after, "until": until, "limit": limit}
        return [
            (row["deal_id"], RecordVersion(row["modified_at"], row["sequence"], row["delivery_id"]))
            for row in await tx.rows(_NEWEST_VERSIONS, parameters)
        ]

    async def unmapped_owners(
        self, tx: Transaction, tenant_id: UUID, connection_id: UUID, *, known: Collection[str], limit: int
    ) -> tuple[list[UnmappedOwner], int]:
        """Owners of a connection's deals that are not `known`, those of most deals first; how many there are in all."""
        parameters = {"tenant_id": tenant_id, "connection_id": connection_id, "known": sorted(known), "limit": limit}
        rows = await tx.rows(_UNMAPPED_OWNERS, parameters)
        owners = [
            UnmappedOwner(
                row["external_id"], row["deals"], tuple(Sum(*each) for each in _AMOUNTS.validate_json(row["amounts"]))
            )
            for row in rows
        ]
        return owners, rows[0]["owners"] if rows else 0

    async def count_without_owner(self, tx: Transaction, tenant_id: UUID, connection_id: UUID) -> int:
        """How many of a connection's deals the source gives to nobody."""
        parameters = {"tenant_id": tenant_id, "connection_id": connection_id}
        count: int = (await tx.rows(_WITHOUT_OWNER, parameters))[0]["deals"]
        return count

    def _seen_by(self, users: Collection[CrmUser]) -> tuple[str, dict[str, object]]:
        return _OF_SEEN if len(users) <= _LOOKED_UP_USERS_MAX else _CONCERNS_SEEN, _users("seen", users)

    def _wanted(self, wanted: DealFilter) -> tuple[Sequence[str], dict[str, object]]:
        parameters: dict[str, object] = {
            "status": wanted.status,
            "source": wanted.source,
            "owner_external_id": wanted.owner_external_id,
            "connection_id": wanted.connection_id,
        }
        parameters = {name: value for name, value in parameters.items() if value is not None}
        conditions = [f"r.{name} = :{name}" for name in parameters]
        if wanted.unmapped:
            conditions.append(f"({_OWNED_BY_NOBODY} OR {_SHARED_WITH_NOBODY})")
        if wanted.uncredited is not None:
            conditions += ["r.status = 'won'", "r.kind IN ('upserted', 'restored')", _GAPS[wanted.uncredited]]
        if wanted.unmapped or wanted.uncredited in (UncreditedReason.OWNER_UNKNOWN, UncreditedReason.SPLIT_UNKNOWN):
            parameters |= _users("mapped", wanted.mapped)
        return conditions, parameters


def _users(name: str, users: Collection[CrmUser]) -> dict[str, object]:
    ordered = sorted(users)
    return {
        f"{name}_sources": [user.source for user in ordered],
        f"{name}_ids": [user.external_id for user in ordered],
    }
