"""Every statement on what people reached."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import RowMapping, literal, select, text, true, tuple_

from services.goals.evidence.domain import Actuals, ActualsFilter, MonthOfPerson
from services.goals.evidence.tables import actuals
from shared.db.arrays import array_text
from shared.db.conditions import among
from shared.db.database import Transaction

_NUMBERS: Final = ("won_value", "won_number", "open_value", "open_number", "unconverted")
_NAMES: Final = ", ".join(_NUMBERS)
_STORE_NEWEST: Final = text(
    f"""
    INSERT INTO {actuals.fullname} AS stored
        (tenant_id, person_id, month, version, currency, {_NAMES}, changed_at)
    SELECT * FROM unnest(
        CAST(CAST(:tenant_ids AS text) AS uuid[]), CAST(CAST(:person_ids AS text) AS uuid[]),
        CAST(CAST(:months AS text) AS date[]), CAST(CAST(:versions AS text) AS bigint[]),
        CAST(CAST(:currencies AS text) AS text[]),
        {", ".join(f"CAST(CAST(:{name} AS text) AS numeric[])" for name in _NUMBERS)},
        CAST(CAST(:changed_at AS text) AS timestamptz[])
    )
    ON CONFLICT (tenant_id, person_id, month) DO UPDATE SET
        version = excluded.version, currency = excluded.currency,
        {", ".join(f"{name} = excluded.{name}" for name in _NUMBERS)}, changed_at = excluded.changed_at
    WHERE stored.version < excluded.version
    """
)
_OF: Final = text(
    f"""
    SELECT stored.* FROM unnest(CAST(:person_ids AS uuid[])) AS named(person_id)
    CROSS JOIN LATERAL (
        SELECT * FROM {actuals.fullname} AS a
        WHERE a.tenant_id = :tenant_id AND a.person_id = named.person_id AND a.month = ANY(CAST(:months AS date[]))
        OFFSET 0
    ) AS stored
    """
)


async def store_newest(tx: Transaction, newest: Mapping[tuple[UUID, MonthOfPerson], Actuals]) -> None:
    """Store those that are newer than what is stored, each by its tenant and month."""
    keys = sorted(newest)
    found = [newest[key] for key in keys]
    numbers = {name: array_text([getattr(each, name) for each in found]) for name in _NUMBERS}
    await tx.execute(
        _STORE_NEWEST,
        {
            "tenant_ids": array_text([tenant_id for tenant_id, _ in keys]),
            "person_ids": array_text([each.of.person_id for each in found]),
            "months": array_text([each.of.month for each in found]),
            "versions": array_text([each.version for each in found]),
            "currencies": array_text([each.currency for each in found]),
            "changed_at": array_text([each.changed_at for each in found]),
            **numbers,
        },
    )


async def of(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID], months: Collection[date]) -> list[Actuals]:
    """Of these people, those of these months that are stored."""
    parameters = {"tenant_id": tenant_id, "person_ids": sorted(set(person_ids)), "months": sorted(months)}
    return [_actuals(row) for row in await tx.rows(_OF, parameters)]


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant in scope with a month."""
    return [row["tenant_id"] for row in await tx.rows(select(actuals.c.tenant_id).distinct())]


async def people(tx: Transaction, tenant_id: UUID) -> list[UUID]:
    """Everybody with a month."""
    statement = select(actuals.c.person_id).where(actuals.c.tenant_id == tenant_id).distinct()
    return [row["person_id"] for row in await tx.rows(statement)]


async def of_people(tx: Transaction, tenant_id: UUID, person_ids: Collection[UUID]) -> list[Actuals]:
    """Every month of these people."""
    statement = select(actuals).where(
        actuals.c.tenant_id == tenant_id, among(actuals.c.person_id, frozenset(person_ids))
    )
    return [_actuals(row) for row in await tx.rows(statement)]


async def page(
    tx: Transaction, tenant_id: UUID, wanted: ActualsFilter, *, after: tuple[UUID, date] | None, limit: int
) -> list[Actuals]:
    """Those that a filter wants, by person and month."""
    columns = actuals.c
    key = tuple_(columns.person_id, columns.month)
    statement = (
        select(actuals)
        .where(
            columns.tenant_id == tenant_id,
            among(columns.person_id, wanted.people),
            true() if wanted.start is None else columns.month >= wanted.start,
            true() if wanted.end is None else columns.month < wanted.end,
            true() if after is None else key > tuple_(literal(after[0]), literal(after[1])),
        )
        .order_by(columns.person_id, columns.month)
        .limit(limit)
    )
    return [_actuals(row) for row in await tx.rows(statement)]


def _actuals(row: RowMapping) -> Actuals:
    return Actuals(
        MonthOfPerson(row["person_id"], row["month"]),
        row["version"],
        row["currency"],
        row["won_value"],
        row["won_number"],
        row["open_value"],
        row["open_number"],
        row["unconverted"],
        row["changed_at"],
    )
