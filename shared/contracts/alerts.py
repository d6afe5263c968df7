"""`attain.alerts.v1`: what somebody has to look at, and when it was over, so that nobody has to watch a page."""

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Event, Instant, Version
from shared.kernel.alerts import AlertSeverity, AlertState

TOPIC = "attain.alerts.v1"


class Alert(Event):
    """Something that is the matter with one thing, or was. The next time it is, it is the same alert, raised again."""

    event_type: ClassVar[str] = "attain.alert.v1"
    topic: ClassVar[str] = TOPIC

    id: UUID = Field(description="The same for the same check of the same thing, for ever.")
    version: Version
    kind: str = Field(
        description="What it comes from: `connection_health`, `dead_letters` (records that no consumer could apply). "
        "There will be more: pass over those you do not know.",
        examples=["connection_health"],
    )
    state: AlertState
    severity: AlertSeverity = Field(
        description="`attention`: it works, and somebody should look at it. `broken`: deals do not come in as they "
        "should. Of a cleared alert, what it was last."
    )
    subject_type: str = Field(
        description="What `subject_id` is the id of: `connection`, `tenant`. There will be more.",
        examples=["connection"],
    )
    subject_id: UUID
    check: str = Field(
        description="What of it was looked at: of a connection, a name among the checks of its health; of dead "
        "letters, the topic they are of.",
        examples=["signatures"],
    )
    title: str = Field(description="What the thing is called.")
    sentence: str = Field(description="What is the matter and what to do; of a cleared alert, how it is now.")
    raised_at: Instant = Field(description="When it was raised the last time.")
    changed_at: Instant = Field(description="When this version came to be.")
    cleared_at: Instant | None = Field(description="Null while it stands.")

    @property
    def subject(self) -> str:
        return f"alert/{self.id}"
