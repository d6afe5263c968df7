"""The tree of a plan on the terminal."""

from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Literal
from uuid import UUID, uuid4

from rich.console import Console

from deploy.local.demo.targets import targets_tree
from services.goals.planning.schemas import NodeAnswer
from services.goals.targets.schemas import OwnerBody, PeriodAnswer

QUARTER = PeriodAnswer(start=date(2027, 1, 1), end=date(2027, 4, 1))
MARCH = PeriodAnswer(start=date(2027, 3, 1), end=date(2027, 4, 1))


def node(
    name: str,
    parent: NodeAnswer | None,
    target: str,
    *,
    kind: Literal["team", "person"] = "team",
    period: PeriodAnswer = QUARTER,
    mismatch: str = "0",
    change: str | None = None,
) -> NodeAnswer:
    parent_id: UUID | None = None if parent is None else parent.id
    return NodeAnswer.model_validate(
        {
            "id": uuid4(),
            "parent_id": parent_id,
            "owner": OwnerBody.model_validate({"kind": kind, "id": uuid4()}),
            "name": name,
            "period": period,
            "target": Decimal(target),
            "handed_down": Decimal(target),
            "over_assigned": Decimal(0),
            "mismatch": Decimal(mismatch),
            "locked": False,
            "stated": False,
            "reached": None,
            "last_year": None,
            "change": None if change is None else Decimal(change),
            "probability": None,
            "share": None,
            "goal_id": None,
            "note": "",
        }
    )


def test_the_tree_says_who_is_to_reach_what_when_and_what_does_not_add_up() -> None:
    sales = node("Sales", None, "1200000", mismatch="-30000", change="0.125")
    north = node("North", sales, "700000", mismatch="10")
    ray = node("Ray", north, "700010", kind="person", change="-0.2")
    march = node("Ray", ray, "250000.50", kind="person", period=MARCH)
    nobody = node("Nobody", sales, "0", kind="person")
    south = node("South", sales, "470000")
    output = StringIO()
    nodes = [sales, north, ray, march, nobody, node("Nobody", nobody, "0", period=MARCH), south]
    Console(file=output, width=120).print(targets_tree(nodes, "EUR"))
    assert [line.rstrip() for line in output.getvalue().splitlines()] == [
        "Sales                         1,200,000 EUR  +12.5% against last year  2027-01-01 to 2027-03-31"
        "  below it 30,000 less",
        "├── North                       700,000 EUR  below it 10 more",
        "│   └── Ray                     700,010 EUR  -20.0% against last year",
        "│       └── Ray              250,000.50 EUR  2027-03-01 to 2027-03-31",
        "└── South                       470,000 EUR",
    ]
