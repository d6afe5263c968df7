"""Deals and activities on the wire. The newest version is answered as it was published."""

from datetime import datetime
from typing import Final, Self

from pydantic import Field, JsonValue

from services.tracking.records.store.records import RecordedVersion
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.examples import EXAMPLES
from shared.http.schemas import example

DEAL_EXAMPLE: Final[dict[str, JsonValue]] = EXAMPLES[Deal.event_type].model_dump(mode="json")
ACTIVITY_EXAMPLE: Final[dict[str, JsonValue]] = EXAMPLES[Activity.event_type].model_dump(mode="json")
_RECORDED: Final[dict[str, JsonValue]] = {"recorded_at": "2026-03-31T18:40:03.4Z"}


class DealVersionAnswer(Deal):
    """One version of a deal and when this service came to know it."""

    model_config = example(**DEAL_EXAMPLE, **_RECORDED)

    recorded_at: datetime = Field(description="When it was recorded: what `as_of` goes by.")

    @classmethod
    def from_version(cls, version: RecordedVersion[Deal]) -> Self:
        return cls(**version.event.model_dump(), recorded_at=version.recorded_at)


class ActivityVersionAnswer(Activity):
    """One version of an activity and when this service came to know it."""

    model_config = example(**ACTIVITY_EXAMPLE, **_RECORDED)

    recorded_at: datetime = Field(description="When it was recorded: what `as_of` goes by.")

    @classmethod
    def from_version(cls, version: RecordedVersion[Activity]) -> Self:
        return cls(**version.event.model_dump(), recorded_at=version.recorded_at)
