"""Requests and answers of stated values."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints, with_config
from typing_extensions import TypedDict

from services.goals.stated.domain import StatedValue, Statement, ValueSource
from shared.contracts.base import Amount, Day, Instant
from shared.contracts.texts import Prose
from shared.http.schemas import body_example

_STATEMENT: Mapping[str, JsonValue] = {
    "day": "2026-02-28",
    "value": "8.4",
    "source": "hand",
    "note": "Customer survey, February",
}

Note = Annotated[Prose, StringConstraints(max_length=1000)]


class StatedValueBody(BaseModel):
    """The value that a goal had on a day."""

    model_config = body_example(**_STATEMENT)

    day: Day = Field(description="In the goal's period, and today or earlier in the tenant's time zone.")
    value: Amount
    source: ValueSource = Field(
        ValueSource.API,
        description="Where it comes from: another system (`api`), a file, or somebody who enters it (`hand`).",
    )
    note: Note | None = Field(None, description="What there is to say about it, such as where it can be looked up.")

    def statement(self) -> Statement:
        return Statement(self.day, self.value, self.source, self.note)


@with_config(extra="forbid", json_schema_extra={"examples": [{"value": "8.6", "note": "Late answers are in"}]})
class StatedValueChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    day: Day
    value: Amount
    source: ValueSource
    note: Note | None


def changed_statement(statement: Statement, changes: StatedValueChanges) -> Statement:
    """The statement with the changes."""
    return replace(
        statement,
        day=changes.get("day", statement.day),
        value=changes.get("value", statement.value),
        source=changes.get("source", statement.source),
        note=changes.get("note", statement.note),
    )


class StatedValueAnswer(BaseModel):
    """A stated value as it is now."""

    model_config = body_example(
        **_STATEMENT,
        id="01935a00-0000-7000-8000-000000000033",
        version=1,
        goal_id="01935a00-0000-7000-8000-000000000031",
        stated_by="01935a00-0000-7000-8000-000000000012",
        stated_at="2026-03-02T09:30:00Z",
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")
    goal_id: UUID
    day: date
    value: Amount
    source: ValueSource
    note: str | None
    stated_by: UUID | None = Field(description="The person who stated this version; null for a service.")
    stated_at: Instant

    @classmethod
    def of(cls, value: StatedValue) -> Self:
        statement = value.statement
        return cls(
            id=value.id,
            version=value.version,
            goal_id=value.goal_id,
            day=statement.day,
            value=statement.value,
            source=statement.source,
            note=statement.note,
            stated_by=value.stated_by,
            stated_at=value.stated_at,
        )


class StatedTableAnswer(BaseModel):
    """What became of the lines of a table of values."""

    model_config = body_example(stated=11, known=1)

    stated: int = Field(description="Lines that state something new.")
    known: int = Field(description="Lines that state what was stated in the same words before.")
