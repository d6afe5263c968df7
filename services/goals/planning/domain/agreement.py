"""Ways of agreeing: a manager's own number within a tolerance, and commitments from below against the plan. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from uuid import UUID

from services.goals.planning.domain.numbers import shown
from services.goals.planning.domain.plan import AlongPeople, Node, OutsideTolerance, Plan
from shared.kernel.errors import FieldError
from shared.kernel.money import format_amount

_DOWN = Context(prec=60, rounding=ROUND_FLOOR)
_UP = Context(prec=60, rounding=ROUND_CEILING)


def check_tolerance(plan: Plan, node: Node, target: Decimal) -> None:
    """Raises OutsideTolerance unless a manager may set `target` for a node of the plan's tree.

    Allowed is what was handed down ± the tolerance of the step that made the node. It is measured from what was handed
    down, not from the manager's last number: small moves do not add up to a large one.
    """
    step = None if node.step is None else plan.steps[node.step]
    if not isinstance(step, AlongPeople) or step.tolerance is None:
        return
    room = abs(node.handed_down) * step.tolerance
    unit = Decimal(1).scaleb(-plan.decimals)
    lowest = (node.handed_down - room).quantize(unit, context=_UP)
    highest = (node.handed_down + room).quantize(unit, context=_DOWN)
    if not lowest <= target <= highest:
        percent = format_amount(step.tolerance * 100)
        message = f"{format_amount(target)} is more than {percent} % off {format_amount(node.handed_down)}"
        accepted = f"{format_amount(lowest)} to {format_amount(highest)}"
        raise OutsideTolerance(f"/target: {message}", fields=[FieldError("/target", message, accepted)])


@dataclass(frozen=True, slots=True)
class CommitmentGap:
    """A node's target against what was committed for it: on the node itself, else by those below together."""

    node_id: UUID
    target: Decimal
    committed: Decimal
    outstanding: Decimal
    """The targets of those at or below the node that nobody has committed to yet; of rates, each by its share."""
    gap: Decimal
    """committed - target: below 0, less is committed than the plan needs."""


def commitment_gaps(
    nodes: Sequence[Node], commitments: Mapping[UUID, Decimal], *, adds_up: bool
) -> tuple[CommitmentGap, ...]:
    """One for each node, in order. `nodes` have each node after the one above it, as those of a tree.

    Where somebody committed for a node itself, that counts and what was committed below it does not; else those right
    below count with theirs. A node is outstanding with its own target where nobody at or below it has committed.

    Where targets are rates and do not add up (see Plan), they come to their mean by share, in which one that is
    outstanding counts with its target.
    """
    committed: dict[UUID, Decimal] = {}
    outstanding: dict[UUID, Decimal] = {}
    answered: set[UUID] = set()
    shares: dict[UUID, Decimal] = {}
    for node in reversed(nodes):
        if node.id in shares:
            committed[node.id] /= shares[node.id]
            outstanding[node.id] /= shares[node.id]
        if node.id in commitments:
            committed[node.id], outstanding[node.id] = commitments[node.id], Decimal(0)
            answered.add(node.id)
        elif node.id not in answered:
            committed[node.id], outstanding[node.id] = Decimal(0) if adds_up else node.target, node.target
        if node.parent_id is not None:
            above = node.parent_id
            share = Decimal(1)
            if node.share is not None:
                share = node.share
                shares[above] = shares.get(above, Decimal(0)) + share
            committed[above] = committed.get(above, Decimal(0)) + share * committed[node.id]
            outstanding[above] = outstanding.get(above, Decimal(0)) + share * outstanding[node.id]
            if node.id in answered:
                answered.add(above)
    return tuple(
        CommitmentGap(
            node.id,
            node.target,
            shown(committed[node.id]),
            shown(outstanding[node.id]),
            shown(committed[node.id]) - node.target,
        )
        for node in nodes
    )
