"""Where earnings come from, deal by deal, and why a deal is not among them.

Credits, cells and ledger are to be of one moment: whoever calls reads in a snapshot, or keeps others from settling.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain.credit import (
    CellKey,
    ComponentYear,
    Credit,
    CreditChanges,
    CreditExclusion,
    DealOfCell,
    Expected,
    Owners,
    PayTerms,
    furthest,
)
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.service import Credits
from services.incentives.earnings import store
from services.incentives.earnings.domain.attribution import AttributedCredit, AttributedStep
from services.incentives.earnings.domain.cells import StoredCell
from services.incentives.earnings.domain.explanation import Explanation, explained, explained_in_year
from services.incentives.earnings.domain.years import LinkedCells, YearCredits
from services.incentives.ledger import service as ledger
from services.incentives.ledger.domain import PAYABLE
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.service import Plans
from shared.contracts.deals import Deal
from shared.db.database import Transaction
from shared.kernel.errors import InvalidInput, NotFound
from shared.kernel.measures import Conversion
from shared.kernel.periods import Period
from shared.kernel.reasons import Circumstances, Reason, reason_of
from shared.kernel.sight import Sight

STATEMENT_CELLS_MAX = 1000
_ZERO: Final = Decimal(0)


class StatementTooLong(InvalidInput):
    """More earnings than one statement may have: a part of them would be no statement."""

    code = "statement_too_long"
    title = "Statement too long"


class EarningNotFound(NotFound):
    """There is no such earning, or the caller may not see it."""

    code = "earning_not_found"
    title = "Earning not found"


@dataclass(frozen=True, slots=True)
class ExplainedEarning:
    """A cell with everything its number is made of.

    `owed` is by the ledger. `stale` means that definitions have changed and it is about to be worked out anew:
    until then the lines may not sum to what was earned. There is no explanation when nothing pays the cell any more.
    """

    stored: StoredCell
    explanation: Explanation | None
    expected: Expected | None
    owed: Decimal
    stale: bool
    definitions: Definitions

    @property
    def terms(self) -> PayTerms | None:
        """What it is paid by."""
        return None if self.explanation is None else self.explanation.terms

    @property
    def lines(self) -> Sequence[AttributedCredit]:
        """Its credits with what each brought in."""
        return () if self.explanation is None else self.explanation.lines

    @property
    def steps(self) -> Sequence[AttributedStep]:
        """What became of the pay of all lines together."""
        return () if self.explanation is None else self.explanation.steps

    def conversion(self, deal: Deal, day: date) -> Conversion | None:
        """How money of one of its deals that counts on a day was converted; None where there was no need."""
        return None if self.terms is None else self.definitions.conversion(self.terms.component, deal.facts(), day)

    def changes(self, deal: Deal, day: date) -> CreditChanges:
        """What multipliers and a windfall made of what one of its deals adds on a day."""
        if self.terms is None:
            return CreditChanges()
        return self.definitions.changes(self.terms.component, deal.facts(), day)


@dataclass(frozen=True, slots=True)
class DealInCell:
    """What a deal is to a cell: its credits, or why it has none."""

    key: CellKey
    plan_id: UUID
    found: DealOfCell
    why: Reason | None


@dataclass(frozen=True, slots=True)
class DealInCells:
    """Whether and where a deal counts, and why it counts nowhere: of several reasons the one that came furthest."""

    deal_id: UUID
    deal: Deal | None
    cells: Sequence[DealInCell]
    why: Reason | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person earned in the periods that lie within some days."""

    person_id: UUID
    person_name: str | None
    employee_number: str | None
    start: date
    end: date
    earnings: Sequence[ExplainedEarning]
    deals: dict[UUID, Deal]
    deal: DealInCells | None


