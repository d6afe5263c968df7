"""By what a target is split, as whole numbers: only their proportions count. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import gcd, lcm
from typing import NamedTuple

from services.goals.org.domain import strength_spans
from services.goals.planning.domain.numbers import MILLION, from_units, millionths, rounded_half_up
from services.goals.planning.domain.plan import AlongTime, Basis, Capacity, OwnerFacts, PlanRefused, Shape
from services.goals.targets.domain import Owner
from shared.kernel.errors import FieldError
from shared.kernel.money import AMOUNT_DECIMALS_MAX
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period

_NOTHING_KNOWN = OwnerFacts()
_FULL_TIME = Capacity()


class Blend(NamedTuple):
    """How a target is shared out, and the bases that nobody has any of: they decided nothing."""

    weights: tuple[int, ...]
    lacking: tuple[Basis, ...]


class PeopleWeights:
    """The weights of owners, by basis, for a period. A team without a fact of its own has the sum of those below it."""

    def __init__(self, below: Mapping[Owner, Sequence[Owner]], facts: Mapping[Owner, OwnerFacts]) -> None:
        self._below = below
        self._facts = facts
        self._known: dict[tuple[Basis, Owner, Period | None], int] = {}

    def blend(self, shares: Mapping[Basis, Decimal], owners: Sequence[Owner], period: Period) -> Blend:
        """Σ over bases of the basis' share × the owner's part of what all of `owners` have of it.

        A basis of which they have nothing leaves what it would decide to the others; all weights are 0 where all lack.
        """
        terms: list[tuple[int, list[int], int]] = []
        lacking: list[Basis] = []
        for basis in Basis:
            if share := millionths(shares.get(basis, Decimal(0))):
                weights = [self._weight(basis, owner, period) for owner in owners]
                if whole := sum(weights):
                    terms.append((share, weights, whole))
                else:
                    lacking.append(basis)
        common = lcm(*(whole for _, _, whole in terms))
        blended = [0] * len(owners)
        for share, weights, whole in terms:
            factor = share * (common // whole)
            blended = [already + factor * weight for already, weight in zip(blended, weights, strict=True)]
        return Blend(_reduced(blended), tuple(lacking))

    def capacity(self, owner: Owner) -> Capacity | None:
        """The stated capacity of an owner."""
        return self._facts.get(owner, _NOTHING_KNOWN).capacity

    def _weight(self, basis: Basis, owner: Owner, period: Period) -> int:
        if basis is Basis.EQUAL:
            return 1
        key = (basis, owner, period if basis is Basis.CAPACITY else None)
        found = self._known.get(key)
        if found is None:
            found = self._stated_weight(basis, owner, period)
            if found is None:
                found = sum(self._weight(basis, each, period) for each in self._below.get(owner, ()))
            self._known[key] = found
        return found

    def _stated_weight(self, basis: Basis, owner: Owner, period: Period) -> int | None:
        facts = self._facts.get(owner, _NOTHING_KNOWN)
        if basis is Basis.CAPACITY:
            is_assumed = facts.capacity is None and owner.kind is OwnerKind.PERSON
            capacity = _FULL_TIME if is_assumed else facts.capacity
            return None if capacity is None else capacity_weight(capacity, period)
        stated = {Basis.HISTORY: facts.history, Basis.PIPELINE: facts.pipeline, Basis.POTENTIAL: facts.potential}[basis]
        return None if stated is None else max(0, millionths(stated))


def capacity_weight(capacity: Capacity, period: Period) -> int:
    """FTE × availability × productivity × Σ over the days present of the ramp's share, in a unit of its own."""
    strength = millionths(capacity.fte) * millionths(capacity.availability) * millionths(capacity.productivity)
    return strength * _strong_days(capacity, period)


def _strong_days(capacity: Capacity, period: Period) -> int:
    """The days of a period on which somebody is present, each times the ramp's share, in millionths."""
    there = period if capacity.present is None else capacity.present.within(period)
    if there is None:
        return 0
    whole = [(there, Decimal(1))] if capacity.ramp is None else capacity.ramp.spans(there)
    return sum(
        _days(part) * millionths(min(share, left))
        for span, share in whole
        for part, left in strength_spans(span, capacity.reduced)
    )


