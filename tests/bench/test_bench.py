"""`attain bench` runs each of its rows and says what it found. A smoke test of the command, not of the numbers."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from decimal import Decimal
from pathlib import Path

import pytest

from deploy.local.bench.company import company, differing
from deploy.local.bench.report import Bound, Row
from shared.contracts.goals import Goal
from tests.servers.infrastructure import PROJECT_FOLDER, SCRATCH


def _row(*, ours: tuple[float, ...], bound: Bound, required: float, problems: tuple[str, ...] = ()) -> Row:
    other = (100.0,) * len(ours)
    return Row(1, "ours", "theirs", "1/s", ours, other, bound, required, problems=problems)


def test_the_ratio_is_the_median_of_the_rounds_and_must_be_on_the_right_side_of_its_bound() -> None:
    ours = (10.0, 60.0, 1000.0)
    assert _row(ours=ours, bound=Bound.AT_LEAST, required=0.6).ratio == 0.6
    assert _row(ours=ours, bound=Bound.AT_LEAST, required=0.6).met
    assert not _row(ours=ours, bound=Bound.AT_LEAST, required=0.61).met
    assert _row(ours=ours, bound=Bound.AT_MOST, required=0.6).met
    assert not _row(ours=ours, bound=Bound.AT_MOST, required=0.59).met


def test_a_row_whose_results_are_wrong_is_not_met_however_fast_it_was() -> None:
    assert not _row(ours=(1000.0,), bound=Bound.AT_LEAST, required=0.6, problems=("a goal is off by one",)).met


def test_every_goal_must_count_the_newest_version_of_each_deal_to_the_cent() -> None:
    values = {event.name: Decimal(0) for event in company().events if isinstance(event, Goal)}
    # The fourth event changes the third deal.
    for number, amount in enumerate(map(Decimal, ("1000.50", "1001.50", "1003.50"))):
        values |= {f"owner-00{number}/amount": amount, f"owner-00{number}/count": Decimal(1), f"team/{number}": amount}
    values["company"] = Decimal("3005.50")
    assert differing(values, "ours", 4) == []
    values["company"] = Decimal("3005.49")
    del values["team/3"]
    assert differing(values, "ours", 4) == [
        "ours: company counts 3005.49, expected 3005.50",
        "ours: team/3 counts None, expected 0",
    ]


@pytest.mark.parametrize(("rows", "scale"), [("1,2,3", "0.05"), ("4,7,8,9", "0.01"), ("5,6", "0.2")])
async def test_every_row_is_measured_with_results_that_are_right(rows: str, scale: str, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local.cli", "bench"),
        *("--rows", rows, "--rounds", "1", "--scale", scale, "--json", str(results)),
        cwd=PROJECT_FOLDER,
        env={name: value for name, value in os.environ.items() if not name.startswith("ATTAIN_")} | {"TMPDIR": SCRATCH},
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    measured = json.loads(results.read_text()) if results.exists() else []
    left_out = {"3"} if b"row 3 is left out: " in output else set()
    assert {str(row["row"]) for row in measured} == set(rows.split(",")) - left_out, output.decode() + errors.decode()
    for row in measured:
        assert row["ours"] > 0
        assert row["other"] > 0
        assert row["ratio"] == pytest.approx(row["ours"] / row["other"])
        # On a busy machine the lag of so short a run may grow; everything else must be right.
        assert [problem for problem in row["problems"] if "lag grew" not in problem] == []
