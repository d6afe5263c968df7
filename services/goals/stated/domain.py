"""Values that somebody states of a goal, as no CRM knows them: customer satisfaction, a market share."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from services.goals.targets.domain import GoalTerms
from shared.kernel.errors import Conflict, InvalidInput, NotFound
from shared.kernel.measures import Aggregate


class StatedValueNotFound(NotFound):
    """There is no such value of this goal, or the caller may not see the goal."""

    code = "stated_value_not_found"
    title = "Stated value not found"


class GoalNotStated(Conflict):
    """Of this goal no value is stated: its metric counts something else, or it has been cancelled."""

    code = "goal_not_stated"
    title = "Goal is not on stated values"


class ValueSource(StrEnum):
    """How a value came in."""

    API = "api"
    FILE = "file"
    HAND = "hand"


@dataclass(frozen=True, slots=True)
class Statement:
    """What is stated: the value of a day, where it comes from, and what there is to say about it."""

    day: date
    value: Decimal
    source: ValueSource
    note: str | None


@dataclass(frozen=True, slots=True)
class StatedValue:
    """A value of a goal in its newest version, by whom (None: a service) and when; a deleted one was never stated."""

    id: UUID
    version: int
    goal_id: UUID
    statement: Statement
    stated_by: UUID | None
    stated_at: datetime
    deleted: bool = False


def corrected(value: StatedValue, statement: Statement, *, stated_by: UUID | None, now: datetime) -> StatedValue:
    """The next version of a value, with another statement. Raises InvalidInput for the same one."""
    if statement == value.statement:
        raise InvalidInput.field("", "changes nothing", "another day, value, source or note")
    return replace(value, version=value.version + 1, statement=statement, stated_by=stated_by, stated_at=now)


def taken_back(value: StatedValue, *, stated_by: UUID | None, now: datetime) -> StatedValue:
    """The next version of a value, as if it had never been stated."""
    return replace(value, version=value.version + 1, stated_by=stated_by, stated_at=now, deleted=True)


def check_day(day: date, terms: GoalTerms, today: date) -> None:
    """Raises InvalidInput unless a value of the day can be known today and counts for a goal of these terms."""
    period = terms.period
    if day not in period:
        raise InvalidInput.field(
            "/day", f"{day} is not in the period of the goal", f"from {period.start} up to, not including, {period.end}"
        )
    if day > today:
        raise InvalidInput.field("/day", f"{day} is still to come", f"{today} or earlier")


def check_stated(terms: GoalTerms, goal_id: UUID) -> None:
    """Raises GoalNotStated unless the goal's number is made of stated values."""
    aggregate = terms.measure.aggregate
    if aggregate is not Aggregate.STATED:
        raise GoalNotStated(f"Goal {goal_id} follows {aggregate}: only of a goal with the aggregate stated are values.")
