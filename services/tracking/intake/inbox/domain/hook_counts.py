"""What a connection is sent, counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.tracking.intake.sources.domain import Rejection


@dataclass(frozen=True, slots=True)
class Sent:
    """What a connection was sent. Hours are those of the clock; `_day` are the last 24, the present one among them."""

    last_at: datetime | None = None
    this_hour: int = 0
    previous_hour: int = 0
    received_day: int = 0
    duplicates_day: int = 0
    rejected_headers_day: int = 0
    rejected_timestamp_day: int = 0
    rejected_signature_day: int = 0
    rejected_address_day: int = 0
    rejected_not_allowed_day: int = 0

    @property
    def rejected_day(self) -> int:
        """For whatever reason."""
        return sum(self.rejected_for.values())

    @property
    def rejected_for(self) -> Mapping[Rejection, int]:
        """How many were refused for each reason."""
        return {
            Rejection.HEADERS: self.rejected_headers_day,
            Rejection.TIMESTAMP: self.rejected_timestamp_day,
            Rejection.SIGNATURE: self.rejected_signature_day,
            Rejection.ADDRESS: self.rejected_address_day,
            Rejection.NOT_ALLOWED: self.rejected_not_allowed_day,
        }

    def last_hour(self, now: datetime) -> int:
        """About how many came in the last 60 minutes: those of this hour, and of the one before its share."""
        seconds = now.minute * 60 + now.second
        return self.this_hour + self.previous_hour * (3600 - seconds) // 3600
