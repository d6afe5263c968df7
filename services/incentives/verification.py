"""Recompute credits, cells and the ledger from the raw deals, and compare them with what is kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from services.incentives.credits import service as credits
from services.incentives.credits.domain import CellKey, Credit, Definitions
from services.incentives.earnings import store as earnings_store
from services.incentives.earnings.domain.cells import Cell, opened, rebuilt
from services.incentives.ledger import service as ledger
from services.incentives.ledger import store as ledger_store
from services.incentives.plans import service as plans
from services.incentives.plans import store as plans_store
from shared.db.database import Database, Scope, Transaction
from shared.kernel.money import format_amount


@dataclass(frozen=True, slots=True)
class Difference:
    """Something kept that is not what the deals and definitions say."""

    kind: str
    tenant_id: UUID
    subject: str
    stored: str
    recomputed: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.subject} of tenant {self.tenant_id}: kept {self.stored}, recomputed {self.recomputed}"
        )


async def differences(database: Database) -> list[Difference]:
    """Every difference in credits, cells and ledger; empty when all is as it must be.

    Each tenant is looked at under its lock, so nothing moves meanwhile. Assignments that wait to be worked out anew
    are told as differences too. Raises DatabaseUnavailable.
    """
    async with database.transaction(Scope.every()) as tx:
        tenants = {
            *await plans_store.tenants(tx),
            *await earnings_store.tenants(tx),
            *await ledger_store.tenants(tx),
        }
    found: list[Difference] = []
    for tenant_id in sorted(tenants):
        async with database.transaction(Scope.of(tenant_id)) as tx:
            found += await _of_tenant(tx, tenant_id)
    return found


async def _of_tenant(tx: Transaction, tenant_id: UUID) -> list[Difference]:
    await tx.lock_tenants_exclusive([tenant_id])
    known = await credits.definitions(tx, tenant_id)
    stale = (await plans.stale_ids(tx, [tenant_id])).get(tenant_id, set())
    found = [Difference("assignment", tenant_id, str(item), "stale", "fresh") for item in sorted(stale)]
    recomputed = await _recomputed_credits(tx, tenant_id, known)
    kept = await credits.of_assignments(tx, tenant_id, known.assignments.keys())
    found += _compare(tenant_id, "credit", _credit_texts(kept), _credit_texts(recomputed))
    held = {
        stored.cell.key: stored.cell
        for stored in (await earnings_store.of_assignments(tx, tenant_id, known.assignments.keys())).values()
    }
    fresh = _recomputed_cells(known, held, recomputed)
    found += _compare(tenant_id, "cell", _cell_texts(held.values()), _cell_texts(fresh))
    return found + await _of_ledger(tx, tenant_id, fresh)


async def _of_ledger(tx: Transaction, tenant_id: UUID, cells: Iterable[Cell]) -> list[Difference]:
    owed = {(cell.id, cell.currency): cell.earned for cell in cells if cell.earned}
    posted = {
        (cell_id, currency): balance
        for cell_id, balances in (await ledger.balances(tx, tenant_id)).items()
        for currency, balance in balances.items()
        if balance
    }
    found = _compare(tenant_id, "ledger", _balance_texts(posted), _balance_texts(owed))
    verified = await ledger.verify(tx, tenant_id)
    if verified.first_break is not None:
        at = verified.first_break
        found.append(Difference("ledger chain", tenant_id, f"transaction {at.sequence}", at.flaw.value, "as posted"))
    return found


async def _recomputed_credits(tx: Transaction, tenant_id: UUID, known: Definitions) -> list[Credit]:
    found: list[Credit] = []
    after: UUID | None = None
    while page := await credits.deals_after(tx, tenant_id, after):
        for deal in page:
            found += known.credits(deal.facts())
        after = page[-1].id
    return found


def _recomputed_cells(known: Definitions, held: Mapping[CellKey, Cell], recomputed: Iterable[Credit]) -> list[Cell]:
    by_cell: dict[CellKey, list[Credit]] = {key: [] for key in held}
    for credit in recomputed:
        by_cell.setdefault(credit.cell, []).append(credit)
    fresh = []
    for key, credited in by_cell.items():
        terms = known.terms(key)
        cell = held.get(key)
        if cell is None and terms is not None:
            cell = opened(key, terms, known.assignments[key.assignment_id].person_id)
        if cell is not None:
            fresh.append(replace(rebuilt(cell, terms, credited), version=0))
    return fresh


def _compare(tenant_id: UUID, kind: str, kept: Mapping[str, str], recomputed: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(kind, tenant_id, subject, kept.get(subject, "nothing"), recomputed.get(subject, "nothing"))
        for subject in sorted(kept.keys() | recomputed.keys())
        if kept.get(subject) != recomputed.get(subject)
    ]


def _credit_texts(found: Iterable[Credit]) -> dict[str, str]:
    return {
        f"{credit.deal_id}/{credit.assignment_id}/{credit.component}": (
            f"{format_amount(credit.value)} ({format_amount(credit.percent)} %) on {credit.day}"
            f" in {credit.period.start}/{credit.period.end}"
        )
        for credit in found
    }


def _cell_texts(cells: Iterable[Cell]) -> dict[str, str]:
    return {
        f"{cell.id}": (
            f"{format_amount(cell.earned)} {cell.currency} of {format_amount(cell.payout)} for"
            f" {format_amount(cell.measure)} in {cell.credits} credits, version {cell.plan_version},"
            f" quota {_optional(cell.quota)}"
        )
        for cell in cells
    }


def _balance_texts(balances: Mapping[tuple[UUID, str], Decimal]) -> dict[str, str]:
    return {f"{cell_id}": f"{format_amount(amount)} {currency}" for (cell_id, currency), amount in balances.items()}


def _optional(amount: Decimal | None) -> str:
    return "none" if amount is None else format_amount(amount)
