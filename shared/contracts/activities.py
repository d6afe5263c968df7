"""`attain.activities.v1`: every version of every call, meeting, e-mail and task, whichever CRM it came from."""

from decimal import Decimal
from typing import ClassVar

from pydantic import ConfigDict, Field

from shared.contracts.base import Instant, RecordEvent
from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType, ActivityVersion

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
    def version(self) -> ActivityVersion:
        """Where this snapshot stands among those of the same activity."""
        return ActivityVersion(self.modified_at, self.sequence, self.delivery_id)

    def facts(self) -> ActivityFacts:
        """The activity as the rules see it."""
        return ActivityFacts(
            activity_id=self.id,
            source=self.source,
            external_id=self.external_id,
            version=self.version,
            is_gone=self.is_deleted,
            type=self.type,
            status=self.status,
            owner_external_id=self.owner_external_id,
            subject=self.subject_line,
            occurred_at=self.occurred_at,
            duration_seconds=None if self.duration_seconds is None else Decimal(self.duration_seconds),
            outcome=self.outcome,
            deal_external_id=self.deal_external_id,
            account_id=self.account_id,
            custom=self.custom,
        )
