"""How much of a period somebody is there, and what of an amount of the period that makes: ramp, leave, proration.

Days are the working days of the tenant's calendar where those of the whole period are published, and calendar days
otherwise, so that both sides of a share are always counted in one way.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final

from shared.kernel.errors import InvalidInput
from shared.kernel.periods import DatedRange, Period
from shared.kernel.working_days import WorkingDays, days_of

RAMP_STEPS_MAX: Final = 24
LEAVES_MAX: Final = 100
_EXACT: Final = Context(prec=100)
_MILLIONTH: Final = Decimal("0.000001")
_ZERO: Final = Decimal(0)
_WHOLE: Final = Decimal(1)


class DayCount(StrEnum):
    """Which days of a period are counted."""

    WORKING = "working_days"
    CALENDAR = "calendar_days"


@dataclass(frozen=True, slots=True)
class RampStep:
    """From the day `start` on, up to the next step, `share` of the quota is expected."""

    start: date
    share: Decimal

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InvalidInput.field("/share", "is out of range", "above 0, up to 1, such as 0.75 for 75 %")


@dataclass(frozen=True, slots=True)
class StatedAmount:
    """From the day `start` on this is the amount of a whole period.

    `is_final`: it was planned for this person and period, so neither ramp nor leave nor proration touch it.
    """

    start: date
    amount: Decimal
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days of a period with one amount for the whole period, one share of it, and so many of them active."""

    period: Period
    amount: Decimal
    share: Decimal
    active_days: int


@dataclass(frozen=True, slots=True)
class Prorated:
    """An amount of a period by the days: Σ amount × share × active days ÷ `days`, half-up to six decimals.

    `days` is how many days of the period are counted. `counted` is None, and `stretches` has the one amount, where
    nothing depends on days.
    """

    value: Decimal
    counted: DayCount | None
    days: int
    stretches: tuple[Stretch, ...]


def check_ramp(ramp: Sequence[RampStep]) -> None:
    """Raise InvalidInput unless the steps are few and in the order of their days."""
    if len(ramp) > RAMP_STEPS_MAX:
        raise InvalidInput.field("", f"has {len(ramp)} steps", f"at most {RAMP_STEPS_MAX}")
    for index, (before, later) in enumerate(pairwise(ramp), start=1):
        if later.start <= before.start:
            raise InvalidInput.field(f"/{index}/from", "is not after the step before", f"a day after {before.start}")


def check_leave(leave: Sequence[DatedRange]) -> None:
    """Raise InvalidInput unless every leave ends, and none overlaps the one before."""
    if len(leave) > LEAVES_MAX:
        raise InvalidInput.field("", f"has {len(leave)} members", f"at most {LEAVES_MAX}")
    for index, each in enumerate(leave):
        if each.end is None:
            raise InvalidInput.field(f"/{index}/end", "is missing", "the first day back; put it off when it changes")
        if index and each.start < (leave[index - 1].end or each.start):
            raise InvalidInput.field(
                f"/{index}/start", "is before the end of the leave before", f"{leave[index - 1].end}, or later"
            )


def prorated(
    period: Period,
    amounts: Sequence[StatedAmount],
    *,
    ramp: Sequence[RampStep] = (),
    present: DatedRange | None = None,
    leave: Collection[DatedRange] = (),
    work: WorkingDays | None = None,
) -> Prorated:
    """What the amounts come to. They are in order; the first is in force from the beginning, whatever its day.

    The person is there on the days of `present` (None: on all) that are not of a `leave`.
    """
    stretches = list(_stretches(period, amounts, ramp))
    away = [gap for each in leave if (gap := each.within(period)) is not None]
    there = period if present is None else present.within(period)
    stated, share = stretches[0][1:]
    is_even = all(each[1:] == (stated, share) for each in stretches)
    if is_even and (stated.is_final or (there == period and not away)):
        value = _rounded(_EXACT.multiply(stated.amount, share))
        return Prorated(value, None, 0, (Stretch(period, stated.amount, share, 0),))
    counted, days = _counted(period, work)
    found = []
    total = _ZERO
    for part, stated, share in stretches:
        active = sum(
            day in part
            and (stated.is_final or (there is not None and day in there and not any(day in gap for gap in away)))
            for day in days
        )
        found.append(Stretch(part, stated.amount, share, active))
        total = _EXACT.add(total, _EXACT.multiply(_EXACT.multiply(stated.amount, share), Decimal(active)))
    return Prorated(_rounded(_EXACT.divide(total, Decimal(len(days)))), counted, len(days), tuple(found))


def _stretches(
    period: Period, amounts: Sequence[StatedAmount], ramp: Sequence[RampStep]
) -> Iterator[tuple[Period, StatedAmount, Decimal]]:
    """The period cut where the amount or the share changes."""
    starts = {stated.start for stated in amounts[1:]} | {step.start for step in ramp}
    for start, end in pairwise(sorted({period.start, period.end, *(day for day in starts if day in period)})):
        stated = next((each for each in reversed(amounts[1:]) if each.start <= start), amounts[0])
        share = next((step.share for step in reversed(ramp) if step.start <= start), _WHOLE)
        yield Period(start, end), stated, _WHOLE if stated.is_final else share


def _counted(period: Period, work: WorkingDays | None) -> tuple[DayCount, Collection[date]]:
    """The days of the period that are counted, of which there is at least one."""
    days = days_of(period)
    if work is not None and all(work.is_published(day) for day in days):
        worked = [day for day in days if work.on(day).is_worked]
        if worked:
            return DayCount.WORKING, worked
    return DayCount.CALENDAR, days


def _rounded(exact: Decimal) -> Decimal:
    return exact.quantize(_MILLIONTH, rounding=ROUND_HALF_UP, context=_EXACT)
