"""Every statement on what people won and have open."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from services.tracking.measure.actuals.domain import ActualsKey, Sums
from shared.db.arrays import array_text
from shared.db.database import Statements, Transaction

StateKey = tuple[UUID, UUID, date]
"""Tenant, person and the first day of the month."""


class State(NamedTuple):
    """What somebody won in a month and has open for it. Equal versions are equal states."""

    tenant_id: UUID
    person_id: UUID
    month: date
    currency: str | None
    won_value: Decimal
    won_number: Decimal
    open_value: Decimal
    open_number: Decimal
    unconverted: Decimal
    version: int
    changed_at: datetime

    @property
    def sums(self) -> Sums:
        """The numbers alone."""
        return Sums(self.won_value, self.won_number, self.open_value, self.open_number, self.unconverted)


class Row(NamedTuple):
    """What is to be written of a month: by how much it changes, or what it comes to."""

    tenant_id: UUID
    key: ActualsKey
    currency: str | None
    sums: Sums
    version: int


_SUMS: Final = ("won_value", "won_number", "open_value", "open_number", "unconverted")
_NAMES: Final = ", ".join(_SUMS)
_ADD: Final = text(
    f"""
    INSERT INTO tracking.actuals_stripes AS stored
        (tenant_id, person_id, month, stripe, currency, {_NAMES}, version, changed_at, is_due)
    SELECT tenant_id, person_id, month, :stripe, currency, {_NAMES}, version, :now, true
    FROM unnest(
        CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:person_ids AS text) AS uuid[]),
        CAST(CAST(:months AS text) AS date[]), CAST(CAST(:currencies AS text) AS text[]),
        {", ".join(f"CAST(CAST(:{name} AS text) AS numeric[])" for name in _SUMS)},
        CAST(CAST(:versions AS text) AS bigint[])
    ) AS moved(tenant_id, person_id, month, currency, {_NAMES}, version)
    ON CONFLICT (tenant_id, person_id, month, stripe) DO UPDATE SET
        currency = excluded.currency,
        {", ".join(f"{name} = stored.{name} + excluded.{name}" for name in _SUMS)},
        version = stored.version + excluded.version,
        changed_at = excluded.changed_at,
        is_due = true
    """
)
_SUMMED: Final = f"""
    min(stripe.currency) AS currency, {", ".join(f"sum(stripe.{name}) AS {name}" for name in _SUMS)},
    CAST(sum(stripe.version) AS bigint) AS version, max(stripe.changed_at) AS changed_at
