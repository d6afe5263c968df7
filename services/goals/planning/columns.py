"""The columns of a scenario's table, out and in."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from services.goals.planning.domain.plan import Node
from services.goals.planning.service import StatedRow
from shared.tables.cells import place, refused
from shared.tables.columns import Column, Kind, ReadRow, Value

NODE_EXAMPLE: Final = "5f0c6a35-9b1e-5c38-a6a8-2f2b9f5f3a01"
NODES: Final = (
    Column("node_id", Kind.ID, required=True),
    Column("parent_id", Kind.ID),
    Column("owner_kind", Kind.WORD),
    Column("owner_id", Kind.ID),
    Column("name", Kind.TEXT),
    Column("start", Kind.DAY),
    Column("end", Kind.DAY),
    Column("target", Kind.NUMBER, required=True),
    Column("mismatch", Kind.NUMBER),
    Column("locked", Kind.FLAG),
    Column("note", Kind.TEXT),
)
"""Of a table that comes in, the node, its target and its note count; the rest is there for people to read."""


def node_row(node: Node, name: str) -> Mapping[str, Value]:
    """The values of a node by column; `name` is its owner's."""
    return {
        "node_id": node.id,
        "parent_id": node.parent_id,
        "owner_kind": node.owner.kind.value,
        "owner_id": node.owner.id,
        "name": name,
        "start": node.period.start,
        "end": node.period.end,
        "target": node.target,
        "mismatch": node.mismatch,
        "locked": node.locked,
        "note": node.note or None,
    }


def stated_rows(rows: Sequence[ReadRow]) -> list[StatedRow]:
    """What each row states. Raises InvalidTable with everything that cannot be read."""
    if errors := [error for row in rows for error in row.errors]:
        raise refused(errors)
    return [
        StatedRow(
            place(row.number),
            cast(UUID, row.values["node_id"]),
            cast(Decimal, row.values["target"]),
            cast(str, row.values["note"] or "") if "note" in row.values else None,
        )
        for row in rows
    ]
