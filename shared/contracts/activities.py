"""`attain.activities.v1`: every version of every call, meeting, e-mail and task, whichever CRM it came from."""

from decimal import Decimal
from operator import attrgetter
from typing import ClassVar, Final

from pydantic import ConfigDict, Field

from shared.contracts.base import Instant, RecordEvent, fact_attributes
from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType

TOPIC = "attain.activities.v1"


class Activity(RecordEvent):
    """One version of one activity. Order: `modified_at`, then `sequence`, then `delivery_id`; a lower one is older.

    A `modified_at` later than five minutes after `received_at`, which events of earlier releases may have, is read as
    `received_at`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    event_type: ClassVar[str] = "attain.activity.v1"
    topic: ClassVar[str] = TOPIC

    is_deleted: bool = Field(description="Whether the source deleted it.")
    type: ActivityType
    status: ActivityStatus
    owner_external_id: str | None
    # On the wire it is the `subject`; here that is what an event is of.
    subject_line: str | None = Field(alias="subject", description="What it was about.")
    occurred_at: Instant | None = Field(description="When it took place, or is to.")
    duration_seconds: int | None
    outcome: str | None
    deal_external_id: str | None = Field(description="The deal it was for, as the same source names it.")
    account_id: str | None

    @property
    def subject(self) -> str:
        return f"activity/{self.id}"

    @property
    def exact_duration(self) -> Decimal | None:
        """The duration in seconds as the rules see it."""
        return None if self.duration_seconds is None else Decimal(self.duration_seconds)

    def facts(self) -> ActivityFacts:
        """The activity as the rules see it."""
        return ActivityFacts(*_FACTS(self))


_FACTS: Final = attrgetter(
    *fact_attributes(ActivityFacts, activity_id="id", subject="subject_line", duration_seconds="exact_duration")
)
