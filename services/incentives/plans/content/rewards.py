"""The JSON form of rewards and of bounds to be reached."""

from pydantic import ConfigDict, Field

from services.incentives.plans.content.base import Content
from services.incentives.plans.domain.rewards import Bound, Reward
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput


class RewardContent(Content):
    """Either an amount or a percent of the target variable."""

    amount: Amount | None = Field(None, description="In the plan's currency.", examples=["1000"])
    target_percent: Amount | None = Field(
        None, description="Percent of the target variable of the period: 100 is all of it.", examples=["50"]
    )


class BoundContent(Content):
    """From a value on, or only above it."""

    model_config = ConfigDict(populate_by_name=True)

    start: Amount = Field(alias="from", description="The value that has to be reached.", examples=["1"])
    from_exclusive: bool = Field(False, description="At exactly that value it is not reached: more is needed.")


def reward_of(content: RewardContent, pointer: str) -> Reward:
    """The reward that is meant, or InvalidInput that points below `pointer`."""
    try:
        return Reward(content.amount, content.target_percent)
    except InvalidInput as error:
        raise error.under(pointer) from None


def reward_content(reward: Reward) -> RewardContent:
    """The content that `reward_of` turns back into an equal reward."""
    return RewardContent(amount=reward.amount, target_percent=reward.target_percent)


def bound_of(content: BoundContent) -> Bound:
    """The bound that is meant."""
    return Bound(content.start, content.from_exclusive)


def bound_content(bound: Bound) -> BoundContent:
    """The content that `bound_of` turns back into an equal bound."""
    return BoundContent(start=bound.start, from_exclusive=bound.is_exclusive)
