"""A CSV sales pipeline, read as the company that sells and the events its CRM would have sent.

The folder has `sales_teams.csv` (sales_agent, manager, regional_office) and `sales_pipeline.csv` (opportunity_id,
sales_agent, product, account, deal_stage, engage_date, close_date, close_value; dates are month/day/year).
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

from deploy.local.errors import StackError
from shared.kernel.periods import Period
from shared.kernel.reading import read_day, read_decimal

CURRENCY = "USD"
_ENGAGED_AT = time(9, tzinfo=UTC)
_CLOSED_AT = time(18, tzinfo=UTC)
_STATUS = {"Won": "won", "Lost": "lost", "Engaging": "open", "Prospecting": "open"}
_TEAMS_COLUMNS = {"sales_agent", "manager", "regional_office"}
_PIPELINE_COLUMNS = {
    "opportunity_id",
    "sales_agent",
    "product",
    "account",
    "deal_stage",
    "engage_date",
    "close_date",
    "close_value",
}


@dataclass(frozen=True, slots=True)
class Agent:
    """A seller, the manager it reports to and the office that manager belongs to."""

    name: str
    manager: str
    office: str


@dataclass(frozen=True, slots=True)
class PipelineEvent:
    """What the CRM would have sent at `at`: the deal's whole state after the change, in the canonical form."""

    at: datetime
    type: str
    deal: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The company and its events in business order."""

    agents: tuple[Agent, ...]
    events: tuple[PipelineEvent, ...]

    @property
    def years(self) -> tuple[int, ...]:
        """The calendar years in which deals closed."""
        return tuple(dict.fromkeys(day.year for day in self.closed_on))

    @property
    def closed_on(self) -> tuple[date, ...]:
        """The days on which deals closed, the first one first."""
        return tuple(sorted({event.at.date() for event in self.events if event.deal["closed_on"] is not None}))

    def won(self, period: Period) -> Mapping[str, Decimal]:
        """What each agent won in a period, by name; without those who won nothing."""
        names = {user_id(agent.name): agent.name for agent in self.agents}
        found: defaultdict[str, Decimal] = defaultdict(Decimal)
        for event in self.events:
            if event.deal["status"] == "won" and event.at.date() in period:
                found[names[str(event.deal["owner_external_id"])]] += Decimal(str(event.deal["amount"]))
        return found


def read_pipeline(folder: Path) -> Pipeline:
    """The pipeline in `folder`; `StackError` names the file and the row that cannot be read."""
    agents = tuple(
        Agent(row["sales_agent"], row["manager"], row["regional_office"])
        for _, row in _rows(folder / "sales_teams.csv", _TEAMS_COLUMNS)
    )
    offices = {agent.name: agent.office for agent in agents}
    rows = list(_rows(folder / "sales_pipeline.csv", _PIPELINE_COLUMNS))
    engaged = (_day(place, row, "engage_date") for place, row in rows if row["engage_date"])
    first_day = min(engaged, default=date(2000, 1, 1))
    events: list[PipelineEvent] = []
    for place, row in rows:
        if row["sales_agent"] not in offices:
            raise StackError(f"{place}: {row['sales_agent']!r} is not an agent of sales_teams.csv.")
        events.extend(_events(place, row, offices[row["sales_agent"]], first_day))
    return Pipeline(agents, tuple(sorted(events, key=lambda event: event.at)))


def user_id(name: str) -> str:
    """The id by which the CRM of this pipeline knows a person."""
    return name.lower().replace(" ", ".")


def _events(place: str, row: Mapping[str, str], office: str, first_day: date) -> Iterator[PipelineEvent]:
    """Engaged, then won or lost. A prospect without a date was there from the first day on."""
    status = _STATUS.get(row["deal_stage"])
    if status is None:
        raise _unreadable(place, row, "deal_stage", f"one of {', '.join(_STATUS)}")
    engaged_on = _day(place, row, "engage_date") if row["engage_date"] else first_day
    engaged_at = datetime.combine(engaged_on, _ENGAGED_AT)
    state: dict[str, object] = {
        "external_id": row["opportunity_id"],
        "modified_at": engaged_at.isoformat(),
        "status": "open",
        "stage": "Prospecting" if row["deal_stage"] == "Prospecting" else "Engaging",
        "owner_external_id": user_id(row["sales_agent"]),
        "name": f"{row['account'] or 'Prospect'} - {row['product']}",
        "amount": None,
        "currency": CURRENCY,
        "created_at": engaged_at.isoformat(),
        "closed_on": None,
        "region": office,
        "account_name": row["account"] or None,
        "products": [{"sku": row["product"].replace("GTXPro", "GTX Pro"), "quantity": "1", "amount": None}],
    }
    yield PipelineEvent(engaged_at, "deal.upserted", state)
    if status == "open":
        return
    closed_at = datetime.combine(_day(place, row, "close_date"), _CLOSED_AT)
    if read_decimal(row["close_value"]) is None:
        raise _unreadable(place, row, "close_value", "a number such as 1054")
    closed = {
        "modified_at": closed_at.isoformat(),
        "status": status,
        "stage": row["deal_stage"],
        "amount": row["close_value"],
        "closed_on": closed_at.date().isoformat(),
    }
    yield PipelineEvent(closed_at, "deal.upserted", state | closed)


def _day(place: str, row: Mapping[str, str], column: str) -> date:
    month, day, year = (part.rjust(2, "0") for part in [*row[column].split("/"), "", ""][:3])
    found = read_day(f"{year}-{month}-{day}")
    if found is None or row[column].count("/") != 2:
        raise _unreadable(place, row, column, "month/day/year, such as 3/17/2017")
    return found


def _unreadable(place: str, row: Mapping[str, str], column: str, expected: str) -> StackError:
    return StackError(f"{place}: {column} is {row[column]!r}; expected {expected}.")


def _rows(path: Path, columns: set[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := columns - set(reader.fieldnames or ()):
                raise StackError(f"{path}: the column {min(missing)!r} is missing.")
            for number, row in enumerate(reader, start=2):
                yield f"{path} line {number}", row
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}.") from error
