"""The robots that messages are sent through, and how often each channel to people is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.tracking.tell.channels.domain import dingtalk, feishu, mail, slack, wecom, worktile
from services.tracking.tell.channels.domain.deliveries import Channel
from services.tracking.tell.channels.domain.messages import Answered, Asked, Message, Outcome, Rate, Sending


@dataclass(frozen=True, slots=True)
class Robot:
    """How one kind of robot is asked and judged, and how often it takes a message."""

    asked: Callable[[Message, Sending], Asked]
    judge: Callable[[Answered], Outcome]
    rates: tuple[Rate, ...]


ROBOTS: Final[Mapping[Channel, Robot]] = {
    Channel.FEISHU: Robot(feishu.asked, feishu.judge, feishu.RATES),
    Channel.DINGTALK: Robot(dingtalk.asked, dingtalk.judge, dingtalk.RATES),
    Channel.WECOM: Robot(wecom.asked, wecom.judge, wecom.RATES),
    Channel.SLACK: Robot(slack.asked, slack.judge, slack.RATES),
    Channel.WORKTILE: Robot(worktile.asked, worktile.judge, worktile.RATES),
}


def _spacing(rates: tuple[Rate, ...]) -> timedelta:
    return max(timedelta(seconds=each.seconds) / each.messages for each in rates)


SPACINGS: Final[Mapping[Channel, timedelta]] = {
    **{channel: _spacing(robot.rates) for channel, robot in ROBOTS.items()},
    Channel.EMAIL: _spacing(mail.RATES),
}
"""So far apart are the messages of a subscription that no rate is ever exceeded."""