class TimeWeights:
    """The weights of the parts of a period by the shape of one step."""

    def __init__(self, step: AlongTime, working_days: Sequence[date]) -> None:
        self._step = step
        self._working_days = working_days
        self._starts = [part.start for part in step.parts]
        self._season_starts = [season.period.start for season in step.seasons]
        self._clipped: dict[Period, tuple[Period, ...]] = {}
        self._weights: dict[Period, tuple[int, ...]] = {}

    def parts(self, period: Period) -> tuple[Period, ...]:
        """The parts that lie in a period, cut at its ends; none where it is one part itself."""
        found = self._clipped.get(period)
        if found is None:
            parts = [self._step.parts[at] for at in _overlapping(self._starts, period)]
            found = tuple(Period(max(each.start, period.start), min(each.end, period.end)) for each in parts)
            found = () if len(found) == 1 else found
            self._clipped[period] = found
        return found

    def weights(self, period: Period) -> tuple[int, ...]:
        """One for each of `parts(period)`."""
        found = self._weights.get(period)
        if found is None:
            found = _whole([self._measure(part) for part in self.parts(period)])
            self._weights[period] = found
        return found

    def weights_at(self, capacity: Capacity, period: Period) -> tuple[int, ...]:
        """The same for somebody whose ramp and presence count: each times the mean strength in the part."""
        parts = self.parts(period)
        strengths = [Fraction(_strong_days(capacity, part), _days(part)) for part in parts]
        pairs = zip(self.weights(period), strengths, strict=True)
        return _whole([weight * strength for weight, strength in pairs])

    def left(self, part: Period, day: date) -> Fraction:
        """How much of a part's weight lies on `day` and later; all of it where parts count alike, however long."""
        whole = self._measure(part)
        return self._measure(Period(day, part.end)) / whole if whole else Fraction(1)

    def _measure(self, period: Period) -> Fraction:
        match self._step.shape:
            case Shape.EQUAL:
                return Fraction(1)
            case Shape.DAYS:
                return Fraction(_days(period))
            case Shape.WORKING_DAYS:
                return Fraction(self._working(period))
            case Shape.SEASONAL:
                seasons = [self._step.seasons[at] for at in _overlapping(self._season_starts, period)]
                return Fraction(
                    sum(
                        self._working(cut) * millionths(season.index)
                        for season in seasons
                        for cut in _intersection(season.period, period)
                    )
                )
            case Shape.CUSTOM:
                return sum(
                    (
                        Fraction(
                            millionths(self._step.percentages[at]) * _days(cut),
                            _days(self._step.parts[at]),
                        )
                        for at in _overlapping(self._starts, period)
                        for cut in _intersection(self._step.parts[at], period)
                    ),
                    Fraction(0),
                )

    def _working(self, period: Period) -> int:
        return bisect_left(self._working_days, period.end) - bisect_left(self._working_days, period.start)


def seasonal_index(years: Sequence[Sequence[Decimal]]) -> tuple[Decimal, ...]:
    """Of each month the mean over years of month ÷ (year ÷ months), with six decimals, half-up; below 0 it is 0.

    A year in which nothing was won in all tells nothing and is left out. Raises PlanRefused without any year left, and
    where years have not the same number of months.
    """
    for number, year in enumerate(years):
        if len(year) != len(years[0]):
            message = f"has {len(year)} months"
            accepted = f"{len(years[0])} months, as the first year has"
            raise PlanRefused(message, fields=[FieldError(f"/years/{number}", message, accepted)])
    telling = [[Fraction(month) for month in year] for year in years]
    telling = [year for year in telling if sum(year) > 0]
    if not telling:
        message = "no year has anything to learn from"
        raise PlanRefused(message, fields=[FieldError("/years", message, "a whole year with more won than lost")])
    months = len(telling[0])
    means = [_mean([year[month] * months / sum(year) for year in telling]) for month in range(months)]
    units = [rounded_half_up(max(0, mean.numerator) * MILLION, mean.denominator) for mean in means]
    return tuple(from_units(unit, AMOUNT_DECIMALS_MAX) for unit in units)


def _mean(numbers: Sequence[Fraction]) -> Fraction:
    return sum(numbers, Fraction(0)) / len(numbers)


def _overlapping(starts: Sequence[date], period: Period) -> range:
    """Which of some ranges, each up to the start of the next, have days of the period."""
    return range(max(0, bisect_right(starts, period.start) - 1), bisect_left(starts, period.end))


def _intersection(one: Period, other: Period) -> Iterator[Period]:
    start, end = max(one.start, other.start), min(one.end, other.end)
    if start < end:
        yield Period(start, end)


def _days(period: Period) -> int:
    return (period.end - period.start).days


def _whole(weights: Sequence[Fraction]) -> tuple[int, ...]:
    common = lcm(*(weight.denominator for weight in weights))
    return _reduced([weight.numerator * (common // weight.denominator) for weight in weights])


def _reduced(weights: Sequence[int]) -> tuple[int, ...]:
    """The same proportions in the smallest numbers."""
    divisor = gcd(*weights) or 1
    return tuple(weight // divisor for weight in weights)
