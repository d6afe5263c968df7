"""Objectives: what a manager scores with evidence; pay is weight × target × score."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.incentives.plans.domain.parameters import ComponentMeasure, check_key
from services.incentives.plans.domain.rewards import Reward
from shared.kernel.errors import InvalidInput
from shared.kernel.money import format_amount

OBJECTIVES_MAX: Final = 20
SCORE_PERCENT_MAX: Final = Decimal(1000)
_WHOLE: Final = Decimal(100)


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing to be scored. `weight` is its percent of the target."""

    key: str
    name: str
    weight: Decimal

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 < self.weight <= _WHOLE:
            raise InvalidInput.field("/weight", f"is {format_amount(self.weight)}", "above 0, up to 100 percent")


@dataclass(frozen=True, slots=True)
class Objectives:
    """Each objective pays `target` × its weight × its score of the period, from 0 to `score_max` percent.

    The weights are 100 percent together. What is not scored pays nothing.
    """

    key: str
    name: str
    target: Reward
    objectives: tuple[Objective, ...]
    score_max: Decimal = _WHOLE

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 1 <= len(self.objectives) <= OBJECTIVES_MAX:
            raise InvalidInput.field(
                "/objectives", f"has {len(self.objectives)} members", f"1 to {OBJECTIVES_MAX} objectives"
            )
        seen: set[str] = set()
        for index, objective in enumerate(self.objectives):
            if objective.key in seen:
                raise InvalidInput.field(
                    f"/objectives/{index}/key", f"{objective.key!r} is used twice", "a key of its own"
                )
            seen.add(objective.key)
        total = sum((objective.weight for objective in self.objectives), Decimal(0))
        if total != _WHOLE:
            raise InvalidInput.field(
                "/objectives", f"has weights of {format_amount(total)} % together", "weights that total 100"
            )
        if not _WHOLE <= self.score_max <= SCORE_PERCENT_MAX:
            raise InvalidInput.field(
                "/score_max",
                f"is {format_amount(self.score_max)}",
                f"100 to {format_amount(SCORE_PERCENT_MAX)} percent",
            )

    @property
    def measures(self) -> Sequence[ComponentMeasure]:
        """Nothing: no deal is counted."""
        return ()

    @property
    def is_linked(self) -> bool:
        """Whether a cell depends on more than the total of its own credits, or its deals one by one."""
        return True

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        return False

    def objective(self, key: str) -> Objective | None:
        """The objective of that key, if there is one."""
        return next((objective for objective in self.objectives if objective.key == key), None)

    def check_score(self, score: Decimal, pointer: str) -> None:
        """Raise InvalidInput unless it can be a score, in percent."""
        if not 0 <= score <= self.score_max:
            raise InvalidInput.field(
                pointer, f"is {format_amount(score)}", f"0 to {format_amount(self.score_max)} percent"
            )
