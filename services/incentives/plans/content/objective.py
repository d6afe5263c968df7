"""The JSON form of objectives."""

from decimal import Decimal
from typing import Literal

from pydantic import Field

from services.incentives.plans.content.base import Content, Key, Title
from services.incentives.plans.content.rewards import RewardContent, reward_content, reward_of
from services.incentives.plans.domain.kinds.objective import OBJECTIVES_MAX, Objective, Objectives
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput


class ObjectiveContent(Content):
    """One thing that a manager scores."""

    key: Key = Field(examples=["pipeline"])
    name: Title = Field(examples=["Builds three quarters of pipeline"])
    weight: Amount = Field(description="Percent of the target; all of them are 100 together.", examples=["60"])


class ObjectivesContent(Content):
    """An objective component: weight × target × score, each scored by a manager with evidence."""

    kind: Literal["objective"]
    key: Key = Field(examples=["mbo"])
    name: Title = Field(examples=["Objectives"])
    target: RewardContent = Field(description="What all objectives pay together at 100 %.")
    objectives: list[ObjectiveContent] = Field(min_length=1, max_length=OBJECTIVES_MAX)
    score_max: Amount = Field(Decimal(100), description="The highest score in percent.", examples=["100"])


def objectives_of(content: ObjectivesContent, pointer: str) -> Objectives:
    """The objectives that are meant, or InvalidInput that points below `pointer`."""
    target = reward_of(content.target, f"{pointer}/target")
    objectives = []
    for index, item in enumerate(content.objectives):
        try:
            objectives.append(Objective(item.key, item.name, item.weight))
        except InvalidInput as error:
            raise error.under(f"{pointer}/objectives/{index}") from None
    try:
        return Objectives(content.key, content.name, target, tuple(objectives), content.score_max)
    except InvalidInput as error:
        raise error.under(pointer) from None


def objectives_content(component: Objectives) -> ObjectivesContent:
    """The content that `objectives_of` turns back into equal objectives."""
    return ObjectivesContent(
        kind="objective",
        key=component.key,
        name=component.name,
        target=reward_content(component.target),
        objectives=[
            ObjectiveContent(key=each.key, name=each.name, weight=each.weight) for each in component.objectives
        ],
        score_max=component.score_max,
    )
