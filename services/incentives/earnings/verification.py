"""Recompute credits, cells, the ledger and what pay periods paid, and compare them with what is stored."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey, ComponentYear, Credit
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.earnings import store
from services.incentives.earnings.domain.cells import Cell, opened, rebuilt, worked
from services.incentives.earnings.domain.years import LinkedCells, YearCredits
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import EARNING, PAYABLE
from services.incentives.periods.service import PayPeriods
from services.incentives.plans.domain.parameters import MAIN, quota_key
from services.incentives.plans.service import Plans
from shared.db.database import Database, Scope, Transaction
from shared.kernel.difference import Difference
from shared.kernel.money import format_amount

_CREDITS_AT_ONCE: Final = 5000


class Verification:
    """Works out anew what is credited, earned and owed, and compares."""

    def __init__(self, plans: Plans, credits: Credits, pay_periods: PayPeriods) -> None:
        self._plans = plans
        self._credits = credits
        self._pay_periods = pay_periods

    async def tenants(self, database: Database) -> list[UUID]:
        """Every tenant that has deals, plans, earnings or a ledger here."""
        async with database.snapshot(Scope.every()) as tx:
            return sorted(
                {
                    *await self._plans.tenants(tx),
                    *await store.tenants(tx),
                    *await ledger.tenants(tx),
                    *await self._credits.tenants(tx),
                }
            )

    async def of_tenant(self, database: Database, tenant_id: UUID, compared: Counter[str]) -> AsyncIterator[Difference]:
        """Every difference in a tenant's credits, cells, ledger and pay periods; `compared` counts what was looked at.

        Nobody waits for it: all is compared within one snapshot of the database, which has a batch of deals with
        its credits, cells and entries or not at all. Memory has the tenant's definitions and cells, a page of deals
        with what they are credited to, and the credits of one cell at least: first each credit is worked out from its
        deal and compared, then each cell from its credits, then the ledger from the cells. An assignment that waits to
        be worked out anew is a difference that passes. Raises DatabaseUnavailable.
        """
        async with database.snapshot(Scope.of(tenant_id)) as tx:
            known = await self._credits.definitions(tx, tenant_id)
            stale = (await self._plans.stale_ids(tx, [tenant_id])).get(tenant_id, set())
            for item in sorted(stale):
                yield Difference("assignment", tenant_id, str(item), "stale", "fresh", is_passing=True)
            credited: set[CellKey] = set()
            async for difference in self._of_credits(tx, tenant_id, known, credited, compared):
                yield difference
            stored = {
                stored.cell.key: stored.cell
                for stored in (await store.of_assignments(tx, tenant_id, known.assignments.keys())).values()
            }
            fresh = await self._recomputed_cells(tx, tenant_id, known, stored, credited)
            compared["cell"] += len(fresh)
            for difference in _compare(tenant_id, "cell", _cell_texts(stored.values()), _cell_texts(fresh)):
                yield difference
            for difference in await _of_ledger(tx, tenant_id, fresh, compared):
                yield difference
            for difference in await self._pay_periods.check(tx, tenant_id, compared):
                yield difference

    async def _of_credits(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, credited: set[CellKey], compared: Counter[str]
    ) -> AsyncIterator[Difference]:
        """Each deal's credits as they are stored and as they should be; `credited` gets the cells of the latter."""
        after: UUID | None = None
        seen = 0
        while page := await self._credits.deals_after(tx, tenant_id, after):
            owners = await self._credits.owners(tx, tenant_id, known, [deal.id for deal in page])
            recomputed = [c for deal in page for c in known.credits(deal.facts(), owners.get(deal.id, ()))]
            stored = await self._credits.of_deals(tx, tenant_id, [deal.id for deal in page])
            credited |= {credit.cell for credit in recomputed if credit.measure == MAIN}
            seen += len(stored)
            compared["deal"] += len(page)
            compared["credit"] += len(recomputed)
            for difference in _compare(tenant_id, "credit", _credit_texts(stored), _credit_texts(recomputed)):
                yield difference
            after = page[-1].id
        orphans = await self._credits.count(tx, tenant_id) - seen
        if orphans:
            yield Difference("credits", tenant_id, "of deals that are not stored", str(orphans), "0")

    async def _recomputed_cells(
        self,
        tx: Transaction,
        tenant_id: UUID,
        known: Definitions,
        stored: Mapping[CellKey, Cell],
        credited: Iterable[CellKey],
    ) -> list[Cell]:
        fresh: list[Cell] = []
        years: dict[ComponentYear, list[CellKey]] = {
            year: [] for assignment in known.assignments.values() for year in known.uncounted_years(assignment)
        }
        alone = []
        for key in sorted({*stored, *credited}, key=lambda key: key.id):
            linked = known.linked_year(key)
            if linked is None:
                alone.append(key)
            else:
                years.setdefault(linked, []).append(key)
        for year, keys in years.items():
            fresh += await self._recomputed_year(tx, tenant_id, known, year, {key: stored.get(key) for key in keys})
        for keys in _portions(alone, stored):
            by_cell: dict[CellKey, list[Credit]] = {key: [] for key in keys}
            for credit in await self._credits.of_cells(tx, tenant_id, [key.id for key in keys]):
                if credit.cell in by_cell:
                    by_cell[credit.cell].append(credit)
            for key, found in by_cell.items():
                terms = known.terms(key)
                cell = stored.get(key)
                if cell is None and terms is not None:
                    cell = opened(key, terms, known.assignments[key.assignment_id].person_id)
                if cell is not None:
                    fresh.append(replace(rebuilt(cell, terms, found), version=0))
        return fresh

    async def _recomputed_year(
        self,
        tx: Transaction,
        tenant_id: UUID,
        known: Definitions,
        year: ComponentYear,
        stored: Mapping[CellKey, Cell | None],
    ) -> list[Cell]:
        """The cells that depend on one another as they should be: those that are there, and those that are stored."""
        credits = YearCredits(await self._credits.of_years(tx, tenant_id, [year]))
        found = {each.key: each for each in LinkedCells(known, year).worked_out(credits)}
        person = known.assignments[year.assignment_id].person_id
        fresh = []
        for key in {*stored, *(each.key for each in found.values() if each.is_there)}:
            result, cell = found.get(key), stored.get(key)
            if result is not None:
                cell = worked(cell or opened(key, result.terms, person), result)
            elif cell is not None:
                cell = rebuilt(cell, None, [])
            if cell is not None:
                fresh.append(replace(cell, version=0))
        return fresh


