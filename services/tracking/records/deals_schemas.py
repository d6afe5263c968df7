"""Deals on the wire. The newest version is answered as it was published."""

from datetime import datetime
from typing import Final, Self

from pydantic import ConfigDict, Field, JsonValue

from shared.contracts.deals import Deal
from shared.contracts.examples import EXAMPLES

DEAL_EXAMPLE: Final[dict[str, JsonValue]] = EXAMPLES[Deal.event_type].model_dump(mode="json")


class DealVersionOut(Deal):
    """One version of a deal and when this service came to know it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**DEAL_EXAMPLE, "recorded_at": "2026-03-31T18:40:03.4Z"}]}
    )

    recorded_at: datetime = Field(description="When it was recorded: what `as_of` goes by.")

    @classmethod
    def from_version(cls, deal: Deal, recorded_at: datetime) -> Self:
        return cls(**vars(deal), recorded_at=recorded_at)
