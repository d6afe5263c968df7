"""What a plan comes to, reckoned day by day and unit by unit. Imports nothing of the product.

Owners are texts, days are ordinals, amounts are whole numbers of the smallest unit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

Span = tuple[int, int]
"""From the first day up to, not including, the last."""
Path = tuple[tuple[str, int, int], ...]
"""The owners and spans from the top down to a node."""


def hamilton(total: int, weights: Sequence[Fraction]) -> list[int]:
    """One unit after the other to whoever is furthest below the exact share, the first of equals."""
    if total < 0:
        return [-part for part in hamilton(-total, weights)]
    whole = sum(weights, Fraction(0))
    exact = [total * weight / whole for weight in weights]
    parts = [int(share) for share in exact]
    taken: set[int] = set()
    while sum(parts) < total:
        behind = [(share - int(share), -at) for at, share in enumerate(exact) if at not in taken]
        at = -max(behind)[1]
        parts[at] += 1
        taken.add(at)
    return parts


@dataclass
class Strength:
    """What somebody can take on: hundredths of each factor, present on some days, with a share for each day there."""

    fte: int = 100
    availability: int = 100
    productivity: int = 100
    share_on: Callable[[int], Fraction] = lambda _day: Fraction(1)

    def over(self, span: Span) -> Fraction:
        days = sum((self.share_on(day) for day in range(*span)), Fraction(0))
        return days * self.fte * self.availability * self.productivity


@dataclass
class People:
    """A step along people: tenths of each basis, and how many percent are over-assigned."""

    tenths: Mapping[str, int]
    over_percent: int = 0


@dataclass
class Time:
    """A step along time: `day_weight` says what a day weighs, None that parts count alike."""

    parts: Sequence[Span]
    day_weight: Callable[[int], Fraction] | None
    follows_capacity: bool = False


@dataclass
class World:
    """A plan in plain numbers."""

    below: Mapping[str, Sequence[str]]
    amounts: Mapping[str, Mapping[str, int]]
    """By basis, what is stated of whom."""
    strengths: Mapping[str, Strength]
    steps: Sequence[People | Time]
    targets: dict[Path, int] = field(default_factory=dict)
    over: dict[Path, int] = field(default_factory=dict)
    kids: dict[Path, list[Path]] = field(default_factory=dict)
    shares: dict[Path, Fraction] = field(default_factory=dict)
    """Of the weights beside it."""

    def decompose(self, owner: str, span: Span, target: int) -> None:
        """Fills `targets`, `over`, `kids` and `shares`."""
        self._node(((owner, *span),), target, 0)

    def _node(self, path: Path, target: int, number: int) -> None:
        self.targets[path] = target
        self.over[path] = 0
        self.kids[path] = []
        owner, start, end = path[-1]
        for at in range(number, len(self.steps)):
            step = self.steps[at]
            parts: list[tuple[str, int, int]] = []
            if isinstance(step, People):
                parts = [(each, start, end) for each in self.below.get(owner, ())]
                weights = self._people(step, parts)
            else:
                cut = [(max(start, first), min(end, last)) for first, last in step.parts]
                parts = [(owner, first, last) for first, last in cut if first < last]
                parts = [] if len(parts) == 1 else parts
                weights = [self._time(step, *part) for part in parts]
            if parts:
                if isinstance(step, People):
                    exact = Fraction(abs(target) * step.over_percent, 100)
                    self.over[path] = int(exact + Fraction(1, 2)) * (1 if target >= 0 else -1)
                if not any(weights):
                    weights = [Fraction(1)] * len(parts)
                for part, amount in zip(parts, hamilton(target + self.over[path], weights), strict=True):
                    self.kids[path].append((*path, part))
                    self.shares[*path, part] = weights[len(self.kids[path]) - 1] / sum(weights, Fraction(0))
                    self._node((*path, part), amount, at + 1)
                return

    def _people(self, step: People, parts: Sequence[tuple[str, int, int]]) -> list[Fraction]:
        shares = [Fraction(0)] * len(parts)
        for basis, tenths in step.tenths.items():
            weights = [self._weight(basis, owner, (start, end)) for owner, start, end in parts]
            whole = sum(weights, Fraction(0))
            if tenths and whole:
                shares = [share + tenths * weight / whole for share, weight in zip(shares, weights, strict=True)]
        return shares

    def _weight(self, basis: str, owner: str, span: Span) -> Fraction:
        if basis == "equal":
            return Fraction(1)
        if basis == "capacity":
            if owner in self.strengths:
                return self.strengths[owner].over(span)
            if owner.startswith("person"):
                return Strength().over(span)
        elif owner in self.amounts[basis]:
            return Fraction(max(0, self.amounts[basis][owner]))
        return sum((self._weight(basis, each, span) for each in self.below.get(owner, ())), Fraction(0))

    def _time(self, step: Time, owner: str, start: int, end: int) -> Fraction:
        days = range(start, end)
        weight = Fraction(1) if step.day_weight is None else sum((step.day_weight(day) for day in days), Fraction(0))
        if step.follows_capacity and owner in self.strengths:
            strength = self.strengths[owner]
            weight *= sum((strength.share_on(day) for day in days), Fraction(0)) / (end - start)
        return weight
