"""Requests and answers of goal templates."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, with_config
from typing_extensions import TypedDict

from services.goals.targets.domain import STRETCH_LEVELS_MAX, CheckIn, Direction, GoalTemplate, StretchShare
from services.goals.targets.schemas import MetricBody, Rhythm, unit_of
from shared.contracts.base import Amount
from shared.contracts.texts import Line
from shared.http.schemas import body_example

_TEMPLATE: Mapping[str, JsonValue] = {
    "name": "Bookings of a quarter",
    "name_pattern": "{owner}: bookings to {end}",
    "metric": {
        "aggregate": "sum",
        "value_field": "amount",
        "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
        "currency": "USD",
    },
    "unit": "USD",
    "direction": "higher",
    "stretch": [{"name": "Club", "percent": "120"}],
    "check_in": "weekly",
}


class StretchShareBody(BaseModel):
    """A level by how much of the way from the baseline to the target it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Club", "percent": "120"}]})

    name: Line
    percent: Amount = Field(description="More than 100, and more than the level before.")

    def share(self) -> StretchShare:
        return StretchShare(self.name, self.percent)

    @classmethod
    def of(cls, share: StretchShare) -> Self:
        return cls(name=share.name, percent=share.percent)


Shares = Annotated[list[StretchShareBody], Field(max_length=STRETCH_LEVELS_MAX)]
Pattern = Annotated[
    Line | None,
    Field(
        description="Makes the name of a goal that is given none: `{owner}` is its owner's name, `{start}` its first "
        "and `{end}` its last day."
    ),
]


class TemplateBody(BaseModel):
    """What goals of one kind have in common."""

    model_config = body_example(**_TEMPLATE)

    name: Line
    name_pattern: Pattern = None
    metric: MetricBody
    unit: Line | None = Field(None, description="Left out as in `POST /v1/goals`.")
    direction: Direction = Direction.HIGHER
    stretch: Shares = []
    check_in: Rhythm = CheckIn.NONE

    def template(self, template_id: UUID) -> GoalTemplate:
        """Raises InvalidInput naming the part of the metric that is wrong."""
        measure = self.metric.measure()
        return GoalTemplate(
            id=template_id,
            version=1,
            name=self.name,
            name_pattern=self.name_pattern,
            measure=measure,
            unit=self.unit or unit_of(measure),
            direction=self.direction,
            stretch=tuple(each.share() for each in self.stretch),
            check_in=self.check_in,
        )


@with_config(extra="forbid", json_schema_extra={"examples": [{"check_in": "monthly"}]})
class TemplateChanges(TypedDict, total=False):
    """What is to change; what is left out stays."""

    name: Line
    name_pattern: Pattern
    metric: MetricBody
    unit: Line
    direction: Direction
    stretch: Shares
    check_in: Rhythm


def changed_template(template: GoalTemplate, changes: TemplateChanges) -> GoalTemplate:
    """The template with the changes. Raises InvalidInput naming the field that is wrong."""
    return replace(
        template,
        name=changes.get("name", template.name),
        name_pattern=changes.get("name_pattern", template.name_pattern),
        measure=changes["metric"].measure() if "metric" in changes else template.measure,
        unit=changes.get("unit", template.unit),
        direction=changes.get("direction", template.direction),
        stretch=tuple(each.share() for each in changes["stretch"]) if "stretch" in changes else template.stretch,
        check_in=changes.get("check_in", template.check_in),
    )


class TemplateAnswer(BaseModel):
    """A goal template as it is now."""

    model_config = body_example(**_TEMPLATE, id="01935a00-0000-7000-8000-000000000051", version=1)

    id: UUID
    version: int = Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")
    name: str
    name_pattern: str | None
    metric: MetricBody
    unit: str
    direction: Direction
    stretch: list[StretchShareBody]
    check_in: CheckIn

    @classmethod
    def of(cls, template: GoalTemplate) -> Self:
        return cls(
            id=template.id,
            version=template.version,
            name=template.name,
            name_pattern=template.name_pattern,
            metric=MetricBody.of(template.measure),
            unit=template.unit,
            direction=template.direction,
            stretch=[StretchShareBody.of(each) for each in template.stretch],
            check_in=template.check_in,
        )
