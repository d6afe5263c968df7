"""A CSV pipeline is read by the readers of everything that comes from outside."""

from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.traffic.pipeline import read_pipeline

_TEAMS = "sales_agent,manager,regional_office\nAnn Lee,Bo Ray,West\n"
_COLUMNS = "opportunity_id,sales_agent,product,account,deal_stage,engage_date,close_date,close_value\n"


def _written(folder: Path, row: str) -> Path:
    (folder / "sales_teams.csv").write_text(_TEAMS)
    (folder / "sales_pipeline.csv").write_text(
        f"{_COLUMNS}D1,Ann Lee,GTX Basic,Acme,Won,1/2/2017,3/4/2017,500\n{row}\n"
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
