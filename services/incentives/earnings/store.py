"""Every SQL statement on cells."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select, text, tuple_

from services.incentives.credits.domain.credit import CellKey, ComponentYear
from services.incentives.earnings.domain.cells import Cell, StoredCell
from services.incentives.earnings.tables import cells
from shared.db.database import Statements, Transaction
from shared.db.versioned import Key
from shared.kernel.periods import Period

_SAVE: Final = text(
    f"""
    INSERT INTO {cells.fullname} AS stored
        (tenant_id, id, assignment_id, component, period_start, period_end, person_id, plan_id, plan_version, currency,
         quota, measure, before, payout, earned, credits, version, posted, posted_version, changed_at)
    SELECT :tenant_id, t.*, t.earned, t.version, :now FROM unnest(
        CAST(:ids AS uuid[]), CAST(:assignments AS uuid[]), CAST(:components AS text[]), CAST(:starts AS date[]),
        CAST(:ends AS date[]), CAST(:people AS uuid[]), CAST(:plans AS uuid[]), CAST(:plan_versions AS int[]),
        CAST(:currencies AS text[]), CAST(:quotas AS numeric[]), CAST(:measures AS numeric[]),
        CAST(:befores AS numeric[]),
        CAST(:payouts AS numeric[]), CAST(:earned AS numeric[]), CAST(:credits AS int[]), CAST(:versions AS bigint[])
    ) AS t(id, assignment_id, component, period_start, period_end, person_id, plan_id, plan_version, currency, quota,
           measure, before, payout, earned, credits, version)
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        period_end = excluded.period_end, plan_version = excluded.plan_version, quota = excluded.quota,
        measure = excluded.measure, before = excluded.before, payout = excluded.payout, earned = excluded.earned,
        credits = excluded.credits,
        posted = excluded.earned - stored.earned, posted_version = excluded.version,
        version = excluded.version, changed_at = greatest(stored.changed_at, excluded.changed_at)
    """
)
# Lateral with a fence, so that no plan, however old its statistics, reads a whole table or tenant for a few cells.
# For a secondary index the tenant's condition is outside: the primary key starts with it, and would seem as good.
_BY_ID: Final = text(
    f"""
    SELECT c.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT * FROM {cells.fullname} WHERE tenant_id = :tenant_id AND id = wanted.id LIMIT 1
    ) AS c
    """
)
_OF_ASSIGNMENTS: Final = text(
    f"""
    SELECT c.* FROM unnest(CAST(:ids AS uuid[])) AS wanted(id) CROSS JOIN LATERAL (
        SELECT * FROM {cells.fullname} WHERE assignment_id = wanted.id OFFSET 0
    ) AS c
    WHERE c.tenant_id = :tenant_id
    """
)


_OF_YEARS: Final = text(
    f"""
    SELECT c.* FROM unnest(
        CAST(:assignments AS uuid[]), CAST(:components AS text[]), CAST(:starts AS date[]), CAST(:ends AS date[])
    ) AS wanted(assignment_id, component, start, "end") CROSS JOIN LATERAL (
        SELECT * FROM {cells.fullname} WHERE assignment_id = wanted.assignment_id OFFSET 0
    ) AS c
    WHERE c.tenant_id = :tenant_id AND c.component = wanted.component
        AND c.period_start >= wanted.start AND c.period_start < wanted."end"
    """
)


async def by_id(tx: Statements, tenant_id: UUID, cell_ids: Collection[UUID]) -> dict[CellKey, StoredCell]:
    return _by_key(await tx.rows(_BY_ID, {"tenant_id": tenant_id, "ids": sorted(cell_ids)}))


async def of_assignments(
    tx: Transaction, tenant_id: UUID, assignment_ids: Collection[UUID]
) -> dict[CellKey, StoredCell]:
    return _by_key(await tx.rows(_OF_ASSIGNMENTS, {"tenant_id": tenant_id, "ids": sorted(assignment_ids)}))


async def of_years(tx: Transaction, tenant_id: UUID, years: Collection[ComponentYear]) -> dict[CellKey, StoredCell]:
    """The cells of components that begin in fiscal years."""
    ordered = sorted(years, key=lambda each: (each.assignment_id, each.component, each.year.start))
    if not ordered:
        return {}
    return _by_key(
        await tx.rows(
            _OF_YEARS,
            {
                "tenant_id": tenant_id,
                "assignments": [each.assignment_id for each in ordered],
                "components": [each.component for each in ordered],
                "starts": [each.year.start for each in ordered],
                "ends": [each.year.end for each in ordered],
            },
        )
    )


async def save(tx: Transaction, tenant_id: UUID, saved: Sequence[Cell]) -> None:
    """Cells in the order of their ids."""
    if not saved:
        return
    await tx.execute(
        _SAVE,
        {
            "tenant_id": tenant_id,
            "now": tx.now,
            "ids": [cell.id for cell in saved],
            "assignments": [cell.key.assignment_id for cell in saved],
            "components": [cell.key.component for cell in saved],
            "starts": [cell.key.period.start for cell in saved],
            "ends": [cell.key.period.end for cell in saved],
            "people": [cell.person_id for cell in saved],
            "plans": [cell.plan_id for cell in saved],
            "plan_versions": [cell.plan_version for cell in saved],
            "currencies": [cell.currency for cell in saved],
            "quotas": [cell.quota for cell in saved],
            "measures": [cell.measure for cell in saved],
            "befores": [cell.before for cell in saved],
            "payouts": [cell.payout for cell in saved],
            "earned": [cell.earned for cell in saved],
            "credits": [cell.credits for cell in saved],
            "versions": [cell.version for cell in saved],
        },
    )


async def page(
    tx: Transaction,
    tenant_id: UUID,
    *,
    people: Collection[UUID] | None,
    plan_id: UUID | None,
    within: tuple[date | None, date | None],
    after: tuple[date, UUID] | None,
    limit: int,
    ending_in: Period | None = None,
) -> list[StoredCell]:
    """Cells whose period lies within the days given, by period and id, of some people (None: everyone) only.

    With `ending_in` those whose last day is in that span.
    """
    conditions: list[ColumnElement[bool]] = [cells.c.tenant_id == tenant_id]
    if people is not None:
        conditions.append(cells.c.person_id.in_(people))
    if plan_id is not None:
        conditions.append(cells.c.plan_id == plan_id)
    start, end = within
    if start is not None:
        conditions.append(cells.c.period_start >= start)
    if end is not None:
        conditions.append(cells.c.period_end <= end)
    if ending_in is not None:
        conditions += [cells.c.period_end > ending_in.start, cells.c.period_end <= ending_in.end]
    if after is not None:
        conditions.append(tuple_(cells.c.period_start, cells.c.id) > tuple_(*after))
    statement = select(cells).where(*conditions).order_by(cells.c.period_start, cells.c.id).limit(limit)
    return [_stored(row) for row in await tx.rows(statement)]


async def people_within(
    tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, start: date, end: date
) -> set[UUID]:
    """Whose cells have a period that lies within the days, of some people (None: everyone) only."""
    conditions = [cells.c.tenant_id == tenant_id, cells.c.period_start >= start, cells.c.period_end <= end]
    if people is not None:
        conditions.append(cells.c.person_id.in_(people))
    rows = await tx.rows(select(cells.c.person_id).distinct().where(*conditions))
    return {row["person_id"] for row in rows}


async def people_due(tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, span: Period) -> set[UUID]:
    """Whose cells have a period with its last day in a span, of some people (None: everyone) only."""
    conditions = [cells.c.tenant_id == tenant_id, cells.c.period_end > span.start, cells.c.period_end <= span.end]
    if people is not None:
        conditions.append(cells.c.person_id.in_(people))
    rows = await tx.rows(select(cells.c.person_id).distinct().where(*conditions))
    return {row["person_id"] for row in rows}


async def tenants(tx: Transaction) -> list[UUID]:
    """Every tenant that has cells, as far as the transaction sees tenants."""
    rows = await tx.rows(select(cells.c.tenant_id).distinct().order_by(cells.c.tenant_id))
    return [row["tenant_id"] for row in rows]


async def ids_after(tx: Transaction, after: Key, limit: int) -> list[Key]:
    """(tenant, cell) of every cell the transaction sees, in order."""
    statement = select(cells.c.tenant_id, cells.c.id).where(tuple_(cells.c.tenant_id, cells.c.id) > after)
    rows = await tx.rows(statement.order_by(cells.c.tenant_id, cells.c.id).limit(limit))
    return [(row["tenant_id"], row["id"]) for row in rows]


def _by_key(rows: Sequence[RowMapping]) -> dict[CellKey, StoredCell]:
    found = [_stored(row) for row in rows]
    return {stored.cell.key: stored for stored in found}


def _stored(row: RowMapping) -> StoredCell:
    key = CellKey(row["assignment_id"], row["component"], Period(row["period_start"], row["period_end"]))
    cell = Cell(
        key,
        row["person_id"],
        row["plan_id"],
        row["plan_version"],
        row["currency"],
        row["quota"],
        row["measure"],
        row["before"],
        row["payout"],
        row["earned"],
        row["credits"],
        row["version"],
    )
    posted = row["posted"] if row["posted_version"] == row["version"] else None
    return StoredCell(row["tenant_id"], cell, row["changed_at"], posted)
