"""What the demo measures and shows."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from deploy.local.demo.board import Board, GoalNumber, LatencyMeter
from deploy.local.demo.company import EMPLOYEES, SELLERS, TEAMS
from deploy.local.demo.seeding import SeededCompany
from deploy.local.demo.terminal import LiveView, PlainView, numbers_table, view_for
from shared.kernel.periods import Period

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def after(milliseconds: float) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def number(goal_id: UUID, *, version: int = 1, value: str = "0", target: str = "100") -> GoalNumber:
    return GoalNumber(
        goal_id=goal_id, version=version, value=Decimal(value), target=Decimal(target), deals=0, received_at=None
    )


@pytest.fixture
def seeded() -> SeededCompany:
    keys: list[str | None] = [None, *(team.key for team in TEAMS), *(seller.key for seller in SELLERS)]
    goals: Mapping[str | None, UUID] = {key: uuid4() for key in keys}
    return SeededCompany(
        quarter=Period(date(2026, 10, 1), date(2027, 1, 1)),
        root_team_id=uuid4(),
        people={employee.key: uuid4() for employee in EMPLOYEES},
        scenario_ids=[],
        bookings_goals=goals,
        deals_goals={key: uuid4() for key in keys},
        hooks={},
        plan_id=uuid4(),
        created=0,
    )


def test_latency_runs_from_the_start_of_the_post_whose_acceptance_the_event_names() -> None:
    meter = LatencyMeter()
    meter.started(after(0))
    meter.answered(after(8))
    meter.started(after(50))
    meter.answered(after(60))
    meter.arrived(after(5), after(30))
    meter.arrived(after(55), after(150))
    assert meter.percentile_milliseconds(0.5) == 30
    assert meter.percentile_milliseconds(0.95) == 100


def test_an_event_may_arrive_before_the_answer() -> None:
    meter = LatencyMeter()
    meter.started(after(0))
    meter.arrived(after(5), after(12))
    assert meter.percentile_milliseconds(0.5) == 12


def test_a_moment_that_lies_in_no_post_is_not_measured() -> None:
    meter = LatencyMeter()
    meter.started(after(0))
    meter.answered(after(8))
    meter.arrived(after(20), after(30))
    meter.arrived(after(-5), after(30))
    assert meter.percentile_milliseconds(0.5) is None


def test_a_delivery_is_measured_once_however_many_events_name_it() -> None:
    meter = LatencyMeter()
    meter.started(after(0))
    meter.arrived(after(5), after(30))
    meter.arrived(after(5), after(900))
    assert meter.percentile_milliseconds(0.5) == meter.percentile_milliseconds(1) == 30


def test_an_older_version_of_a_goal_is_no_news() -> None:
    board, goal_id = Board(to_send=1), uuid4()
    assert board.moved(number(goal_id, version=3, value="30"))
    assert not board.moved(number(goal_id, version=2, value="20"))
    assert board.goals[goal_id].value == 30


def test_the_rate_is_that_of_the_last_three_seconds() -> None:
    board = Board(to_send=10)
    for milliseconds in (0, 4000, 5000, 6000):
        board.answered(202, after(milliseconds))
    assert board.deliveries_per_second(after(6500)) == pytest.approx(1.0)


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_the_table_shows_every_team_and_seller_with_numbers_uncut(columns: int, seeded: SeededCompany) -> None:
    board = Board(to_send=1)
    for goal_id in seeded.goal_ids:
        board.moved(number(goal_id, value="1234567.8", target="3600000"))
    board.earned = {person_id: Decimal("12345.67") for person_id in seeded.people.values()}
    console = Console(width=columns)
    lines = ["".join(segment.text for segment in line) for line in console.render_lines(numbers_table(board, seeded))]
    text = "\n".join(lines)
    for name in (team.name for team in TEAMS):
        assert name in text
    for name in (seller.name for seller in SELLERS):
        assert name in text
    assert text.count("1,234,568") == 11
    assert text.count("12,345.67") == 7
    assert "34%" in text
    assert max(map(len, lines)) <= columns


def test_without_a_terminal_every_event_is_printed_once(
    seeded: SeededCompany, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(to_send=2, started_at=START)
    view = view_for(Console(), board, seeded)
    assert isinstance(view, PlainView)
    board.narrate("first", after(1000))
    view.tick()
    board.narrate("second", after(2000))
    view.tick()
    view.tick()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(("first", "second"))]
    assert lines == ["   1.0 s  first", "   2.0 s  second"]


def test_on_a_terminal_it_is_drawn_in_place(seeded: SeededCompany) -> None:
    assert isinstance(view_for(Console(force_terminal=True), Board(to_send=1), seeded), LiveView)
