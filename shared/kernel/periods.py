"""Half-open date ranges and the fiscal calendar they come from."""

from dataclasses import dataclass
from datetime import MINYEAR, UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.kernel.errors import InvalidInput

DAY_MAX = date.max


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days from `start` up to, not including, `end`. Empty and reversed periods are refused (ValueError)."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"a period must end after it starts, got [{self.start}, {self.end})")

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    @property
    def days(self) -> int:
        """Length in days."""
        return (self.end - self.start).days

    def intersection(self, other: "Period") -> "Period | None":
        """The days both periods share, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None


class PeriodKind(StrEnum):
    """The lengths a fiscal calendar knows."""

    MONTH = "month"
    QUARTER = "quarter"
    HALF = "half"
    YEAR = "year"


_MONTHS = {PeriodKind.MONTH: 1, PeriodKind.QUARTER: 3, PeriodKind.HALF: 6, PeriodKind.YEAR: 12}


def _add_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name, or InvalidInput naming /time_zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput.field(
            "/time_zone",
            f"{name!r} is not a time zone",
            "an IANA name such as Asia/Shanghai or Europe/Berlin",
        ) from None


@dataclass(frozen=True, slots=True)
class FiscalCalendar:
    """A tenant's year: the month it starts in and the zone its days are counted in."""

    start_month: int = 1
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if not 1 <= self.start_month <= 12:
            raise InvalidInput.field("/start_month", f"{self.start_month} is not a month", "1 to 12")
        time_zone(self.time_zone)

    def business_date(self, instant: datetime) -> date:
        """The tenant's calendar day at an aware instant; the first or last day there is for one beyond it."""
        try:
            return instant.astimezone(time_zone(self.time_zone)).date()
        except OverflowError:
            return date.min if instant.year == MINYEAR else date.max

    def period_of(self, day: date, kind: PeriodKind) -> Period:
        """The fiscal month, quarter, half or year that contains `day`."""
        length = _MONTHS[kind]
        first_of_month = day.replace(day=1)
        into_period = (day.month - self.start_month) % 12 % length
        start = _add_months(first_of_month, -into_period)
        return Period(start, _add_months(start, length))

    def day_starts_at(self, day: date) -> datetime:
        """The UTC instant at which `day` begins in the tenant's zone."""
        return datetime.combine(day, time.min, tzinfo=time_zone(self.time_zone)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class DatedRange:
    """When an effective-dated fact is in force: from `start` on, up to `end`, or for good when `end` is None."""

    start: date
    end: date | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise InvalidInput.field("/end", f"{self.end} is not after the start {self.start}", "a later date, or null")

    def __contains__(self, day: date) -> bool:
        return self.start <= day and (self.end is None or day < self.end)

    def overlaps(self, other: "DatedRange") -> bool:
        """Whether some day lies in both."""
        return (self.end is None or other.start < self.end) and (other.end is None or self.start < other.end)

    def within(self, period: Period) -> Period | None:
        """The part of `period` in which this is in force."""
        start, end = max(self.start, period.start), min(self.end or DAY_MAX, period.end)
        return Period(start, end) if start < end else None


def day_before(day: date) -> date:
    """The previous calendar day."""
    return day - timedelta(days=1)
