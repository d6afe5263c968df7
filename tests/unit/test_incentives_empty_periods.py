"""What pays for a total of 0 is paid for periods in which something is credited, and for people who are on the plan."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from services.incentives.plans.domain.kinds.bonus import Bonus, Curve, CurvePoint
from services.incentives.plans.domain.kinds.matrix import Axis, Matrix, MatrixPays
from services.incentives.plans.domain.kinds.objective import Objective, Objectives
from services.incentives.plans.domain.rates import TierScale
from services.incentives.plans.domain.rewards import Bound, Reward
from shared.kernel.periods import DatedRange
from tests.unit.test_incentives_later_amounts import HERS, MONEY, NUMBER, known, paid, settled

FIRST, SECOND = date(2026, 1, 1), date(2026, 4, 1)


def test_the_lowest_cell_of_a_matrix_and_the_start_of_a_curve_pay_for_no_period_without_deals() -> None:
    rows, columns = (Axis(measure, TierScale.AMOUNT, (Bound(Decimal(0)),)) for measure in (MONEY, NUMBER))
    matrix = Matrix("pay", "Pay", rows, columns, MatrixPays.AMOUNT, ((Decimal(20),),))
    curve = Curve(TierScale.AMOUNT, (CurvePoint(Decimal(0), Decimal(50)), CurvePoint(Decimal(9), Decimal(100))))
    for component in (matrix, Bonus("pay", "Pay", MONEY, curve, Reward(Decimal(40)))):
        assert [(start, pay) for start, _, pay in paid(known(component, {}), (FIRST, 0))] == [(FIRST, 20)]


def test_an_objective_that_was_paid_goes_back_where_the_person_turns_out_not_to_be_on_the_plan() -> None:
    scored = Objectives("pay", "Pay", Reward(Decimal(100)), (Objective("all", "All", Decimal(100)),))
    scores = {HERS: {("pay", start): {"all": Decimal(100)} for start in (FIRST, SECOND)}}
    definitions = replace(known(scored, {}), scores=scores, today=SECOND)
    cells = settled(definitions, ()).changed_cells()
    assert {cell.key.period.start: int(cell.earned) for cell in cells} == {FIRST: 100, SECOND: 100}
    ended = replace(definitions.assignments[HERS], range=DatedRange(FIRST, SECOND))
    [gone] = settled(replace(definitions, assignments={HERS: ended}), (), cells).changed_cells()
    assert (gone.key.period.start, gone.earned) == (SECOND, Decimal(0))
