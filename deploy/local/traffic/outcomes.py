"""Plan against outcome, on the terminal."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.local.traffic.planning import Outcome
from shared.kernel.attainment import attainment, shown

_PER_MILLE: Final = Decimal("0.001")


def print_outcomes(console: Console, title: str, outcomes: Sequence[Outcome]) -> None:
    """Everybody's, each below who is above, then those of all people by month."""
    table = Table(title=title, title_justify="left", box=None, header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in ("planned", "reached", "attained", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    whole = outcomes[0].period
    for each in outcomes:
        if each.period == whole:
            name = Text("  " * each.depth + each.name, style="bold" if each.is_team else "")
            table.add_row(name, *_numbers(each.planned, each.reached))
    table.add_section()
    months = sorted({each.period.start for each in outcomes if each.period != whole})
    for month in months:
        of_month = [each for each in outcomes if each.period != whole and each.period.start == month]
        planned, reached = sum(each.planned for each in of_month), sum(each.reached for each in of_month)
        table.add_row(f"{month:%B %Y}", *_numbers(Decimal(planned), Decimal(reached)))
    console.print(table)


def _numbers(planned: Decimal, reached: Decimal) -> tuple[str, str, str, str]:
    share = shown(attainment(reached, target=planned), _PER_MILLE) or Decimal(0)
    return f"{planned:,}", f"{reached:,}", f"{share:.1%}", f"{reached - planned:+,}"
