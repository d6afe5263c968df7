"""What people reached: the evidence that targets are set by, and how probable it makes one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import UUID

LEVEL_PERIODS_MIN: Final = 3
"""Of so many periods somebody's level is known."""
SAMPLE_MIN: Final = 4
"""Of so many periods a probability is told."""
_SHOWN: Final = Decimal("0.0001")


class MonthOfPerson(NamedTuple):
    """Whose numbers, of which calendar month, by its first day."""

    person_id: UUID
    month: date


@dataclass(frozen=True, slots=True)
class Actuals:
    """What somebody won in a month, and has open that is expected to close in it, as tracking counts it.

    Values are in `currency`, the home currency in force on the month's first day; None where there was none, and then
    both are 0. A share of a deal is that fraction of one; of `unconverted` ones the amount is in neither value.
    """

    of: MonthOfPerson
    version: int
    currency: str | None
    won_value: Decimal
    won_number: Decimal
    open_value: Decimal
    open_number: Decimal
    unconverted: Decimal
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class ActualsFilter:
    """Which to list; what is None does not restrict. Months by their first days, from `start` up to before `end`."""

    people: frozenset[UUID] | None = None
    start: date | None = None
    end: date | None = None


class ProbabilitySource(StrEnum):
    """What a probability is worked out from."""

    REACHED = "reached"
    ENDED = "ended"
    HISTORY = "history"
    HISTORY_AND_PEERS = "history_and_peers"


@dataclass(frozen=True, slots=True)
class Probability:
    """How probable it is that a target is attained, from 0 to 1 with four decimals.

    `attained_in` of `sample` periods it would have been; `peer_periods` of these are other people's.
    """

    value: Decimal
    source: ProbabilitySource
    attained_in: int = 0
    sample: int = 0
    peer_periods: int = 0


def outcomes(
    history: Sequence[Decimal],
    peers: Sequence[Sequence[Decimal]],
    reached: Decimal = Decimal(0),
    ahead: Fraction = Fraction(1),
) -> tuple[Fraction, ...] | None:
    """What a period would come to if it went on as each known one went; None where too little is known to tell.

    `history` are the owner's numbers of periods of the same length, `peers` the same of each peer, and `ahead` the
    share of the period that is still to come, in which so much of each is added to what is `reached`. The periods of a
    peer are scaled by the owner's level over the peer's, the means of each one's own; a peer of too few periods, or
    whose level is not above 0, says nothing.
    """
    if len(history) < LEVEL_PERIODS_MIN:
        return None
    level = _mean(history)
    so_far = Fraction(reached)
    sample = [so_far + Fraction(value) * ahead for value in history]
    for periods in peers:
        if len(periods) >= LEVEL_PERIODS_MIN and (peer_level := _mean(periods)) > 0:
            scale = level / peer_level * ahead
            sample += [so_far + Fraction(value) * scale for value in periods]
    return tuple(sample) if len(sample) >= SAMPLE_MIN else None


def attainment_probability(
    history: Sequence[Decimal],
    peers: Sequence[Sequence[Decimal]],
    target: Decimal,
    reached: Decimal = Decimal(0),
    ahead: Fraction = Fraction(1),
) -> Probability | None:
    """How probable it is that at least `target` is reached; None where it cannot be told.

    1 where it is reached already, and 0 where it is not and nothing of the period is ahead. Else, of n `outcomes` of
    which k reach it, (k + 1) ÷ (n + 2): Laplace's rule of succession, which few periods never make certain of anything.
    """
    if reached >= target:
        return Probability(Decimal(1), ProbabilitySource.REACHED)
    if ahead <= 0:
        return Probability(Decimal(0), ProbabilitySource.ENDED)
    sample = outcomes(history, peers, reached, ahead)
    if sample is None:
        return None
    aim = Fraction(target)
    attained_in = sum(outcome >= aim for outcome in sample)
    peer_periods = len(sample) - len(history)
    return Probability(
        (Decimal(attained_in + 1) / (len(sample) + 2)).quantize(_SHOWN, rounding=ROUND_HALF_UP),
        ProbabilitySource.HISTORY_AND_PEERS if peer_periods else ProbabilitySource.HISTORY,
        attained_in,
        len(sample),
        peer_periods,
    )


def _mean(values: Sequence[Decimal]) -> Fraction:
    return Fraction(sum(values, Decimal(0))) / len(values)
