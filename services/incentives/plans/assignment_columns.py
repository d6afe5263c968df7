"""Assignments and their quotas as tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from pydantic import BaseModel

from services.incentives.plans.assigning import Act, AssignmentRequest
from services.incentives.plans.domain.assignments import (
    Assignment,
    PerTime,
    Quota,
    QuotaState,
    TargetVariable,
)
from shared.contracts.base import Amount, Day
from shared.http.tables import read_bodies
from shared.kernel.errors import AnyVersionOf, InvalidInput
from shared.kernel.periods import DatedRange
from shared.tables.cells import InvalidTable, Row, place
from shared.tables.columns import Column, Kind

ASSIGNMENTS: Final = (
    Column("person_id", Kind.ID, required=True),
    Column("plan_id", Kind.ID, required=True),
    Column("start", Kind.DAY, required=True),
    Column("end", Kind.DAY),
    Column("component", Kind.WORD),
    Column("quota", Kind.NUMBER),
    Column("goal_id", Kind.ID),
    Column("target_variable", Kind.NUMBER),
    Column("target_per", Kind.WORD),
    Column("prorated", Kind.FLAG),
)
"""A row is one quota of an assignment: those of the same person, plan and first day are one assignment."""
QUOTAS: Final = (
    Column("assignment_id", Kind.ID, required=True),
    Column("component", Kind.WORD, required=True),
    Column("from", Kind.DAY, pointer="/start"),
    Column("quota", Kind.NUMBER, required=True),
)
ASSIGNMENTS_EXAMPLE: Final = (
    "person_id,plan_id,start,component,quota,target_variable,prorated\n"
    "01935a00-0000-7000-8000-000000000011,01935a00-0000-7000-8000-000000000063,2026-01-01,bookings,250000,40000,true\n"
)
QUOTAS_EXAMPLE: Final = (
    "assignment_id,component,from,quota\n01935a00-0000-7000-8000-000000000062,bookings,2027-01-01,300000\n"
)
ROWS_MAX: Final = 5000


RowT = TypeVar("RowT", bound=BaseModel)


class InvalidAssignmentsFile(InvalidTable):
    """Lines of a file of assignments or quotas that cannot be read; nothing of it was proposed."""

    code = "invalid_assignments_file"
    title = "Invalid file of assignments"


class AssignmentRow(BaseModel):
    """A quota of somebody who is put on a plan."""

    person_id: UUID
    plan_id: UUID
    start: Day
    end: Day | None = None
    component: str | None = None
    quota: Amount | None = None
    goal_id: UUID | None = None
    target_variable: Amount | None = None
    target_per: PerTime = PerTime.YEAR
    prorated: bool = False

    @property
    def assignment(self) -> tuple[UUID, UUID, Day]:
        """Which assignment the row is of."""
        return self.person_id, self.plan_id, self.start


class QuotaRow(BaseModel):
    """The amount of a quota of an assignment that is there, from a day on or from the beginning."""

    assignment_id: UUID
    component: str
    start: Day | None = None
    quota: Amount


def created_of(rows: Iterator[Row]) -> list[tuple[str, Callable[[UUID], Assignment]]]:
    """The assignments that a table states, each with its place. Raises InvalidAssignmentsFile."""
    found: dict[tuple[UUID, UUID, Day], list[tuple[int, AssignmentRow]]] = {}
    for number, row in _read(AssignmentRow, ASSIGNMENTS, rows):
        found.setdefault(row.assignment, []).append((number, row))
    return [(place(of_one[0][0]), partial(_made, of_one)) for of_one in found.values()]


def requests_of(rows: Iterator[Row]) -> list[AssignmentRequest]:
    """The changes of quotas that a table states, one for each assignment. Raises InvalidAssignmentsFile."""
    found: dict[UUID, list[tuple[int, QuotaRow]]] = {}
    for number, row in _read(QuotaRow, QUOTAS, rows):
        found.setdefault(row.assignment_id, []).append((number, row))
    newest = AnyVersionOf(None)
    return [
        AssignmentRequest(place(of_one[0][0]), assignment_id, newest, Act.PROPOSE, partial(_with_quotas, of_one))
        for assignment_id, of_one in found.items()
    ]


def _read(kind: type[RowT], columns: Sequence[Column], rows: Iterator[Row]) -> list[tuple[int, RowT]]:
    try:
        return read_bodies(kind, columns, rows, rows_max=ROWS_MAX)
    except InvalidTable as error:
        raise InvalidAssignmentsFile(error.detail, fields=error.fields) from None


def _made(rows: Sequence[tuple[int, AssignmentRow]], assignment_id: UUID) -> Assignment:
    """InvalidInput where the rows of an assignment disagree, or one has no quota of its component."""
    _, first = rows[0]
    quotas: dict[str, Quota] = {}
    for number, row in rows:
        terms = row.model_dump(exclude={"component", "quota", "goal_id"})
        if terms != first.model_dump(exclude={"component", "quota", "goal_id"}):
            raise InvalidInput.field(
                "", f"line {number} says something else of the same assignment", "the same terms on each of its lines"
            )
        if row.component is None:
            if row.quota is not None or row.goal_id is not None:
                raise InvalidInput.field("/component", "is empty", "the component that the quota is of")
            continue
        if row.component in quotas:
            raise InvalidInput.field("/component", f"{row.component} stands on two lines", "each component once")
        try:
            quotas[row.component] = Quota(row.quota, () if row.goal_id is None else (row.goal_id,))
        except InvalidInput:
            raise InvalidInput.field(
                "/quota", "is both or neither of an amount and a goal", "quota or goal_id"
            ) from None
    amount = first.target_variable
    return Assignment(
        assignment_id,
        first.person_id,
        first.plan_id,
        DatedRange(first.start, first.end),
        quotas,
        target_variable=None if amount is None else TargetVariable(amount, first.target_per),
        prorated=first.prorated,
    )


def _with_quotas(rows: Sequence[tuple[int, QuotaRow]], wanted: Assignment) -> Assignment:
    """The assignment with these amounts: an earlier one of the same first day is replaced."""
    quotas = dict(wanted.quotas)
    for _, row in rows:
        before = quotas.get(row.component)
        if row.start is None:
            quotas[row.component] = Quota(row.quota, changes=() if before is None else before.changes)
        elif before is None:
            raise InvalidInput.field("/from", f"{row.component} has no quota yet", "an empty cell: from the beginning")
        else:
            changes = dict(before.changes) | {row.start: QuotaState(row.quota)}
            quotas[row.component] = replace(before, changes=tuple(sorted(changes.items())))
    return replace(wanted, quotas=quotas)
