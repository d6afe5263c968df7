"""A scenario on the terminal, as the tree it is."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from rich.text import Text
from rich.tree import Tree

from services.goals.planning.schemas import NodeAnswer

_NAME_CHARACTERS: Final = 28
_INDENT_CHARACTERS: Final = 4
"""How far the terminal moves a branch in."""


def targets_tree(nodes: Sequence[NodeAnswer], unit: str) -> Tree:
    """Owner, target, change against last year where it is known, period, and what does not add up.

    Nodes come after the one above them. A period is named once for what has the same below it. Who has no target is
    left out.
    """
    digits = max(len(f"{node.target:,}") for node in nodes)
    root = nodes[0]
    tree = Tree(_label(root, None, unit, _NAME_CHARACTERS, digits), guide_style="dim")
    placed: dict[UUID, tuple[int, NodeAnswer, Tree]] = {root.id: (0, root, tree)}
    for node in nodes[1:]:
        if node.target == node.mismatch == 0 or node.parent_id is None:
            continue
        depth, above, branch = placed[node.parent_id]
        name_characters = _NAME_CHARACTERS - _INDENT_CHARACTERS * (depth + 1)
        placed[node.id] = (depth + 1, node, branch.add(_label(node, above, unit, name_characters, digits)))
    return tree


def _label(node: NodeAnswer, above: NodeAnswer | None, unit: str, name_characters: int, digits: int) -> Text:
    label = Text.assemble(
        (f"{node.name:<{name_characters}}", "bold" if node.owner.kind == "team" else ""),
        f" {node.target:>{digits},} {unit}",
    )
    if node.change is not None:
        label.append(f"  {node.change:+.1%} against last year", style="dim")
    if above is None or above.period != node.period:
        label.append(f"  {node.period.start} to {node.period.end - timedelta(1)}", style="dim")
    if node.mismatch:
        more = "more" if node.mismatch > 0 else "less"
        label.append(f"  below it {abs(node.mismatch):,} {more}", style="yellow")
    return label
