"""Deals on the wire. The newest version is answered as it was published."""

from datetime import datetime
from typing import Self

from pydantic import Field

from shared.contracts.deals import Deal


class DealVersionOut(Deal):
    """One version of a deal and when this service came to know it."""

    recorded_at: datetime = Field(description="When it was recorded: what `as_of` goes by.")

    @classmethod
    def from_version(cls, deal: Deal, recorded_at: datetime) -> Self:
        return cls(**vars(deal), recorded_at=recorded_at)
