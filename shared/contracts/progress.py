"""`attain.progress.v1`: the progress of every goal, published with its newest state whenever that changed."""

from datetime import date
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Currency, Event, Exact, Instant, Version
from shared.contracts.goals import Direction, GoalStatus, Subject

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
    value: Exact
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

    @property
    def subject(self) -> str:
        return f"goal/{self.goal_id}"
