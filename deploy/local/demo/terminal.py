"""The show on the terminal: one table that fills, a line of figures, the last few things that happened.

Where the output is not a terminal, what happened is printed line by line, with the figures every few seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from deploy.local.demo import company
from deploy.local.demo.board import Board, GoalNumber
from deploy.local.demo.company import SELLERS, TEAMS
from deploy.local.demo.seeding import SeededCompany
from shared.kernel.attainment import attainment, shown

_STORY_LINES: Final = 7
_ROWS_WITHOUT_STORY: Final = 20
_PLAIN_FIGURES_SECONDS: Final = 5.0
_WHOLE: Final = Decimal(1)
_PERCENT: Final = Decimal("0.01")


class LiveView:
    """Draws the board over and over in place."""

    def __init__(self, console: Console, board: Board, seeded: SeededCompany) -> None:
        self._console = console
        self._board = board
        self._seeded = seeded
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    @contextmanager
    def showing(self) -> Iterator[None]:
        """For the time of the block."""
        with self._live:
            yield

    def tick(self) -> None:
        """Draw it as it is now."""
        self._live.update(self._frame(), refresh=True)

    def _frame(self) -> RenderableType:
        lines = max(3, min(_STORY_LINES, self._console.height - _ROWS_WITHOUT_STORY))
        return Group(
            numbers_table(self._board, self._seeded),
            Padding(Text.assemble(*_figures(self._board), overflow="ellipsis", no_wrap=True), (1, 0, 1, 1)),
            _story(self._board, lines),
        )


class PlainView:
    """Prints what is new since the last tick."""

    def __init__(self, console: Console, board: Board, seeded: SeededCompany) -> None:
        self._console = console
        self._board = board
        self._seeded = seeded
        self._printed = 0
        self._figures_at: datetime | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Print, at the end of the block, all the numbers."""
        yield
        self._print_figures()
        self._console.print(numbers_table(self._board, self._seeded))

    def tick(self) -> None:
        """Print what happened since the last tick, and now and then the figures."""
        unprinted = self._board.lines_written - self._printed
        for line in list(self._board.story)[-unprinted:] if unprinted else []:
            self._console.print(f"{line.seconds:6.1f} s  {line.text}", markup=False, highlight=False, soft_wrap=True)
        self._printed = self._board.lines_written
        now = datetime.now(UTC)
        if self._figures_at is None or (now - self._figures_at).total_seconds() >= _PLAIN_FIGURES_SECONDS:
            self._figures_at = now
            self._print_figures()

    def _print_figures(self) -> None:
        figures = "".join(part if isinstance(part, str) else part[0] for part in _figures(self._board))
        self._console.print(f"          {figures}", markup=False, highlight=False, soft_wrap=True)


View = LiveView | PlainView


def view_for(console: Console, board: Board, seeded: SeededCompany) -> View:
    """The one that fits what the console writes to."""
    return LiveView(console, board, seeded) if console.is_terminal else PlainView(console, board, seeded)


def numbers_table(board: Board, seeded: SeededCompany) -> Table:
    """The company, its teams and its sellers: bookings against target, deals won, earnings."""
    table = Table(box=None, expand=True, pad_edge=True, padding=(0, 1), header_style="dim")
    table.add_column("", no_wrap=True, min_width=17)
    table.add_column("", ratio=1, min_width=8)
    table.add_column("booked", justify="right", no_wrap=True, min_width=9)
    table.add_column("target", justify="right", no_wrap=True, style="dim")
    table.add_column("", justify="right", no_wrap=True, min_width=5)
    table.add_column("won", justify="right", no_wrap=True)
    table.add_column("earned", justify="right", no_wrap=True, min_width=10)

    def add(key: str | None, label: Text, earned: Decimal | None) -> None:
        bookings = board.goals.get(seeded.bookings_goals[key])
        deals = board.goals.get(seeded.deals_goals[key])
        share = _share(bookings)
        table.add_row(
            label,
            _bar(share),
            "" if bookings is None else f"{bookings.value:,.0f}",
            "" if bookings is None else f"{bookings.target:,.0f}",
            Text(f"{share:.0%}", style="green" if share >= _WHOLE else ""),
            "" if deals is None else f"{deals.value:.0f}/{deals.target:.0f}",
            "" if earned is None else Text(f"{earned:,.2f}", style="cyan"),
        )

    total = sum(board.earned.values(), Decimal(0))
    add(None, Text(company.NAME, style="bold"), total)
    for team in TEAMS:
        members = [seller for seller in SELLERS if seller.team == team.key]
        team_total = sum((board.earned.get(seeded.people[seller.key], Decimal(0)) for seller in members), Decimal(0))
        add(team.key, Text(f"  {team.name}", style="bold"), team_total)
        for seller in members:
            add(seller.key, Text(f"    {seller.name}"), board.earned.get(seeded.people[seller.key], Decimal(0)))
    return table


def title(text: str) -> Rule:
    """A heading between the parts of the output."""
    return Rule(Text(text, style="bold"), align="left", style="dim")


def _figures(board: Board) -> list[str | tuple[str, str]]:
    """The line of figures, in parts with their styles."""
    now = datetime.now(UTC)
    p50, p95 = (board.latency.percentile_milliseconds(share) for share in (0.5, 0.95))
    latency = "…" if p50 is None else f"p50 {p50} ms  p95 {p95} ms"
    refused = board.answers.get(401, 0)
    accepted = sum(board.answers.values()) - refused
    return [
        (f"{board.sent}", "bold"),
        (f"/{board.to_send} sent   ", "dim"),
        (f"{board.deliveries_per_second(now):.0f}/s", "bold"),
        ("   accepted ", "dim"),
        (f"{accepted}", "bold"),
        ("  refused ", "dim"),
        (f"{refused}", "bold"),
        ("   webhook → live number ", "dim"),
        (latency, "bold"),
    ]


def _story(board: Board, lines: int) -> RenderableType:
    shown = list(board.story)[-lines:]
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(justify="right", style="dim", no_wrap=True, min_width=7)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for index, line in enumerate(shown):
        style = "" if index >= len(shown) - 2 else "dim"
        grid.add_row(f"{line.seconds:.1f} s", Text(line.text, style=style))
    for _ in range(lines - len(shown)):
        grid.add_row("", "")
    return grid


def _share(number: GoalNumber | None) -> Decimal:
    """Of the target, in whole percents that reach none too early."""
    share = None if number is None else shown(attainment(number.value, target=number.target), _PERCENT)
    return Decimal(0) if share is None else share


def _bar(share: Decimal) -> ProgressBar:
    done = share >= _WHOLE
    return ProgressBar(
        total=100,
        completed=int(min(max(share, Decimal(0)), _WHOLE) * 100),
        complete_style="green" if done else "blue",
        finished_style="green",
        style="grey23",
    )
