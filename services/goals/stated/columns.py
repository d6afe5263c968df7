"""The columns of a table of stated values."""

from collections.abc import Mapping
from typing import Final

from services.goals.stated.domain import Statement, ValueSource
from services.goals.stated.schemas import StatedValueBody
from shared.tables.columns import Column, Kind, Value

VALUES: Final = (
    Column("day", Kind.DAY, required=True),
    Column("value", Kind.NUMBER, required=True),
    Column("source", Kind.WORD),
    Column("note", Kind.TEXT),
)


class StatedValueRow(StatedValueBody):
    """A value in a file."""

    source: ValueSource = ValueSource.FILE


def value_row(statement: Statement) -> Mapping[str, Value]:
    """A statement by column."""
    return {
        "day": statement.day,
        "value": statement.value,
        "source": statement.source.value,
        "note": statement.note,
    }
