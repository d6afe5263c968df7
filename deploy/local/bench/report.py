"""What a measurement found, as a table for people and as JSON for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from rich.table import Table


class Bound(StrEnum):
    """Which way a ratio is good."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: both sides of every round, measured one after the other on the same machine."""

    number: int
    what: str
    against: str
    unit: str
    ours: tuple[float, ...]
    other: tuple[float, ...]
    bound: Bound
    required: float
    details: Mapping[str, object] = field(default_factory=dict)
    """What else was seen, by name."""
    problems: tuple[str, ...] = ()
    """What was wrong with the results themselves: a row with problems is not met whatever its ratio."""

    @property
    def ratio(self) -> float:
        """Median over the rounds of ours over the other side's: what else the machine did, both met alike."""
        return median(ours / other for ours, other in zip(self.ours, self.other, strict=True))

    @property
    def met(self) -> bool:
        if self.problems:
            return False
        return self.ratio >= self.required if self.bound is Bound.AT_LEAST else self.ratio <= self.required

    def as_json(self) -> dict[str, object]:
        return {
            "row": self.number,
            "what": self.what,
            "against": self.against,
            "unit": self.unit,
            "ours": median(self.ours),
            "other": median(self.other),
            "ratio": self.ratio,
            "bound": self.bound.value,
            "required": self.required,
            "met": self.met,
            "rounds": {"ours": list(self.ours), "other": list(self.other)},
            "details": dict(self.details),
            "problems": list(self.problems),
        }


def table(rows: Sequence[Row]) -> Table:
    """The rows one below the other."""
    shown = Table(title="Both sides in one run on this machine, in turns; medians", show_lines=True)
    shown.add_column("row", justify="right")
    shown.add_column("what", ratio=1)
    for heading in ("ours", "other side", "ratio", "required"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("verdict")
    for row in rows:
        shown.add_row(
            str(row.number),
            f"{row.what} ({row.unit}), against {row.against}",
            _number(median(row.ours)),
            _number(median(row.other)),
            "—" if row.problems else f"{row.ratio:.2f}",
            f"{row.bound.value} {row.required:g}",
            _verdict(row),
        )
    return shown


def _verdict(row: Row) -> str:
    if row.problems:
        return f"[red]not met[/red]: {'; '.join(row.problems)}"
    if row.met:
        return "[green]met[/green]"
    return f"[red]{'below' if row.bound is Bound.AT_LEAST else 'above'} what is asked[/red]"


def _number(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
