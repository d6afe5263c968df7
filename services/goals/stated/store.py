"""Every statement on stated values."""

from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping

from services.goals.stated.domain import StatedValue, StatedValueNotFound, Statement, ValueSource
from services.goals.stated.tables import stated_values
from shared.db.versioned import VersionedTable


def of_goal(goal_id: UUID) -> ColumnElement[bool]:
    """Whether a value is one of this goal."""
    return stated_values.c.goal_id == goal_id


def _value(row: RowMapping) -> StatedValue:
    return StatedValue(
        row["id"],
        row["version"],
        row["goal_id"],
        Statement(row["day"], row["value"], ValueSource(row["source"]), row["note"]),
        row["stated_by"],
        row["stated_at"],
        row["deleted"],
    )


def _values(value: StatedValue) -> dict[str, object]:
    statement = value.statement
    return {
        "id": value.id,
        "version": value.version,
        "goal_id": value.goal_id,
        "day": statement.day,
        "value": statement.value,
        "source": statement.source.value,
        "note": statement.note,
        "stated_by": value.stated_by,
        "stated_at": value.stated_at,
        "deleted": value.deleted,
    }


STATED_VALUES: Final = VersionedTable(
    "stated value", stated_values, _value, _values, StatedValueNotFound, present=~stated_values.c.deleted
)
