"""Matrix: two measures look up one payout."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from services.incentives.plans.domain.parameters import (
    MAIN,
    WHOLE_PERCENT,
    ComponentMeasure,
    check_allocation,
    check_credited,
    check_key,
)
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import Bound, check_bounds
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Measure
from shared.kernel.money import format_amount

SECOND: Final = "second"
"""The name of the measure that the columns are about; its quota is the assignment's `<key>.second`."""


class MatrixPays(StrEnum):
    """What the cells of a matrix are."""

    TARGET_PERCENT = "target_percent"
    """Percents of the target variable."""
    AMOUNT = "amount"
    """Amounts of the plan's currency."""
    RATE = "rate"
    """Rates of pay on everything that the first measure counts."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The parts one measure is divided into: the first has everything below the second's bound, the last is open."""

    measure: Measure
    scale: TierScale
    bounds: tuple[Bound, ...]

    def __post_init__(self) -> None:
        check_credited(self.measure)
        check_bounds(self.bounds, self.scale, "/bounds")


@dataclass(frozen=True, slots=True)
class Matrix:
    """The cell of the row that the first measure has reached and the column that the second has."""

    key: str
    name: str
    rows: Axis
    columns: Axis
    pays: MatrixPays
    cells: tuple[tuple[Decimal, ...], ...]
    allocation_percent: Decimal = WHOLE_PERCENT

    def __post_init__(self) -> None:
        check_key(self.key)
        check_allocation(self.allocation_percent)
        if len(self.cells) != len(self.rows.bounds):
            raise InvalidInput.field(
                "/cells", f"has {len(self.cells)} rows", f"a row for each of the {len(self.rows.bounds)} bounds of rows"
            )
        for row, cells in enumerate(self.cells):
            if len(cells) != len(self.columns.bounds):
                raise InvalidInput.field(
                    f"/cells/{row}",
                    f"has {len(cells)} cells",
                    f"one for each of the {len(self.columns.bounds)} bounds of columns",
                )
            for column, cell in enumerate(cells):
                self._check_cell(cell, f"/cells/{row}/{column}")

    def _check_cell(self, cell: Decimal, pointer: str) -> None:
        if cell < 0:
            raise InvalidInput.field(pointer, "is negative", "0 or more")
        if self.pays is MatrixPays.RATE and self.rows.measure.is_money and cell > 1:
            raise InvalidInput.field(
                pointer, f"{format_amount(cell)} pays more than the deal", "0 to 1, such as 0.05 for 5 %"
            )

    @property
    def measures(self) -> Sequence[ComponentMeasure]:
        """What it counts by."""
        return (
            ComponentMeasure(MAIN, self.rows.measure, self.allocation_percent),
            ComponentMeasure(SECOND, self.columns.measure, self.allocation_percent),
        )

    @property
    def is_linked(self) -> bool:
        """Whether a cell depends on more than the total of its own credits, or its deals one by one."""
        return True

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        return self.rows.scale is TierScale.ATTAINMENT