"""
_IS_OUTDATED: Final = """EXISTS (
    SELECT FROM tracking.actuals_outdated AS outdated
    WHERE outdated.tenant_id = {0}.tenant_id AND outdated.person_id = {0}.person_id AND outdated.due_at <= :now
        AND outdated.first_month <= {0}.month
)"""
_STATES: Final = text(
    f"""
    SELECT wanted.tenant_id, wanted.person_id, wanted.month, stripes.*
    FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:person_ids AS uuid[]), CAST(:months AS date[]))
        AS wanted(tenant_id, person_id, month)
    CROSS JOIN LATERAL (
        SELECT {_SUMMED} FROM tracking.actuals_stripes AS stripe
        WHERE stripe.tenant_id = wanted.tenant_id AND stripe.person_id = wanted.person_id
            AND stripe.month = wanted.month
        HAVING count(*) > 0
    ) AS stripes
    WHERE NOT {_IS_OUTDATED.format("wanted")}
    """
)
_STATES_OF_PEOPLE: Final = text(
    f"""
    SELECT stripe.tenant_id, stripe.person_id, stripe.month, {_SUMMED}
    FROM tracking.actuals_stripes AS stripe
    WHERE stripe.tenant_id = :tenant_id AND stripe.person_id = ANY(CAST(:person_ids AS uuid[]))
    GROUP BY stripe.tenant_id, stripe.person_id, stripe.month
    """
)
_CLEAR: Final = text(
    """
    WITH cleared AS (
        DELETE FROM tracking.actuals_stripes AS stripe
        USING unnest(CAST(:person_ids AS uuid[]), CAST(:first_months AS date[])) AS named(person_id, first_month)
        WHERE stripe.tenant_id = :tenant_id AND stripe.person_id = named.person_id AND stripe.month >= named.first_month
        RETURNING stripe.person_id, stripe.month, stripe.version
    )
    SELECT person_id, month, CAST(sum(version) AS bigint) AS version FROM cleared GROUP BY person_id, month
    """
)
_TAKE_DUE: Final = text(
    f"""
    WITH due AS MATERIALIZED (
        SELECT tenant_id, person_id, month, stripe FROM tracking.actuals_stripes AS each
        WHERE is_due AND NOT {_IS_OUTDATED.format("each")}
        ORDER BY tenant_id, person_id, month LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE tracking.actuals_stripes AS stored SET is_due = false FROM due
    WHERE stored.tenant_id = due.tenant_id AND stored.person_id = due.person_id AND stored.month = due.month
        AND stored.stripe = due.stripe
    RETURNING stored.tenant_id, stored.person_id, stored.month
    """
)
# Due since always: what a clock of another process says does not matter.
_MARK_OUTDATED: Final = text(
    """
    INSERT INTO tracking.actuals_outdated AS stored (tenant_id, person_id, due_at, first_month)
    SELECT :tenant_id, person_id, CAST('-infinity' AS timestamptz), first_month
    FROM unnest(CAST(:person_ids AS uuid[]), CAST(:first_months AS date[])) AS named(person_id, first_month)
    ON CONFLICT (tenant_id, person_id, due_at) DO UPDATE
    SET first_month = least(stored.first_month, excluded.first_month)
    """
)
_OUTDATED: Final = text(
    """
    SELECT person_id, min(first_month) AS first_month FROM tracking.actuals_outdated
    WHERE tenant_id = :tenant_id AND due_at <= :now
        AND (CAST(:person_ids AS uuid[]) IS NULL OR person_id = ANY(CAST(:person_ids AS uuid[])))
    GROUP BY person_id ORDER BY person_id LIMIT :limit
    """
)
_UNMARK_OUTDATED: Final = text(
    """
    DELETE FROM tracking.actuals_outdated
    WHERE tenant_id = :tenant_id AND due_at <= :now AND person_id = ANY(CAST(:person_ids AS uuid[]))
    """
)
_OUTDATED_TENANTS: Final = text(
    "SELECT DISTINCT tenant_id FROM tracking.actuals_outdated WHERE due_at <= :now ORDER BY tenant_id"
)
_PEOPLE: Final = text("SELECT DISTINCT person_id FROM tracking.actuals_stripes WHERE tenant_id = :tenant_id")
_NEXT: Final = text(
    """
    WITH people AS (
        SELECT DISTINCT tenant_id, person_id FROM tracking.actuals_stripes
        WHERE (tenant_id, person_id) > (CAST(:after_tenant_id AS uuid), CAST(:after_person_id AS uuid))
        ORDER BY tenant_id, person_id LIMIT :limit
    )
    SELECT DISTINCT tenant_id, person_id, month FROM people JOIN tracking.actuals_stripes USING (tenant_id, person_id)
    ORDER BY tenant_id, person_id, month
    """
)


async def add(tx: Transaction, rows: Collection[Row], *, stripe: int) -> None:
    """Add to what is stored in the stripe, in the order of the key."""
    if not rows:
        return
    ordered = sorted(rows, key=lambda row: (row.tenant_id, row.key))
    sums = {name: array_text([getattr(row.sums, name) for row in ordered]) for name in _SUMS}
    await tx.execute(
        _ADD,
        {
            "stripe": stripe,
            "now": tx.now,
            "tenant_ids": array_text([row.tenant_id for row in ordered]),
            "person_ids": array_text([row.key.person_id for row in ordered]),
            "months": array_text([row.key.month for row in ordered]),
            "currencies": array_text([row.currency for row in ordered]),
            "versions": array_text([row.version for row in ordered]),
            **sums,
        },
    )


async def clear(tx: Transaction, tenant_id: UUID, first_months: Mapping[UUID, date]) -> dict[ActualsKey, int]:
    """Forget what is stored of each person's months from the first one on; which versions they had."""
    rows = await tx.rows(_CLEAR, {"tenant_id": tenant_id, **_named(first_months)})
    return {ActualsKey(row["person_id"], row["month"]): row["version"] for row in rows}


async def take_due(tx: Transaction, *, limit: int) -> list[StateKey]:
    """What changed since it was last taken, in up to `limit` stripes; what is to be counted anew is left until then.

    What another transaction is writing is left for the next time.
    """
    rows = await tx.rows(_TAKE_DUE, {"now": tx.now, "limit": limit})
    return [(row["tenant_id"], row["person_id"], row["month"]) for row in rows]


async def states(tx: Statements, keys: Collection[StateKey]) -> list[State]:
    """Where these stand; those of which nothing is stored, or that wait to be counted anew, are left out."""
    parameters = {
        "now": tx.now,
        "tenant_ids": [tenant_id for tenant_id, _, _ in keys],
        "person_ids": [person_id for _, person_id, _ in keys],
        "months": [month for _, _, month in keys],
    }
    return [State(**row) for row in await tx.rows(_STATES, parameters)]


async def states_of(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> list[State]:
    """All that is stored of these people, whatever waits."""
    return [
        State(**row)
        for row in await tx.rows(_STATES_OF_PEOPLE, {"tenant_id": tenant_id, "person_ids": sorted(person_ids)})
    ]


async def mark_outdated(tx: Transaction, tenant_id: UUID, first_months: Mapping[UUID, date]) -> None:
    """Have each person's months from the first one on counted anew."""
    await tx.execute(_MARK_OUTDATED, {"tenant_id": tenant_id, **_named(first_months)})


async def outdated(
    tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID] | None = None, *, limit: int | None = None
) -> dict[UUID, date]:
    """The next of the people (None: of all) who are to be counted anew, each with the first month that is."""
    parameters = {
        "tenant_id": tenant_id,
        "now": tx.now,
        "person_ids": None if person_ids is None else sorted(person_ids),
        "limit": limit,
    }
    return {row["person_id"]: row["first_month"] for row in await tx.rows(_OUTDATED, parameters)}


async def unmark_outdated(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> None:
    """These have been counted anew."""
    await tx.execute(_UNMARK_OUTDATED, {"tenant_id": tenant_id, "now": tx.now, "person_ids": sorted(person_ids)})


async def outdated_tenants(tx: Transaction) -> list[UUID]:
    """The tenants in scope with somebody to be counted anew."""
    return [row["tenant_id"] for row in await tx.rows(_OUTDATED_TENANTS, {"now": tx.now})]


async def people(tx: Transaction, tenant_id: UUID) -> list[UUID]:
    """Everybody of the tenant of whom something is stored."""
    return [row["person_id"] for row in await tx.rows(_PEOPLE, {"tenant_id": tenant_id})]


async def next_keys(tx: Transaction, after: tuple[UUID, UUID], *, people: int) -> list[StateKey]:
    """Every month of so many of the next people of all tenants in scope, by tenant and person."""
    parameters = {"after_tenant_id": after[0], "after_person_id": after[1], "limit": people}
    return [(row["tenant_id"], row["person_id"], row["month"]) for row in await tx.rows(_NEXT, parameters)]


def _named(first_months: Mapping[UUID, date]) -> dict[str, object]:
    ordered = sorted(first_months)
    return {"person_ids": ordered, "first_months": [first_months[person_id] for person_id in ordered]}
