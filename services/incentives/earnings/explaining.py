"""Where earnings come from, deal by deal, and why a deal is not among them.

Everything is read under the tenant's shared lock, so that credits, cells and ledger are of one moment.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from services.incentives.credits import service as credits
from services.incentives.credits.domain import CellKey, Credit, CreditExclusion, Definitions, NotCredited, Terms
from services.incentives.earnings import store
from services.incentives.earnings.domain.attribution import AttributedCredit, attributed
from services.incentives.earnings.domain.cells import StoredCell
from services.incentives.earnings.domain.payout import QuotaGap, Schedule, schedule_of
from services.incentives.ledger import service as ledger
from services.incentives.plans import service as plans
from services.incentives.plans.domain.assignments import Assignment
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.errors import InvalidInput, NotFound
from shared.kernel.measures import Conversion
from shared.kernel.periods import Period

STATEMENT_CELLS_MAX = 1000


class StatementTooLong(InvalidInput):
    """More earnings than one statement may hold: a part of them would be no statement."""

    code = "statement_too_long"
    title = "Statement too long"


class EarningNotFound(NotFound):
    """There is no such earning, or the caller may not see it."""

    code = "earning_not_found"
    title = "Earning not found"


@dataclass(frozen=True, slots=True)
class ExplainedEarning:
    """A cell with everything its number is made of.

    `owed` is what the ledger says. `stale` means that definitions have changed and it is about to be worked out anew:
    until then the lines may not sum to what was earned. `terms` is None when nothing pays the cell any more.
    """

    stored: StoredCell
    terms: Terms | None
    schedule: Schedule | QuotaGap | None
    lines: Sequence[AttributedCredit]
    owed: Decimal
    stale: bool
    definitions: Definitions

    def conversion(self, deal: Deal) -> Conversion | None:
        """How money of one of its deals was converted into the plan's currency; None where there was no need."""
        return None if self.terms is None else self.definitions.conversion(self.terms.component, deal.facts())


@dataclass(frozen=True, slots=True)
class DealInCell:
    """What a deal is to a cell: its credit, or why it has none."""

    key: CellKey
    plan_id: UUID
    outcome: Credit | NotCredited
    conversion: Conversion | None
    """How money in another currency was converted, where the deal has a credit."""


