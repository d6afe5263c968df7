"""Activities on the wire. The newest version is answered as it was published."""

from datetime import datetime
from typing import Final, Self

from pydantic import ConfigDict, Field, JsonValue

from shared.contracts.activities import Activity
from shared.contracts.examples import EXAMPLES

ACTIVITY_EXAMPLE: Final[dict[str, JsonValue]] = EXAMPLES[Activity.event_type].model_dump(mode="json")


class ActivityVersionOut(Activity):
    """One version of an activity and when this service came to know it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**ACTIVITY_EXAMPLE, "recorded_at": "2026-03-31T18:40:03.4Z"}]}
    )

    recorded_at: datetime = Field(description="When it was recorded: what `as_of` goes by.")

    @classmethod
    def from_version(cls, activity: Activity, recorded_at: datetime) -> Self:
        return cls(**activity.model_dump(), recorded_at=recorded_at)
