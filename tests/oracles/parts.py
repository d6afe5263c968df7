"""What goals that are made of others, and goals on stated values, must stand at. Imports nothing of the product."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple


class Goal(NamedTuple):
    """A `kind` is `sum` or `average` of what a user wins; `latest`, `sum` or `average of stated`; or `parts`."""

    kind: str
    user: int
    target: int
    baseline: int = 0
    lower: bool = False
    counts: bool = True
    parent: int | None = None
    weight: Fraction = Fraction(1)


class Deal(NamedTuple):
    """A deal won by a user on a day of the goals' period."""

    user: int
    amount: int


class Value(NamedTuple):
    """One version of a stated value."""

    version: int
    goal: int
    day: int
    value: Fraction
    deleted: bool


@dataclass
class World:
    """The newest of everything."""

    goals: dict[int, Goal] = field(default_factory=dict)
    deals: dict[int, Deal] = field(default_factory=dict)
    values: dict[int, Value] = field(default_factory=dict)

    def number(self, goal: int) -> Fraction | None:
        """What a goal stands at; None where there is no number."""
        terms = self.goals[goal]
        if not terms.counts:
            return Fraction(0) if terms.kind in ("sum", "parts") else None
        if terms.kind == "parts":
            total = Fraction(0)
            for part, each in self.goals.items():
                if each.parent == goal and each.counts:
                    attained = self.attained(part)
                    if attained is None:
                        return None
                    total += each.weight * attained
            return 100 * total
        if terms.kind in ("sum", "average"):
            numbers = [Fraction(deal.amount) for deal in self.deals.values() if deal.user == terms.user]
        else:
            stated = sorted(
                (value.day, number, value.value)
                for number, value in self.values.items()
                if value.goal == goal and not value.deleted and 1 <= value.day <= 30
            )
            numbers = [value for _, _, value in stated]
        if terms.kind == "latest":
            return numbers[-1] if numbers else None
        if terms.kind.startswith("sum"):
            return sum(numbers, Fraction(0))
        return sum(numbers, Fraction(0)) / len(numbers) if numbers else None

    def attained(self, goal: int) -> Fraction | None:
        """How far a goal has come."""
        terms, number = self.goals[goal], self.number(goal)
        if number is None:
            return None
        whole = terms.baseline - terms.target if terms.lower else terms.target
        reached = terms.baseline - number if terms.lower else number
        return reached / whole if whole else None


def millionths_half_up(number: Fraction) -> int:
    """A number rounded to six decimals, halves away from zero, in millionths."""
    doubled = abs(number) * 2_000_000
    rounded = (int(doubled) + 1) // 2
    return rounded if number >= 0 else -rounded


def millionths_down(number: Fraction) -> int:
    """A number rounded down to six decimals, in millionths."""
    return (number * 1_000_000).__floor__()


def newest(values: Mapping[int, Value], arrived: Value, number: int) -> bool:
    """Whether a version of a value is the newest that has arrived."""
    return number not in values or values[number].version < arrived.version
