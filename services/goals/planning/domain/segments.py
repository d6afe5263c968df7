"""What somebody has to reach who is not there, or not at full strength, for all of a period. Pure."""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from services.goals.planning.domain.numbers import (
    MILLION,
    amount_problems,
    from_units,
    millionths,
    rounded_half_up,
    to_units,
    weight_problems,
)
from shared.kernel.errors import InvalidInput
from shared.kernel.periods import DAY_MAX, DatedRange, Period
from shared.kernel.splitting import split

RAMP_MONTHS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Ramp:
    """How far a new hire is expected to be: `shares[k]` (0 to 1) in month k from `start` on, all of it afterwards.

    A month goes from the day of the start up to the same day of the next month, or its last day where it has no such.
    """

    start: date
    shares: tuple[Decimal, ...]

    def spans(self, period: Period) -> Iterator[tuple[Period, Decimal]]:
        """The days of the period from the start on, in order, each with its share."""
        for month in range(len(self.shares) + 1):
            is_last = month == len(self.shares)
            share = Decimal(1) if is_last else self.shares[month]
            end = None if is_last else months_later(self.start, month + 1)
            within = DatedRange(months_later(self.start, month), end).within(period)
            if within is not None:
                yield within, share


@dataclass(frozen=True, slots=True)
class Segment:
    """In the days of `period`, somebody has `share` of a target that would be `target` for all of the whole period."""

    period: Period
    target: Decimal
    share: Decimal = Decimal(1)


def segment_targets(segments: Sequence[Segment], period: Period, decimals: int) -> tuple[Decimal, ...]:
    """Each segment's target × share × its days ÷ days in the period, rounded so that they add up to the effective one.

    The effective target is their exact sum, rounded half-up. So segments of one target that leave no day out add up to
    that target. Raises InvalidInput where segments overlap or lie outside, and for targets above and below 0 together.
    """
    _check(segments, period, decimals)
    units = [to_units(segment.target, decimals) for segment in segments]
    weights = [
        unit * millionths(segment.share) * (segment.period.end - segment.period.start).days
        for unit, segment in zip(units, segments, strict=True)
    ]
    if min(weights, default=0) < 0 < max(weights, default=0):
        raise InvalidInput.field("", "has targets above and below 0", "targets of one sign")
    total = rounded_half_up(sum(weights), MILLION * (period.end - period.start).days)
    if not any(weights):
        return tuple(from_units(0, decimals) for _ in segments)
    return tuple(from_units(part, decimals) for part in split(total, [abs(weight) for weight in weights]))


def months_later(day: date, months: int) -> date:
    """The same day so many months later, or the last of a month that is too short; at most the last day there is."""
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    if year > DAY_MAX.year:
        return DAY_MAX
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def _check(segments: Sequence[Segment], period: Period, decimals: int) -> None:
    free_from = period.start
    for at, segment in enumerate(segments):
        problems = [
            *amount_problems(segment.target, decimals, f"/{at}/target"),
            *weight_problems(segment.share, f"/{at}/share"),
        ]
        for problem in problems:
            raise InvalidInput.field(problem.pointer, problem.message, problem.accepted)
        if segment.period.start < free_from or segment.period.end > period.end:
            raise InvalidInput.field(
                f"/{at}/period",
                f"[{segment.period.start}, {segment.period.end}) overlaps the segment before or leaves the period",
                f"segments in order, each from {free_from} on and up to {period.end} at most",
            )
        free_from = segment.period.end
