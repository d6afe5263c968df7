"""The other side of row 3, for an interpreter that has Pathway: the newest version of each deal, and the four sums.

Run as `python pathway_side.py` with a plan as a line of JSON on standard input; prints the result as JSON. It reads a
topic from its beginning, its persistence on, and has the sums in its memory. Amounts are added as whole cents: where a
commit leaves a group with as many rows as before, Pathway's sum of floats loses what changed.
"""

import json
import os
import sys
from functools import partial
from time import process_time, time_ns

import pathway as pw

_COMMIT_MILLISECONDS = 100

Row = dict[str, int]


class Outcome:
    """What has come out of the tables. Commits are named by the milliseconds since 1970 at which they were opened."""

    def __init__(self, tables: dict[str, pw.Table], events: int) -> None:
        self._events = events
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in tables}
        self._ended = dict.fromkeys(tables, 0)
        self._first_commit = self._last_commit = 0
        self._cpu_seconds_before = process_time()
        for name, table in tables.items():
            pw.io.subscribe(table, partial(self._on_change, name), on_time_end=partial(self._on_time_end, name))

    def _on_change(self, name: str, *, row: Row, time: int, is_addition: bool, **_more: object) -> None:
        if is_addition:
            self._rows[name][str(row[name])] = row
            self._first_commit = self._first_commit or time
            if row.get("read") == self._events:
                self._last_commit = time

    def _on_time_end(self, name: str, time: int) -> None:
        self._ended[name] = time
        if self._last_commit and min(self._ended.values()) >= self._last_commit:
            seconds = time_ns() / 1e9 - self._first_commit / 1e3
            print(
                json.dumps(
                    {
                        "seconds": seconds,
                        "cpu_seconds": process_time() - self._cpu_seconds_before,
                        "values": self._values(),
                    }
                ),
                flush=True,
            )
            # A stream has no end of its own.
            os._exit(0)

    def _values(self) -> dict[str, float]:
        """Of every goal, by its name."""
        owners, teams, company = self._rows["owner"], self._rows["team"], self._rows["company"]
        values = {f"{owner}/count": float(row["count"]) for owner, row in owners.items()}
        values |= {f"{owner}/amount": row["cents"] / 100 for owner, row in owners.items()}
        return values | {name: row["cents"] / 100 for name, row in (teams | company).items()}


def main() -> None:
    """Read a plan, run it, print the result."""
    plan = json.loads(sys.stdin.readline())
    deals = pw.io.kafka.read(
        {"bootstrap.servers": plan["bootstrap"], "group.id": plan["group"], "auto.offset.reset": "earliest"},
        topic=plan["topic"],
        schema=pw.schema_from_types(external_id=str, sequence=int, status=str, owner_external_id=str, amount=str),
        format="json",
        autocommit_duration_ms=_COMMIT_MILLISECONDS,
        name="deals",
    )
    version = pw.make_tuple(deals.sequence, deals.status, deals.owner_external_id, deals.amount)
    newest = deals.groupby(deals.external_id).reduce(version=pw.reducers.max(version))
    current = newest.select(status=pw.this.version[1], owner=pw.this.version[2], amount=pw.this.version[3])
    won = current.filter(current.status == "won").select(
        pw.this.owner, cents=pw.cast(int, (pw.this.amount.str.parse_float() * 100).num.round())
    )
    teams = pw.debug.table_from_rows(pw.schema_from_types(owner=str, team=str), list(plan["team_of"].items()))
    placed = won.join(teams, won.owner == teams.owner).select(won.owner, won.cents, teams.team)
    cents, count = pw.reducers.sum(pw.this.cents), pw.reducers.count()
    Outcome(
        {
            "owner": placed.groupby(placed.owner).reduce(placed.owner, cents=cents, count=count),
            "team": placed.groupby(placed.team).reduce(placed.team, cents=cents),
            "company": placed.reduce(company="company", cents=cents),
            "read": deals.reduce(read=count),
        },
        plan["events"],
    )
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(pw.persistence.Backend.filesystem(plan["folder"])),
    )


if __name__ == "__main__":
    main()
