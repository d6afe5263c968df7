"""From changed credits to changed cells and what is posted for them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.incentives.credits.domain import CellKey, Credit, Definitions, PayTerms
from services.incentives.earnings.domain.cells import Cell, opened, rebuilt, recredited, same_state
from services.incentives.ledger.domain import EARNED, EARNING, PAYABLE, Account, Cause, Entry, Posting, Subject
from shared.kernel.periods import Period, PeriodKind

EXPENSE: Final = "expense"
"""The kind of account of what plans cost the company."""


class Settlement:
    """Works a series of changes into cells: one posting for each cell and cause that moved its rounded pay.

    `cells` must have every cell that exists and is touched; those that do not exist are opened.
    """

    def __init__(self, definitions: Definitions, cells: Mapping[CellKey, Cell]) -> None:
        self._definitions = definitions
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
        old, new = _by_cell(before), _by_cell(after)
        for key in sorted(old.keys() | new.keys(), key=lambda cell: cell.id):
            removed, added = old.get(key, []), new.get(key, [])
            if removed != added:
                self._apply(cause, key, removed, added)

    def rebuild(self, cause: Cause, key: CellKey, credits: Collection[Credit]) -> None:
        """The credits of the cell are exactly these, and its terms may have changed."""
        terms = self._terms_of(key)
        cell = self._cells.get(key) or self._open(key, terms)
        self._put(cause, key, cell, rebuilt(cell, terms, credits))

    def _apply(self, cause: Cause, key: CellKey, removed: Sequence[Credit], added: Sequence[Credit]) -> None:
        terms = self._terms_of(key)
        if terms is None:
            raise ValueError(f"cell {key.id} is credited without terms")
        before = self._cells.get(key) or self._open(key, terms)
        self._put(cause, key, before, recredited(before, terms, before=removed, after=added))

    def _put(self, cause: Cause, key: CellKey, before: Cell, after: Cell) -> None:
        cut = replace(after, key=key)
        self._cells[key] = cut
        if before.key.period == key.period:
            self._post(cut, cut.earned - before.earned, cause)
        else:
            # The calendar cut the period: what was earned in it goes back from it as it was.
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


def _by_cell(credits: Iterable[Credit]) -> dict[CellKey, list[Credit]]:
    found: dict[CellKey, list[Credit]] = {}
    for credit in sorted(credits, key=lambda each: each.key):
        found.setdefault(credit.cell, []).append(credit)
    return found
