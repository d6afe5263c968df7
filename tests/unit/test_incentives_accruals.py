"""On which cost centre somebody is booked, and what a plan costs."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from services.incentives.accruals.domain import CostCentre, accruals_of, cost_centre_of, is_expense_of
from services.incentives.ledger.domain import Movement
from shared.kernel.approvals import SERVICE
from shared.kernel.org import MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange, Period

ANN, WORLD, WEST, EAST, PLAN = (UUID(int=number) for number in range(1, 6))
JUNE = Period(date(2026, 6, 1), date(2026, 7, 1))
CHART = OrgChart(
    teams={
        team.id: team for team in (TeamNode(WORLD, None, None), TeamNode(WEST, WORLD, None), TeamNode(EAST, None, None))
    },
    memberships=[
        MembershipFact(ANN, EAST, DatedRange(date(2026, 3, 1), None)),
        MembershipFact(ANN, WEST, DatedRange(date(2026, 2, 1), None)),
    ],
)


def booked(team: UUID, start: date, code: str) -> CostCentre:
    return CostCentre(UUID(int=9), team, start, code, SERVICE, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_cost_centre_counts_from_its_first_day_and_the_latest_that_has_begun_counts() -> None:
    centres = [booked(WEST, date(2026, 6, 10), "2"), booked(WEST, date(2026, 6, 1), "1")]
    days = (date(2026, 5, 31), date(2026, 6, 1), date(2026, 6, 9), date(2026, 6, 10))
    for order in (centres, centres[::-1]):
        assert [cost_centre_of(CHART, order, ANN, day) for day in days] == ["", "1", "1", "2"]


def test_somebody_is_booked_by_the_team_above_and_by_the_membership_that_began_first() -> None:
    above, other = booked(WORLD, date(2026, 1, 1), "world"), booked(EAST, date(2026, 1, 1), "east")
    assert cost_centre_of(CHART, [above, other], ANN, date(2026, 6, 1)) == "world"
    assert cost_centre_of(CHART, [other], ANN, date(2026, 6, 1)) == "east"


def test_a_pay_period_is_booked_by_its_last_day() -> None:
    moved = Movement(JUNE.end, f"payable:{ANN}", ANN, "USD", Decimal(-5))
    [row] = accruals_of([moved], CHART, [booked(WEST, date(2026, 6, 30), "last")], {JUNE.end: JUNE})
    assert (row.account, row.cost_centre, row.amount) == ("payable", "last", Decimal(-5))


def test_what_is_adjusted_by_hand_is_a_cost_of_its_plan_as_well() -> None:
    accounts = (
        f"expense:commission:{PLAN}",
        f"expense:adjustment:{PLAN}",
        f"expense:commission:{ANN}",
        f"payable:{PLAN}",
    )
    assert [is_expense_of(account, PLAN) for account in accounts] == [True, True, False, False]
