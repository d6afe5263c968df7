"""A CSV pipeline is read by the readers of everything that comes from outside."""

from datetime import date
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.traffic.pipeline import read_pipeline
from deploy.local.traffic.planning import has_seasons, quarter_ahead
from shared.kernel.periods import Period

_TEAMS = "sales_agent,manager,regional_office\nAnn Lee,Bo Ray,West\n"
_COLUMNS = "opportunity_id,sales_agent,product,account,deal_stage,engage_date,close_date,close_value\n"


def _written(folder: Path, rows: str) -> Path:
    (folder / "sales_teams.csv").write_text(_TEAMS)
    (folder / "sales_pipeline.csv").write_text(
        f"{_COLUMNS}D1,Ann Lee,GTX Basic,Acme,Won,1/2/2017,3/4/2017,500\n{rows}\n"
    )
    return folder


def test_a_pipeline_is_read_in_business_order(tmp_path: Path) -> None:
    events = read_pipeline(_written(tmp_path, "D2,Ann Lee,GTX Basic,,Prospecting,,,")).events
    assert [(event.at.date().isoformat(), event.deal["external_id"], event.deal["amount"]) for event in events] == [
        ("2017-01-02", "D1", None),
        ("2017-01-02", "D2", None),
        ("2017-03-04", "D1", "500"),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("D2,Ann Lee,GTX Basic,Acme,Won,1/2/2017,3/4/2017,1_0.5", "close_value is '1_0.5'; expected a number"),
        ("D2,Ann Lee,GTX Basic,Acme,Won,1/2/2017,3/4/2017,５００", "close_value is '５００'; expected a number"),
        ("D2,Ann Lee,GTX Basic,Acme,Won,1/2/2017,3/4/2_017,5", "close_date is '3/4/2_017'; expected month/day/year"),
        ("D2,Ann Lee,GTX Basic,Acme,Won,１/2/2017,3/4/2017,5", "engage_date is '１/2/2017'; expected month/day/year"),
        ("D2,Ann Lee,GTX Basic,Acme,Won,2017-01-02,3/4/2017,5", "engage_date is '2017-01-02'; expected month/day/year"),
        ("D2,Ann Lee,GTX Basic,Acme,Won,1/2/2017,2/30/2017,5", "close_date is '2/30/2017'; expected month/day/year"),
        ("D2,Ann Lee,GTX Basic,Acme,Shut,1/2/2017,3/4/2017,5", "deal_stage is 'Shut'; expected one of Won, Lost"),
        ("D2,Bob,GTX Basic,Acme,Won,1/2/2017,3/4/2017,5", "'Bob' is not an agent"),
    ],
)
def test_what_cannot_be_read_is_told_by_file_line_and_column(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(StackError) as refused:
        read_pipeline(_written(tmp_path, row))
    assert f"sales_pipeline.csv line 3: {told}" in str(refused.value)


def test_the_last_quarter_is_planned_by_what_each_won_in_the_two_before(tmp_path: Path) -> None:
    rows = [
        "D2,Ann Lee,GTX Basic,Acme,Won,1/2/2017,3/31/2017,100",
        "D3,Ann Lee,GTX Basic,Acme,Won,1/2/2017,4/1/2017,20",
        "D4,Ann Lee,GTX Basic,Acme,Lost,1/2/2017,5/1/2017,0",
        "D5,Ann Lee,GTX Basic,Acme,Won,1/2/2017,9/30/2017,3",
        "D6,Ann Lee,GTX Basic,Acme,Won,1/2/2017,10/1/2017,500",
    ]
    pipeline = read_pipeline(_written(tmp_path, "\n".join(rows)))
    ahead = quarter_ahead(pipeline)
    assert (ahead.name, ahead.quarter) == (
        "2017 Q4, planned bookings",
        Period(date(2017, 10, 1), date(2018, 1, 1)),
    )
    assert pipeline.won(ahead.history) == {"Ann Lee": 23}


@pytest.mark.parametrize(("first", "expected"), [("10/1/2016", True), ("10/2/2016", False)])
def test_seasons_take_a_whole_year_before_the_quarter(tmp_path: Path, first: str, expected: bool) -> None:
    rows = f"D2,Ann Lee,GTX Basic,Acme,Won,1/2/2016,{first},1\nD3,Ann Lee,GTX Basic,Acme,Lost,1/2/2017,12/1/2017,0"
    pipeline = read_pipeline(_written(tmp_path, rows))
    assert has_seasons(pipeline, quarter_ahead(pipeline)) is expected