@dataclass(frozen=True, slots=True)
class DealAnswer:
    """Whether and where a deal counts, and why not. Without a cell to ask, `reason` says why there is none."""

    deal_id: UUID
    deal: Deal | None
    cells: Sequence[DealInCell]
    reason: str | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person earned in the periods that lie within some days."""

    person_id: UUID
    person_name: str | None
    start: date
    end: date
    earnings: Sequence[ExplainedEarning]
    deals: dict[UUID, Deal]
    asked: DealAnswer | None


async def earnings(
    tx: Transaction,
    tenant_id: UUID,
    *,
    people: Collection[UUID] | None,
    plan_id: UUID | None,
    within: tuple[date | None, date | None],
    after: tuple[date, UUID] | None,
    limit: int,
) -> list[StoredCell]:
    """Earnings whose period lies within the days, by period and id, of some people (None: everyone)."""
    return await store.page(tx, tenant_id, people=people, plan_id=plan_id, within=within, after=after, limit=limit)


async def earning(tx: Transaction, tenant_id: UUID, cell_id: UUID) -> StoredCell:
    """Raises EarningNotFound."""
    for stored in (await store.by_id(tx, tenant_id, [cell_id])).values():
        return stored
    raise EarningNotFound(f"There is no earning {cell_id}.")


async def explained(tx: Transaction, tenant_id: UUID, cell_id: UUID) -> ExplainedEarning:
    """One earning down to its credits. Raises EarningNotFound."""
    await tx.lock_tenants_shared([tenant_id])
    known = await credits.definitions(tx, tenant_id)
    (found,) = await _explained(tx, tenant_id, known, [await earning(tx, tenant_id, cell_id)])
    return found


async def deal_in_earning(tx: Transaction, tenant_id: UUID, stored: StoredCell, deal_id: UUID) -> DealAnswer:
    """Whether a deal counts in an earning, and why not."""
    known = await credits.definitions(tx, tenant_id)
    deal = await credits.deal(tx, tenant_id, deal_id)
    if deal is None:
        return DealAnswer(deal_id, None, [], CreditExclusion.DEAL_UNKNOWN)
    return DealAnswer(deal_id, deal, [_asked(known, deal, stored.cell.key)], None)


async def statement(
    tx: Transaction, tenant_id: UUID, person_id: UUID, start: date, end: date, deal_id: UUID | None = None
) -> Statement:
    """Everything a person earned in the periods that lie within [start, end), and what became of one deal.

    Raises StatementTooLong when that is more than STATEMENT_CELLS_MAX earnings.
    """
    await tx.lock_tenants_shared([tenant_id])
    known = await credits.definitions(tx, tenant_id)
    cells = await store.page(
        tx,
        tenant_id,
        people=[person_id],
        plan_id=None,
        within=(start, end),
        after=None,
        limit=STATEMENT_CELLS_MAX + 1,
    )
    if len(cells) > STATEMENT_CELLS_MAX:
        raise StatementTooLong.field(
            "/end", f"a statement holds at most {STATEMENT_CELLS_MAX} earnings", "an earlier day, for a shorter time"
        )
    earnings = await _explained(tx, tenant_id, known, cells)
    names = await plans.person_names(tx, tenant_id, [person_id])
    deal_ids = {line.credit.deal_id for found in earnings for line in found.lines}
    asked = None
    if deal_id is not None:
        asked = await _asked_of_person(tx, tenant_id, known, person_id, deal_id, (start, end))
    deals = await credits.deals(tx, tenant_id, deal_ids)
    return Statement(person_id, names.get(person_id), start, end, earnings, deals, asked)


async def _explained(
    tx: Transaction, tenant_id: UUID, known: Definitions, cells: Collection[StoredCell]
) -> list[ExplainedEarning]:
    if not cells:
        return []
    ids = [stored.cell.id for stored in cells]
    by_cell: dict[CellKey, list[Credit]] = defaultdict(list)
    for credit in await credits.of_cells(tx, tenant_id, ids):
        by_cell[credit.cell].append(credit)
    balances = await ledger.balances(tx, tenant_id, ids)
    stale = (await plans.stale_ids(tx, [tenant_id])).get(tenant_id, set())
    found = []
    for stored in cells:
        cell = stored.cell
        terms = known.terms(cell.key)
        schedule = None if terms is None else schedule_of(terms.component, terms.quota)
        lines = [] if schedule is None else attributed(schedule, by_cell[cell.key], cell.currency)
        owed = balances.get(cell.id, {}).get(cell.currency, Decimal(0))
        found.append(ExplainedEarning(stored, terms, schedule, lines, owed, cell.key.assignment_id in stale, known))
    return found


async def _asked_of_person(
    tx: Transaction, tenant_id: UUID, known: Definitions, person_id: UUID, deal_id: UUID, within: tuple[date, date]
) -> DealAnswer:
    deal = await credits.deal(tx, tenant_id, deal_id)
    if deal is None:
        return DealAnswer(deal_id, None, [], CreditExclusion.DEAL_UNKNOWN)
    assignments = [
        assignment
        for assignment in known.assignments.values()
        if assignment.person_id == person_id and not assignment.deleted
    ]
    if not assignments:
        return DealAnswer(deal_id, deal, [], CreditExclusion.NO_ASSIGNMENT)
    keys = [key for assignment in assignments for key in _cells_within(known, assignment, within)]
    answers = [_asked(known, deal, key) for key in keys]
    return DealAnswer(deal_id, deal, answers, None if answers else CreditExclusion.NO_PLAN_VERSION)


def _asked(known: Definitions, deal: Deal, key: CellKey) -> DealInCell:
    assignment = known.assignments[key.assignment_id]
    outcome = known.why(deal.facts(), assignment, key.component, key.period)
    terms = known.terms(key) if isinstance(outcome, Credit) else None
    conversion = None if terms is None else known.conversion(terms.component, deal.facts())
    return DealInCell(key, assignment.plan_id, outcome, conversion)


def _cells_within(known: Definitions, assignment: Assignment, within: tuple[date, date]) -> list[CellKey]:
    """Every cell the assignment could have in the periods that lie within the days."""
    found = []
    start, end = within
    period: Period = known.period_of(known.plans[assignment.plan_id].period, start)
    while period.end <= end:
        version = known.version_in_force(assignment.plan_id, period.start)
        if version is not None and period.start >= start:
            found += [CellKey(assignment.id, component.key, period) for component in version.components]
        period = known.period_of(known.plans[assignment.plan_id].period, period.end)
    return found
