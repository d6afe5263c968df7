"""Override: a share of what those below a manager bring in, by the hierarchy of each deal's day."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.incentives.plans.domain.kinds.commission import Basis, Commission
from services.incentives.plans.domain.parameters import MAIN, WHOLE_PERCENT, ComponentMeasure
from services.incentives.plans.domain.rates import Rate
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Crediting, Measure

DEPTH_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Override:
    """A commission on the shares of everyone who was, on the deal's day, in a team the person managed or in one below.

    `depth` is how many levels of teams count: 1 is the managed teams alone, 2 with those right below them, None all.
    """

    key: str
    name: str
    measure: Measure
    rate: Rate
    depth: int | None = None
    allocation_percent: Decimal = WHOLE_PERCENT
    basis: Basis = Basis.CUMULATIVE

    def __post_init__(self) -> None:
        if self.measure.crediting is not Crediting.ROLLUP:
            raise InvalidInput.field("/crediting", f"{self.measure.crediting} is of no subtree", Crediting.ROLLUP)
        if self.depth is not None and not 1 <= self.depth <= DEPTH_MAX:
            raise InvalidInput.field("/depth", f"is {self.depth}", f"1 to {DEPTH_MAX}, or null for all levels")
        self.paid_as()

    def paid_as(self) -> Commission:
        """The commission that pays what it counts."""
        return Commission(self.key, self.name, self.measure, self.rate, self.allocation_percent, self.basis)

    @property
    def measures(self) -> Sequence[ComponentMeasure]:
        """What it counts by."""
        return (ComponentMeasure(MAIN, self.measure, self.allocation_percent, depth=self.depth),)

    @property
    def is_linked(self) -> bool:
        """Whether a cell depends on more than the total of its own credits, or its deals one by one."""
        return self.paid_as().is_linked

    @property
    def needs_quota(self) -> bool:
        """Whether nothing can be paid without a quota."""
        return self.paid_as().needs_quota
