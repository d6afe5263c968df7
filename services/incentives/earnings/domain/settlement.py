"""From changed credits to changed cells and what is posted for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey, ComponentYear, Credit, PayTerms
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.credits.domain.plain import CreditTotal
from services.incentives.earnings.domain.cells import Cell, opened, rebuilt, recredited, same_state, totalled, worked
from services.incentives.earnings.domain.years import LinkedCells, YearCredits
from services.incentives.ledger.domain import EARNED, EARNING, PAYABLE, Account, Cause, Entry, Posting, Subject
from shared.kernel.periods import Period, PeriodKind

EXPENSE: Final = "expense"
"""The kind of account of what plans cost the company."""


class _Touched(NamedTuple):
    """Credits by what works them out."""

    cells: Mapping[CellKey, list[Credit]]
    years: Mapping[ComponentYear, list[Credit]]


class Settlement:
    """Works a series of changes into cells: one posting for each cell and cause that moved its rounded pay.

    `cells` must have every cell that exists and is touched, with those that depend on it; those that do not exist are
    opened. `years` must have the credits, as they are before, of every component in a fiscal year that is touched and
    whose cells depend on one another.
    """

    def __init__(
        self,
        definitions: Definitions,
        cells: Mapping[CellKey, Cell],
        years: Mapping[ComponentYear, YearCredits] | None = None,
    ) -> None:
        self._definitions = definitions
        self._years = dict(years or {})
        self._linked: dict[ComponentYear, LinkedCells] = {}
        self._there: dict[ComponentYear, set[CellKey]] = {}
        self._before = {definitions.cut_now(key): cell for key, cell in cells.items()}
        self._cells = dict(self._before)
        self._terms: dict[CellKey, PayTerms | None] = {}
        self.postings: list[Posting] = []

    def changed_cells(self) -> list[Cell]:
        """The cells that differ from what they were, in the order of their ids; each is one version further."""
        changed = []
        for key, cell in self._cells.items():
            before = self._before.get(key)
            if before is None:
                changed.append(replace(cell, version=1))
            elif not same_state(before, cell):
                changed.append(replace(cell, version=before.version + 1))
        return sorted(changed, key=lambda cell: cell.id)

    def recredit(self, cause: Cause, before: Iterable[Credit], after: Iterable[Credit]) -> None:
        """The credits of one deal, all of them, were `before` and are `after`."""
        old, new = self._apart(before), self._apart(after)
        touched = sorted(old.years.keys() | new.years.keys(), key=_order_of_year)
        for year in touched:
            removed, added = old.years.get(year, []), new.years.get(year, [])
            if removed != added:
                self._recredit_year(cause, year, removed, added)
        self._recredit_cells(cause, old.cells, new.cells)

    def _recredit_cells(
        self, cause: Cause, old: Mapping[CellKey, list[Credit]], new: Mapping[CellKey, list[Credit]]
    ) -> None:
        for key in sorted(old.keys() | new.keys(), key=lambda cell: cell.id):
            removed, added = old.get(key, []), new.get(key, [])
            if removed != added:
                self._apply(cause, key, removed, added)

    def rebuild(
        self,
        causes: Mapping[UUID, Cause],
        keys: Iterable[CellKey],
        credits: Iterable[Credit],
        totals: Mapping[CellKey, CreditTotal] | None = None,
    ) -> None:
        """Work out the cells of some assignments anew: those that exist, by their keys, and those credited.

        The credits of these assignments are exactly these, and of plain components they sum to `totals`; their terms
        may have changed.
        """
        totals = totals or {}
        found = self._apart(credits)
        cells, years = dict(found.cells), dict(found.years)
        for key in map(self._definitions.cut_now, keys):
            linked = self._definitions.linked_year(key)
            if linked is None:
                cells.setdefault(key, [])
            else:
                years.setdefault(linked, [])
        for assignment_id in causes:
            for uncounted in self._definitions.uncounted_years(self._definitions.assignments[assignment_id]):
                years.setdefault(uncounted, [])
        for key in sorted(cells.keys() | totals.keys(), key=lambda cell: cell.id):
            terms = self._terms_of(key)
            cell = self._cells.get(key) or self._open(key, terms)
            if terms is not None and key in totals:
                after = totalled(cell, terms, totals[key])
            else:
                after = rebuilt(cell, terms, cells.get(key, []))
            self._put(causes[key.assignment_id], key, cell, after)
        for year in sorted(years, key=_order_of_year):
            self._years[year] = YearCredits(years[year])
            self._settle_year(causes[year.assignment_id], year)

    def _recredit_year(
        self, cause: Cause, key: ComponentYear, removed: Iterable[Credit], added: Iterable[Credit]
    ) -> None:
        credits = self._years[key]
        for credit in removed:
            credits.remove(credit)
        for credit in added:
            credits.add(credit)
        self._settle_year(cause, key)

    def _settle_year(self, cause: Cause, key: ComponentYear) -> None:
        linked = self._linked.get(key)
        if linked is None:
            linked = self._linked[key] = LinkedCells(self._definitions, key)
        found = {each.key: each for each in linked.worked_out(self._years[key])}
        there = self._there.get(key)
        if there is None:
            there = self._there[key] = {each for each in self._cells if _is_in(each, key)}
        there.update(each.key for each in found.values() if each.is_there)
        for cell_key in sorted(there, key=lambda cell: cell.id):
            result = found.get(cell_key)
            before = self._cells.get(cell_key) or self._open(cell_key, None if result is None else result.terms)
            after = rebuilt(before, None, []) if result is None else worked(before, result)
            self._put(cause, cell_key, before, after)

    def _apart(self, credits: Iterable[Credit]) -> _Touched:
        """By cell, and those of cells that depend on one another by component and year."""
        cells: dict[CellKey, list[Credit]] = {}
        years: dict[ComponentYear, list[Credit]] = {}
        for credit in sorted(credits, key=lambda each: each.key):
            year = self._definitions.year_of(credit)
            if year is None:
                cells.setdefault(credit.cell, []).append(credit)
            else:
                years.setdefault(year, []).append(credit)
        return _Touched(cells, years)

    def _apply(self, cause: Cause, key: CellKey, removed: Sequence[Credit], added: Sequence[Credit]) -> None:
        terms = self._terms_of(key)
        if terms is None:
            raise ValueError(f"cell {key.id} is credited without terms")
        before = self._cells.get(key) or self._open(key, terms)
        self._put(cause, key, before, recredited(before, terms, before=removed, after=added))

    def _put(self, cause: Cause, key: CellKey, before: Cell, after: Cell) -> None:
        cut = after if after.key == key else replace(after, key=key)
        self._cells[key] = cut
        if before.key.period == key.period:
            self._post(cut, cut.earned - before.earned, cause)
        else:
            # The calendar, or new terms, cut the period: what was earned in it goes back from it as it was.
            self._post(before, -before.earned, cause)
            self._post(cut, cut.earned, cause)

    def _post(self, cell: Cell, amount: Decimal, cause: Cause) -> None:
        if amount:
            last_day = cell.key.period.end - timedelta(days=1)
            due = self._definitions.period_of(PeriodKind.MONTH, last_day)
            self.postings.append(_commission(cell, amount, cause, due))

    def _open(self, key: CellKey, terms: PayTerms | None) -> Cell:
        if terms is None:
            raise ValueError(f"cell {key.id} would be opened without terms")
        return opened(key, terms, self._person(key.assignment_id))

    def _person(self, assignment_id: UUID) -> UUID:
        return self._definitions.assignments[assignment_id].person_id

    def _terms_of(self, key: CellKey) -> PayTerms | None:
        if key not in self._terms:
            self._terms[key] = self._definitions.terms(key)
        return self._terms[key]


def _commission(cell: Cell, amount: Decimal, cause: Cause, due: Period) -> Posting:
    """A cell's pay grew by `amount` (shrank, when negative): the company's expense, and what it owes the person.

    It is due in the pay period with the last day of the cell's period.
    """
    return Posting(
        EARNED,
        (
            Entry(Account(EXPENSE, f"commission:{cell.plan_id}"), amount, cell.currency),
            Entry(Account(PAYABLE, str(cell.person_id)), -amount, cell.currency),
        ),
        Subject(EARNING, cell.id, cell.person_id, cell.plan_id, cell.key.component),
        cell.key.period,
        cause,
        due,
    )


def _is_in(cell: CellKey, key: ComponentYear) -> bool:
    is_of_component = (cell.assignment_id, cell.component) == (key.assignment_id, key.component)
    return is_of_component and key.year.start <= cell.period.start < key.year.end


def _order_of_year(key: ComponentYear) -> tuple[UUID, str, date]:
    return key.assignment_id, key.component, key.year.start