async def _of_ledger(
    tx: Transaction, tenant_id: UUID, cells: Iterable[Cell], compared: Counter[str]
) -> list[Difference]:
    owed = {(cell.id, cell.currency): cell.earned for cell in cells if cell.earned}
    posted = {
        (cell_id, currency): -balance
        for cell_id, balances in (await ledger.balances_of_kind(tx, tenant_id, PAYABLE, EARNING)).items()
        for currency, balance in balances.items()
        if balance
    }
    found = _compare(tenant_id, "ledger", _balance_texts(posted), _balance_texts(owed))
    verified = await ledger.verify(tx, tenant_id)
    compared["ledger transaction"] += verified.transactions
    if verified.first_break is not None:
        at = verified.first_break
        found.append(Difference("ledger chain", tenant_id, f"transaction {at.sequence}", at.flaw.value, "as posted"))
    return found


def _portions(keys: Sequence[CellKey], stored: Mapping[CellKey, Cell]) -> Iterator[list[CellKey]]:
    """The keys in portions whose cells have few credits together; a cell with many is alone."""
    portion: list[CellKey] = []
    count = 0
    for key in keys:
        cell = stored.get(key)
        credits_of_cell = 1 if cell is None else cell.credits + 1
        if portion and count + credits_of_cell > _CREDITS_AT_ONCE:
            yield portion
            portion, count = [], 0
        portion.append(key)
        count += credits_of_cell
    if portion:
        yield portion


def _compare(tenant_id: UUID, kind: str, stored: Mapping[str, str], recomputed: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(kind, tenant_id, subject, stored.get(subject, "nothing"), recomputed.get(subject, "nothing"))
        for subject in sorted(stored.keys() | recomputed.keys())
        if stored.get(subject) != recomputed.get(subject)
    ]


def _credit_texts(found: Iterable[Credit]) -> dict[str, str]:
    return {
        f"{credit.deal_id}/{credit.assignment_id}/{quota_key(credit.component, credit.measure)}/{credit.day}": (
            f"{format_amount(credit.value)} ({format_amount(credit.percent)} %, times {format_amount(credit.factor)})"
            f" in {credit.period.start}/{credit.period.end}"
        )
        for credit in found
    }


def _cell_texts(cells: Iterable[Cell]) -> dict[str, str]:
    return {
        f"{cell.id}": (
            f"{format_amount(cell.earned)} {cell.currency} of {format_amount(cell.payout)} for"
            f" {format_amount(cell.measure)} after {format_amount(cell.before)} in {cell.credits} credits, version"
            f" {cell.plan_version},"
            f" quota {_optional(cell.quota)}"
        )
        for cell in cells
    }


def _balance_texts(balances: Mapping[tuple[UUID, str], Decimal]) -> dict[str, str]:
    return {f"{cell_id}": f"{format_amount(amount)} {currency}" for (cell_id, currency), amount in balances.items()}


def _optional(amount: Decimal | None) -> str:
    return "none" if amount is None else format_amount(amount)
