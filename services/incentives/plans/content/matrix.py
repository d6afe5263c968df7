"""The JSON form of a matrix."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from services.incentives.plans.content.base import Key, Title
from services.incentives.plans.content.measures import CreditedContent, credited_of, measure_content
from services.incentives.plans.content.rewards import BoundContent, bound_content, bound_of
from services.incentives.plans.domain.kinds.matrix import Axis, Matrix, MatrixPays
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import POINTS_MAX
from shared.contracts.base import Amount
from shared.kernel.errors import InvalidInput

Cells = Annotated[list[list[Amount]], Field(min_length=1, max_length=POINTS_MAX)]


class AxisContent(CreditedContent):
    """A measure and the parts it is divided into."""

    by: TierScale = Field(
        description="`amount`: bounds in the measure's unit. `attainment`: shares of its quota, of which the second "
        "measure has one of its own, `<key>.second`."
    )
    bounds: list[BoundContent] = Field(
        min_length=1,
        max_length=POINTS_MAX,
        description="Where each part begins: the first from 0, which has everything below the next one.",
    )


class MatrixContent(AxisContent):
    """A matrix component: the row that its measure has reached and the column that the second one has look up the pay.

    `measure`, `crediting`, `role`, `by` and `bounds` are those of the rows.
    """

    kind: Literal["matrix"]
    key: Key = Field(examples=["matrix"])
    name: Title = Field(examples=["Revenue and margin"])
    allocation_percent: Amount = Field(Decimal(100), description="Scales every credit.", examples=["100"])
    second: AxisContent = Field(description="The columns.")
    pays: MatrixPays = Field(
        description="What the cells are: `target_percent`, percents of the target variable; `amount`, amounts; "
        "`rate`, pay for each unit of the first measure."
    )
    cells: Cells = Field(description="A row for each bound of the rows, in it a cell for each of the columns.")


def matrix_of(content: MatrixContent, pointer: str, *, is_stored: bool) -> Matrix:
    """The matrix that is meant, or InvalidInput that points below `pointer`; `is_stored` as in `measure_of`."""
    rows = _axis(content, pointer, is_stored=is_stored)
    columns = _axis(content.second, f"{pointer}/second", is_stored=is_stored)
    cells = tuple(tuple(row) for row in content.cells)
    try:
        return Matrix(content.key, content.name, rows, columns, content.pays, cells, content.allocation_percent)
    except InvalidInput as error:
        raise error.under(pointer) from None


def matrix_content(component: Matrix) -> MatrixContent:
    """The content that `matrix_of` turns back into an equal matrix."""
    return MatrixContent(
        kind="matrix",
        **dict(_axis_content(component.rows)),
        key=component.key,
        name=component.name,
        allocation_percent=component.allocation_percent,
        second=_axis_content(component.columns),
        pays=component.pays,
        cells=[list(row) for row in component.cells],
    )


def _axis(content: AxisContent, pointer: str, *, is_stored: bool) -> Axis:
    measure = credited_of(content, pointer, is_stored=is_stored)
    try:
        return Axis(measure, content.by, tuple(bound_of(bound) for bound in content.bounds))
    except InvalidInput as error:
        raise error.under(pointer) from None


def _axis_content(axis: Axis) -> AxisContent:
    return AxisContent(
        measure=measure_content(axis.measure),
        crediting=axis.measure.crediting,
        role=axis.measure.role,
        by=axis.scale,
        bounds=[bound_content(bound) for bound in axis.bounds],
    )
