"""Answers about tables that were taken."""

from collections.abc import Sequence
from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, Field

from services.goals.files.kinds import Became, Line
from shared.http.schemas import example

LINES_MAX: Final = 100


class LineAnswer(BaseModel):
    """What became of the thing on a line."""

    line: int = Field(description="Of a CSV file, the last line of the row; of a workbook, the number of the row.")
    id: UUID = Field(description="Of a thing that is only checked to be new, not the one it will have.")
    became: Became


class TableAnswer(BaseModel):
    """What became of the lines of a table."""

    model_config = example(
        stored=True,
        created=1,
        changed=0,
        unchanged=41,
        lines=[{"line": 2, "id": "01935a00-0000-7000-8000-000000000011", "became": "created"}],
    )

    stored: bool = Field(description="Whether it is so now; false where it was only checked.")
    created: int = Field(description="Lines that make something new.")
    changed: int = Field(description="Lines that change something.")
    unchanged: int = Field(description="Lines that state what is so anyway.")
    lines: list[LineAnswer] = Field(description=f"The first {LINES_MAX} lines that make or change something.")

    @classmethod
    def of(cls, lines: Sequence[Line], *, stored: bool) -> Self:
        became = [line.became for line in lines]
        return cls(
            stored=stored,
            created=became.count(Became.CREATED),
            changed=became.count(Became.CHANGED),
            unchanged=became.count(Became.UNCHANGED),
            lines=[
                LineAnswer(line=line.number, id=line.id, became=line.became)
                for line in lines
                if line.became is not Became.UNCHANGED
            ][:LINES_MAX],
        )
