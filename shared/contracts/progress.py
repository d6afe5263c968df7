"""`attain.progress.v1`: the progress of every goal, published with its newest state whenever that changed."""

from datetime import date
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Currency, Event, Exact, Instant, Version
from shared.contracts.goals import Direction, GoalStatus, StretchLevel, Subject
from shared.kernel.attainment import Actual, actual
from shared.kernel.measures import Aggregate

TOPIC = "attain.progress.v1"


class Progress(Event):
    """The state of one goal. `version` grows with every change; equal versions are equal states."""

    event_type: ClassVar[str] = "attain.progress.v1"
    topic: ClassVar[str] = TOPIC

    goal_id: UUID
    version: Version
    goal_version: Version
    status: GoalStatus
    name: str
    owner: Subject
    value: Exact = Field(
        description="Of what is divided, a ratio and what a goal's parts have attained in percent and averages, six "
        "decimals, rounded half-up; 0 as long as its `denominator` is 0, when there is none."
    )
    target: Exact
    baseline: Exact
    attainment: Exact | None = Field(
        description="value ÷ target, unclamped; (baseline - value) ÷ (baseline - target) where lower is better; null "
        "when that divides by zero. Six decimals, rounded down: it reads 1 when the target is reached, and not before."
    )
    direction: Direction
    unit: str
    currency: Currency | None
    start: date
    end: date = Field(description="First day after the period.")
    deals: int = Field(ge=0, description="How many deals, or activities, count.")
    changed_at: Instant
    received_at: Instant | None = Field(description="When the newest delivery that counts was accepted.")
    aggregate: str | None = Field(
        default=None,
        description="How records become the value, such as `sum`, `count`, `distinct`, `ratio` or `average`, or what "
        "else it is made of, `children` or `stated`; null in events of releases before there were the last four.",
    )
    numerator: Exact | None = Field(
        default=None,
        description="Of a ratio or an average: what is divided by the denominator. Of what counts no records: "
        "the value, to twenty decimals, where its denominator is 1. Null otherwise.",
    )
    denominator: Exact | None = Field(
        default=None,
        description="The sum or the number of what a ratio is a part of, or how many records an average is over; "
        "of what counts no records 1, or 0 as long as there is no value.",
    )
    stretch_reached: StretchLevel | None = Field(
        default=None, description="The highest of the goal's stretch levels that is reached."
    )

    @property
    def subject(self) -> str:
        return f"goal/{self.goal_id}"

    @property
    def actual(self) -> Actual:
        """The value, exactly."""
        if self.aggregate is None or self.numerator is None or self.denominator is None:
            return Actual(self.value)
        return actual(Aggregate(self.aggregate), self.numerator, self.denominator)
