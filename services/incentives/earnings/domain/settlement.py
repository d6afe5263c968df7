"""From changed credits to changed cells and what is posted for them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from services.incentives.credits.domain import CellKey, Credit, Definitions, Terms
from services.incentives.earnings.domain.cells import Cell, opened, rebuilt, recredited, same_state
from services.incentives.ledger.domain import Cause, Posting


class Settlement:
    """Works a series of changes into cells: one posting for each cell and cause that moved its rounded pay.

    `cells` must hold every cell that exists and is touched; those that do not exist are opened.
    """

    def __init__(self, definitions: Definitions, cells: Mapping[CellKey, Cell]) -> None:
        self._definitions = definitions
        self._before = dict(cells)
        self._cells = dict(cells)
        self._terms: dict[CellKey, Terms | None] = {}
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
        """The credits of one deal were `before` and are `after`."""
        old = {credit.key: credit for credit in before}
        new = {credit.key: credit for credit in after}
        moves: dict[CellKey, tuple[list[Credit | None], list[Credit | None]]] = {}
        for key in sorted(old.keys() | new.keys()):
            removed, added = old.get(key), new.get(key)
            if removed == added:
                continue
            if removed is not None and added is not None and removed.cell == added.cell:
                _move(moves, removed.cell, removed, added)
                continue
            if removed is not None:
                _move(moves, removed.cell, removed, None)
            if added is not None:
                _move(moves, added.cell, None, added)
        for cell_key, (removals, additions) in moves.items():
            self._apply(cause, cell_key, removals, additions)

    def rebuild(self, cause: Cause, key: CellKey, credits: Iterable[Credit]) -> None:
        """The credits of the cell are exactly these, and its terms may have changed."""
        terms = self._terms_of(key)
        cell = self._cells.get(key) or self._open(key, terms)
        self._put(cause, cell, rebuilt(cell, terms, credits))

    def _apply(
        self, cause: Cause, key: CellKey, removals: Iterable[Credit | None], additions: Iterable[Credit | None]
    ) -> None:
        terms = self._terms_of(key)
        if terms is None:
            raise ValueError(f"cell {key.id} is credited without terms")
        before = after = self._cells.get(key) or self._open(key, terms)
        for removed, added in zip(removals, additions, strict=True):
            after = recredited(after, terms, removed=removed, added=added)
        self._put(cause, before, after)

    def _put(self, cause: Cause, before: Cell, after: Cell) -> None:
        self._cells[after.key] = after
        if after.earned != before.earned:
            self.postings.append(
                Posting(
                    after.id,
                    after.person_id,
                    after.plan_id,
                    after.key.component,
                    after.earned - before.earned,
                    after.currency,
                    cause,
                )
            )

    def _open(self, key: CellKey, terms: Terms | None) -> Cell:
        if terms is None:
            raise ValueError(f"cell {key.id} would be opened without terms")
        return opened(key, terms, self._person(key.assignment_id))

    def _person(self, assignment_id: UUID) -> UUID:
        return self._definitions.assignments[assignment_id].person_id

    def _terms_of(self, key: CellKey) -> Terms | None:
        if key not in self._terms:
            self._terms[key] = self._definitions.terms(key)
        return self._terms[key]


def _move(
    moves: dict[CellKey, tuple[list[Credit | None], list[Credit | None]]],
    key: CellKey,
    removed: Credit | None,
    added: Credit | None,
) -> None:
    removals, additions = moves.setdefault(key, ([], []))
    removals.append(removed)
    additions.append(added)