class Explanations:
    """Reads earnings, and explains them."""

    def __init__(self, plans: Plans, credits: Credits) -> None:
        self._plans = plans
        self._credits = credits

    async def list_earnings(
        self,
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

    async def get_earning(self, tx: Transaction, tenant_id: UUID, cell_id: UUID) -> StoredCell:
        """Raises EarningNotFound."""
        for stored in (await store.by_id(tx, tenant_id, [cell_id])).values():
            return stored
        raise EarningNotFound(f"There is no earning {cell_id}.")

    async def explain_earning(self, tx: Transaction, tenant_id: UUID, cell_id: UUID) -> ExplainedEarning:
        """One earning down to its credits. Raises EarningNotFound."""
        known = await self._credits.definitions(tx, tenant_id)
        (found,) = await self._explained(tx, tenant_id, known, [await self.get_earning(tx, tenant_id, cell_id)])
        return found

    async def explain_deal(
        self, tx: Transaction, tenant_id: UUID, sight: Sight, stored: StoredCell, deal_id: UUID
    ) -> DealInCells:
        """Whether a deal counts in an earning, and why not; one out of sight is as unknown as one there is not."""
        known = await self._credits.definitions(tx, tenant_id)
        deal = await self._credits.deal(tx, tenant_id, deal_id)
        if deal is None:
            return _unknown(deal_id)
        owners = (await self._credits.owners(tx, tenant_id, known, [deal_id])).get(deal_id, ())
        return _in_sight(sight, _answer(deal, [_deal_in_cell(known, deal, owners, stored.cell.key)]))

    async def get_statement(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        person_id: UUID,
        start: date,
        end: date,
        deal_id: UUID | None = None,
    ) -> Statement:
        """Everything a person earned in the periods that lie within [start, end), and what became of one deal.

        A deal that is out of sight is as unknown as one there is not. Raises StatementTooLong when there are more than
        STATEMENT_CELLS_MAX earnings.
        """
        known = await self._credits.definitions(tx, tenant_id)
        found = await self._statement(tx, tenant_id, known, person_id, (start, end), Period(start, end))
        if deal_id is None:
            return found
        deal = await self._deal_of_person(tx, tenant_id, known, person_id, deal_id, (start, end))
        return replace(found, deal=_in_sight(sight, deal))

    async def get_due(
        self, tx: Transaction, tenant_id: UUID, person_id: UUID, pay_period: Period, span: Period
    ) -> Statement:
        """Everything of a person that is due in a pay period: whose period has its last day in the span that it pays.

        Raises StatementTooLong.
        """
        known = await self._credits.definitions(tx, tenant_id)
        return await self._statement(tx, tenant_id, known, person_id, (None, None), pay_period, ending_in=span)

    async def _statement(
        self,
        tx: Transaction,
        tenant_id: UUID,
        known: Definitions,
        person_id: UUID,
        within: tuple[date | None, date | None],
        days: Period,
        ending_in: Period | None = None,
    ) -> Statement:
        cells = await store.page(
            tx,
            tenant_id,
            people=[person_id],
            plan_id=None,
            within=within,
            after=None,
            limit=STATEMENT_CELLS_MAX + 1,
            ending_in=ending_in,
        )
        if len(cells) > STATEMENT_CELLS_MAX:
            raise StatementTooLong.field(
                "/end",
                f"a statement has at most {STATEMENT_CELLS_MAX} earnings",
                "an earlier day, for a shorter time",
            )
        earnings = await self._explained(tx, tenant_id, known, cells)
        person = (await self._plans.people(tx, tenant_id, [person_id])).get(person_id)
        deal_ids = {line.credit.deal_id for found in earnings for line in found.lines}
        deals = await self._credits.deals(tx, tenant_id, deal_ids)
        name, number = (None, None) if person is None else (person.name, person.employee_number)
        return Statement(person_id, name, number, days.start, days.end, earnings, deals, None)

    async def paid_within(
        self, tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, start: date, end: date
    ) -> set[UUID]:
        """Whoever of some people (None: everyone) has an earning whose period lies within [start, end)."""
        return await store.people_within(tx, tenant_id, people, start, end)

    async def people_due(
        self, tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, span: Period
    ) -> set[UUID]:
        """Whoever of some people (None: everyone) has an earning whose period has its last day in a span."""
        return await store.people_due(tx, tenant_id, people, span)

    async def _explained(
        self, tx: Transaction, tenant_id: UUID, known: Definitions, cells: Collection[StoredCell]
    ) -> list[ExplainedEarning]:
        if not cells:
            return []
        ids = [stored.cell.id for stored in cells]
        years = {stored.cell.key: known.linked_year(stored.cell.key) for stored in cells}
        by_cell: dict[CellKey, list[Credit]] = defaultdict(list)
        alone = [key.id for key, year in years.items() if year is None]
        for credit in await self._credits.of_cells(tx, tenant_id, alone):
            by_cell[credit.cell].append(credit)
        by_year: dict[ComponentYear, list[Credit]] = {year: [] for year in years.values() if year is not None}
        for credit in await self._credits.of_years(tx, tenant_id, by_year):
            year = known.year_of(credit)
            if year in by_year:
                by_year[year].append(credit)
        credits_of_years = {year: YearCredits(credits) for year, credits in by_year.items()}
        worked = {
            each.key: each
            for year, credits in credits_of_years.items()
            for each in LinkedCells(known, year).worked_out(credits)
        }
        balances = await ledger.balances(tx, tenant_id, PAYABLE, ids)
        stale = (await self._plans.stale_ids(tx, [tenant_id])).get(tenant_id, set())
        found = []
        for stored in cells:
            cell = stored.cell
            owed = -balances.get(cell.id, {}).get(cell.currency, _ZERO)
            is_stale = cell.key.assignment_id in stale
            terms, year = known.terms(cell.key), years[cell.key]
            explanation = None
            if year is None and terms is not None:
                explanation = explained(terms, by_cell[cell.key], cell.currency)
            elif year is not None and cell.key in worked:
                explanation = explained_in_year(worked[cell.key], credits_of_years[year], cell.currency)
            expected = None if terms is None else known.expected(cell.key, terms)
            found.append(ExplainedEarning(stored, explanation, expected, owed, is_stale, known))
        return found

    async def _deal_of_person(
        self,
        tx: Transaction,
        tenant_id: UUID,
        known: Definitions,
        person_id: UUID,
        deal_id: UUID,
        within: tuple[date, date],
    ) -> DealInCells:
        deal = await self._credits.deal(tx, tenant_id, deal_id)
        if deal is None:
            return _unknown(deal_id)
        assignments = [
            assignment
            for assignment in known.assignments.values()
            if assignment.person_id == person_id and not assignment.deleted
        ]
        if not assignments:
            return DealInCells(deal_id, deal, [], _reason(CreditExclusion.NO_ASSIGNMENT))
        keys = [key for assignment in assignments for key in _cells_within(known, assignment, within)]
        if keys:
            owners = (await self._credits.owners(tx, tenant_id, known, [deal_id])).get(deal_id, ())
            return _answer(deal, [_deal_in_cell(known, deal, owners, key) for key in keys])
        if not any(_periods_within(known, assignment, within) for assignment in assignments):
            return DealInCells(deal_id, deal, [], _reason(CreditExclusion.NO_WHOLE_PERIOD))
        starts = [start for each in assignments if (start := known.first_terms(each.plan_id)) is not None]
        code = CreditExclusion.TERMS_START_LATER if starts else CreditExclusion.NO_PLAN_VERSION
        return DealInCells(deal_id, deal, [], _reason(code, min(starts, default=None)))


def _unknown(deal_id: UUID) -> DealInCells:
    return DealInCells(deal_id, None, [], _reason(CreditExclusion.DEAL_UNKNOWN))


def _reason(code: CreditExclusion, terms_start: date | None = None) -> Reason:
    return reason_of(code, Circumstances(terms_start=terms_start))


def _answer(deal: Deal, cells: Sequence[DealInCell]) -> DealInCells:
    """What became of a deal in some cells, of which there is at least one."""
    refusals = [cell.found.refusal for cell in cells if cell.found.refusal is not None]
    if len(refusals) < len(cells):
        return DealInCells(deal.id, deal, cells, None)
    reason = furthest(refusals)
    return DealInCells(deal.id, deal, cells, next(cell.why for cell in cells if cell.found.refusal is reason))


def _in_sight(sight: Sight, answer: DealInCells) -> DealInCells:
    """The answer, if the deal concerns somebody in sight or counts in an earning that is; else as if unknown."""
    counts = any(cell.found.credits for cell in answer.cells)
    seen = counts or answer.deal is None or sight.sees_record(answer.deal.facts())
    return answer if seen else _unknown(answer.deal_id)


def _deal_in_cell(known: Definitions, deal: Deal, owners: Owners, key: CellKey) -> DealInCell:
    assignment = known.assignments[key.assignment_id]
    found = known.why(deal.facts(), assignment, key.component, key.period, owners)
    return DealInCell(key, assignment.plan_id, found, known.reason(deal.facts(), key, found))


def _cells_within(known: Definitions, assignment: Assignment, within: tuple[date, date]) -> list[CellKey]:
    """Every cell the assignment could have in the periods that lie within the days."""
    found = []
    for period in _periods_within(known, assignment, within):
        for days in known.terms_within(assignment.plan_id, period):
            found += [
                CellKey(assignment.id, component.key, cell.period)
                for component in days.version.components
                for cell in known.cells_within(assignment, component.key, days.period)
            ]
    return found


def _periods_within(known: Definitions, assignment: Assignment, within: tuple[date, date]) -> list[Period]:
    """The whole periods of the assignment's plan that lie within the days."""
    found = []
    start, end = within
    kind = known.plans[assignment.plan_id].period
    period: Period = known.period_of(kind, start)
    while period.end <= end:
        if period.start >= start:
            found.append(period)
        period = known.period_of(kind, period.end)
    return found
