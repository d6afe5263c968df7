"""Components that a few fields of each deal decide: the database credits all deals of their assignments at once.

A plain component credits the owner of a whole deal on the day the deal was closed, in the plan's currency, and pays by
the total alone. `store.credit_plain` works its credits out by sets. The rule is that of `Definitions.credits`, which
knows every component: a property test holds the two equal, and deals that need more of the rule, such as a rate of
exchange or the tenant's time zone, send their assignment there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.incentives.credits.domain.credit import CellKey
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.components import Component, needs_deals
from services.incentives.plans.domain.crediting import PLAIN_CREDITING
from services.incentives.plans.domain.parameters import WHOLE_PERCENT
from shared.kernel.deals import DEAL_FIELDS, DateField
from shared.kernel.filters import FieldType, Filter, Operator, conditions_of
from shared.kernel.measures import CRM_CONVERTED_FIELD, Aggregate, Crediting, Measure
from shared.kernel.parts import share_value
from shared.kernel.periods import Period, PeriodKind
from shared.kernel.records import RecordKind

_OPERATORS: Final = (Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN, Operator.EXISTS)
"""Those that compare texts character by character."""
_TEXTS: Final = frozenset(name for name in DEAL_FIELDS.names if DEAL_FIELDS.type_of(name) is FieldType.TEXT)


@dataclass(frozen=True, slots=True)
class PlainComponent:
    """What a component credits in its cells, in order: `percent` of each deal. These are all cells before `until`."""

    key: str
    measure: Measure
    percent: Decimal
    cells: tuple[Period, ...]
    until: date


class CreditTotal(NamedTuple):
    """What all credits of a cell sum to, and how many they are."""

    value: Decimal
    credits: int


class PlainCredits(NamedTuple):
    """The assignments that were credited by sets, and what their cells came to."""

    assignments: frozenset[UUID]
    totals: Mapping[CellKey, CreditTotal]


def plain_components(known: Definitions, assignment: Assignment) -> tuple[PlainComponent, ...] | None:
    """Every component that an assignment is paid by, if all of them are plain; None if one is not.

    Of an assignment that is no more these are none.
    """
    first = known.first_terms(assignment.plan_id)
    if assignment.deleted or first is None:
        return ()
    begins = max(first, assignment.range.start)
    until = known.period_of(PeriodKind.YEAR, max(begins, known.today)).end
    cells = known.terms_within(
        assignment.plan_id, Period(max(first, known.period_of(PeriodKind.YEAR, begins).start), until)
    )
    if known.asks_for_owners or not cells or cells[0].period.start > begins:
        return None
    found: dict[str, tuple[Component, list[Period]]] = {}
    for period, version in cells:
        if version.rules.crediting != PLAIN_CREDITING:
            return None
        for component in version.components:
            of_key, periods = found.setdefault(component.key, (component, []))
            linked = known.linked_year(CellKey(assignment.id, component.key, period))
            if linked is not None or of_key.measures != component.measures or not _is_plain(component):
                return None
            periods.append(period)
    return tuple(
        PlainComponent(
            key,
            component.measures[0].measure,
            share_value(WHOLE_PERCENT, component.measures[0].allocation_percent),
            tuple(periods),
            until,
        )
        for key, (component, periods) in found.items()
    )


def _is_plain(component: Component) -> bool:
    if needs_deals(component) or len(component.measures) != 1:
        return False
    [counted] = component.measures
    measure = counted.measure
    return (
        not counted.multipliers
        and counted.windfall is None
        and not counted.of_plan
        and measure.crediting is Crediting.OWNER
        and measure.record is RecordKind.DEAL
        and measure.date_field is DateField.CLOSED
        and (measure.aggregate is Aggregate.COUNT or measure.value_field == CRM_CONVERTED_FIELD)
        and _compares_texts(measure.filter)
    )


def _compares_texts(node: Filter) -> bool:
    return all(each.field in _TEXTS and each.op in _OPERATORS for each in conditions_of(node))
