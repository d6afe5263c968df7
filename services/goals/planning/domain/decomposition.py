"""From a plan to its tree: skeleton, split from the top, then what people changed, in their order. Pure.

Everything is reckoned in whole numbers of the smallest unit, so that nothing is rounded but where a target is split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import NamedTuple
from uuid import UUID, uuid5

from services.goals.planning.domain.checks import check_plan
from services.goals.planning.domain.numbers import MILLION, from_units, millionths, rounded_half_up, to_units
from services.goals.planning.domain.plan import (
    NODES_MAX,
    AlongPeople,
    AlongTime,
    Basis,
    Change,
    Edit,
    Lock,
    Node,
    NodeBehind,
    NodeLocked,
    NodeNotFound,
    Note,
    Plan,
    PlanRefused,
    Remark,
    Respread,
    Shape,
    TakenBy,
    Tree,
    Unapplied,
    Unlock,
)
from services.goals.planning.domain.weights import PeopleWeights, TimeWeights
from services.goals.targets.domain import Owner
from shared.kernel.errors import FieldError
from shared.kernel.money import AMOUNT_DECIMALS_MAX
from shared.kernel.periods import Period
from shared.kernel.splitting import split

_PLACES = UUID("7b0c1d0e-52a5-5b0e-9a35-0f3f6c1a6f10")


def decomposed(plan: Plan) -> Tree:
    """The tree of a plan. Raises PlanRefused.

    At every node, those below add up to target + over-assigned + mismatch, or where they are rates come to target +
    mismatch. There is a mismatch only where people stated
    or locked what contradicts, or more was reached than there was to reach. No number is taken below zero by others
    (above zero, where the target is below).
    """
    check_plan(plan)
    work = _Decomposition(plan)
    unapplied = [
        Unapplied(number, refusal)
        for number, change in enumerate(plan.changes)
        if (refusal := work.change(change)) is not None
    ]
    return work.tree(unapplied)


def changed(plan: Plan, change: Change) -> tuple[Plan, Tree]:
    """A plan with one more change, and its tree. Raises PlanRefused, NodeNotFound, NodeLocked, NodeBehind."""
    later = replace(plan, changes=(*plan.changes, change))
    tree = decomposed(later)
    if tree.unapplied and tree.unapplied[-1].change == len(plan.changes):
        raise tree.unapplied[-1].reason
    return later, tree


def nodes_reaching(plan: Plan, tree: Tree, node_id: UUID, day: date) -> tuple[Node, ...]:
    """The nodes of which a re-spread of `node_id` on `day` has to know what they reached.

    These are the parts that lie behind, but not the parts of these, and the smallest ones in progress. Raises
    NodeNotFound.
    """
    if node_id not in tree.by_id:
        raise _unknown(node_id)
    below: dict[UUID, list[Node]] = {}
    for node in tree.nodes:
        if node.parent_id is not None:
            below.setdefault(node.parent_id, []).append(node)
    found: list[Node] = []
    pending = [node_id]
    while pending:
        for node in below.get(pending.pop(), ()):
            is_part = _is_along_time(plan, node)
            is_behind = is_part and node.period.end <= day
            if not is_behind:
                pending.append(node.id)
            is_last = not any(_is_along_time(plan, each) for each in below.get(node.id, ()))
            is_changing = is_part and is_last and node.period.start < day and not node.stated
            if not node.locked and (is_behind or is_changing):
                found.append(node)
    return tuple(found)


def _is_along_time(plan: Plan, node: Node) -> bool:
    return node.step is not None and isinstance(plan.steps[node.step], AlongTime)


class _Begun(NamedTuple):
    """What of a part is settled (reached so far, or locked below it), and how much of its weight is open."""

    settled: int
    open: Fraction


_UNTOUCHED = _Begun(0, Fraction(1))


class _Decomposition:
    """A tree in the making: columns by the place of a node, the children of each side by side after it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._people = PeopleWeights(plan.below, plan.facts)
        self._time = {
            number: TimeWeights(step, plan.working_days)
            for number, step in enumerate(plan.steps)
            if isinstance(step, AlongTime)
        }
        self._owners: list[Owner] = [plan.owner]
        self._periods: list[Period] = [plan.period]
        self._parents: list[int] = [-1]
        self._made_by: list[int] = [-1]
        self._first: list[int] = []
        self._count: list[int] = []
        self._build()
        size = len(self._owners)
        self._ids = self._places()
        self._at: dict[UUID, int] = {}
        self._weights_known: dict[
            tuple[int, Owner | None, Period | None], tuple[tuple[int, ...], tuple[Basis, ...]]
        ] = {}
        self._targets = [0] * size
        self._over = [0] * size
        self._evenly: set[int] = set()
        self._locked: set[int] = set()
        self._stated: set[int] = set()
        self._reached: dict[int, int] = {}
        self._begun: dict[int, _Begun] = {}
        self._notes: dict[int, str] = {}
        self._shares_known: dict[int, Mapping[int, Decimal]] = {}
        self._targets[0] = to_units(plan.target, plan.decimals)
        self._handed_down = self._targets
        for at in range(size):
            if self._count[at]:
                self._split(at)
        if plan.changes:
            self._handed_down = list(self._targets)
            self._at = {node_id: at for at, node_id in enumerate(self._ids)}

    def change(self, change: Change) -> NodeNotFound | NodeLocked | NodeBehind | None:
        """Makes a change, or says why the tree does not take it."""
        at = self._at.get(change.node_id)
        if at is None:
            return _unknown(change.node_id)
        if isinstance(change, Edit | Lock | Unlock | Respread) and self._is_behind(at):
            return NodeBehind(f"The node {change.node_id} was behind when the plan was re-spread.")
        match change:
            case Edit():
                if at in self._locked:
                    return NodeLocked(f"The node {change.node_id} is locked.")
                self._state(at, to_units(change.target, self._plan.decimals), change.taken_by)
            case Lock():
                self._locked.add(at)
                target = to_units(change.target, self._plan.decimals)
                if target != self._targets[at]:
                    self._state(at, target, TakenBy.SIBLINGS)
            case Unlock():
                self._locked.discard(at)
                self._stated.discard(at)
            case Note():
                self._notes[at] = change.text
            case Respread():
                self._respread(at, change.day, change.reached)
        return None

    def tree(self, unapplied: Sequence[Unapplied]) -> Tree:
        """What it has come to."""
        decimals = self._plan.decimals
        nodes = [
            Node(
                id=node_id,
                parent_id=self._ids[parent] if parent >= 0 else None,
                owner=self._owners[at],
                period=self._periods[at],
                target=from_units(self._targets[at], decimals),
                handed_down=from_units(self._handed_down[at], decimals),
                over_assigned=from_units(self._over[at], decimals),
                mismatch=from_units(self._mismatch(at), decimals),
                locked=at in self._locked,
                stated=at in self._stated,
                reached=from_units(self._reached[at], decimals) if at in self._reached else None,
                step=self._made_by[at] if at else None,
                note=self._notes.get(at, ""),
                share=self._share(at, parent),
            )
            for at, (node_id, parent) in enumerate(zip(self._ids, self._parents, strict=True))
        ]
        return Tree(tuple(nodes), tuple(self._remarks()), tuple(unapplied))

    def _build(self) -> None:
        """The skeleton: a node is split by the first step after the one that made it which splits it into several."""
        for at, owner in enumerate(self._owners):
            step, parts = self._parts(at, owner, self._periods[at])
            self._first.append(len(self._owners))
            self._count.append(len(parts))
            self._owners += [part_owner for part_owner, _ in parts]
            self._periods += [part_period for _, part_period in parts]
            self._parents += [at] * len(parts)
            self._made_by += [step] * len(parts)
            if len(self._owners) > NODES_MAX:
                message = f"the plan has more than {NODES_MAX} nodes"
                raise PlanRefused(
                    message, fields=[FieldError("/steps", message, "fewer or shorter steps, fewer people")]
                )

    def _parts(self, at: int, owner: Owner, period: Period) -> tuple[int, list[tuple[Owner, Period]]]:
        for number in range(self._made_by[at] + 1, len(self._plan.steps)):
            if number in self._time:
                parts = [(owner, part) for part in self._time[number].parts(period)]
            else:
                parts = [(each, period) for each in self._plan.below.get(owner, ())]
            if parts:
                return number, parts
        return -1, []

    def _places(self) -> list[UUID]:
        ids: list[UUID] = []
        for parent, owner, period in zip(self._parents, self._owners, self._periods, strict=True):
            above = ids[parent] if parent >= 0 else _PLACES
            ids.append(uuid5(above, f"{owner.kind}:{owner.id}:{period.start}:{period.end}"))
        return ids

    def _below(self, at: int) -> range:
        return range(self._first[at], self._first[at] + self._count[at])

    def _splitting_step(self, at: int) -> int:
        return self._made_by[self._first[at]]

    def _is_split_along_time(self, at: int) -> bool:
        return self._count[at] > 0 and self._splitting_step(at) in self._time

    def _weights(self, at: int) -> tuple[tuple[int, ...], tuple[Basis, ...]]:
        """The weights of those below a node, in order, and the bases that nobody there has any of."""
        number, owner, period = self._splitting_step(at), self._owners[at], self._periods[at]
        step = self._plan.steps[number]
        if isinstance(step, AlongTime):
            capacity = self._people.capacity(owner) if step.follows_capacity else None
            if capacity is None or not (capacity.ramp or capacity.present or capacity.reduced):
                return self._time[number].weights(period), ()
            return self._time[number].weights_at(capacity, period), ()
        key = (number, owner, period if Basis.CAPACITY in step.blend else None)
        found = self._weights_known.get(key)
        if found is None:
            found = self._people.blend(step.blend, self._plan.below[owner], period)
            self._weights_known[key] = found
        return found

    def _split(self, at: int) -> list[int]:
        """Splits a node's target over those right below that may change. Returns these."""
        if not self._plan.adds_up:
            return self._hand_down(at, self._targets[at])
        step = self._plan.steps[self._splitting_step(at)]
        if isinstance(step, AlongPeople):
            self._over[at] = rounded_half_up(self._targets[at] * millionths(step.over_assignment), MILLION)
        amount = self._targets[at] + self._over[at]
        left = amount
        free: list[int] = []
        weights: list[int] = []
        settled: list[_Begun] = []
        for below, weight in zip(self._below(at), self._weights(at)[0], strict=True):
            if self._is_fixed(below):
                left -= self._counting(below)
                continue
            begun = self._begun.get(below, _UNTOUCHED)
            left -= begun.settled
            free.append(below)
            weights.append(weight)
            settled.append(begun)
        left = max(left, 0) if amount >= 0 else min(left, 0)
        for below, part, begun in zip(free, self._shares(at, left, weights, settled), settled, strict=True):
            self._targets[below] = self._handed_down[below] = begun.settled + part
        return free

    def _hand_down(self, at: int, rate: int) -> list[int]:
        """Gives a rate to those right below that may change. Returns these."""
        free = [below for below in self._below(at) if not self._is_fixed(below)]
        for below in free:
            self._targets[below] = self._handed_down[below] = rate
        return free

    def _balance(self, at: int) -> None:
        """Gives those right below that may change the rate with which all come to the target, as far as they can."""
        weights = self._combining(at)
        free = sum(weight for below, weight in weights.items() if not self._is_fixed(below))
        if not free:
            return
        left = self._targets[at] * sum(weights.values())
        left -= sum(self._targets[below] * weight for below, weight in weights.items() if self._is_fixed(below))
        left = max(left, 0) if self._targets[at] >= 0 else min(left, 0)
        for below in self._hand_down(at, rounded_half_up(left, free)):
            self._spread(below)

    def _combining(self, at: int) -> Mapping[int, int]:
        """How much each rate right below a node weighs; all alike where none weighs."""
        weights = self._weights(at)[0]
        return dict(zip(self._below(at), weights if any(weights) else [1] * len(weights), strict=True))

    def _combined(self, at: int) -> int:
        """What the rates right below a node come to together."""
        weights = self._combining(at)
        return rounded_half_up(
            sum(self._targets[below] * weight for below, weight in weights.items()), sum(weights.values())
        )

    def _share(self, at: int, parent: int) -> Decimal | None:
        if self._plan.adds_up or parent < 0:
            return None
        if parent not in self._shares_known:
            weights = self._combining(parent)
            whole = sum(weights.values())
            self._shares_known[parent] = {
                below: from_units(rounded_half_up(weight * MILLION, whole), AMOUNT_DECIMALS_MAX)
                for below, weight in weights.items()
            }
        return self._shares_known[parent][at]

    def _shares(self, at: int, left: int, weights: Sequence[int], settled: Sequence[_Begun]) -> list[int]:
        """What is left, by the open part of each weight; equally where none weighs, to nobody where none is open."""
        self._evenly.discard(at)
        if not left:
            return [0] * len(weights)
        opens = [begun.open for begun in settled]
        common = lcm(*(each.denominator for each in opens))
        scaled = [
            weight * each.numerator * (common // each.denominator) for weight, each in zip(weights, opens, strict=True)
        ]
        if not any(scaled):
            scaled = [int(each > 0) for each in opens]
            if not any(scaled):
                return [0] * len(weights)
            self._evenly.add(at)
        return split(left, scaled)

    def _spread(self, at: int) -> None:
        """Splits a node, and everything below it that may change."""
        pending = [at]
        while pending:
            node = pending.pop()
            if self._count[node]:
                pending += self._split(node)

    def _state(self, at: int, target: int, taken_by: TakenBy) -> None:
        difference = target - self._targets[at]
        self._targets[at] = target
        self._stated.add(at)
        self._spread(at)
        above = self._parents[at]
        if taken_by is TakenBy.SIBLINGS and above >= 0:
            if self._plan.adds_up:
                self._spread(above)
            else:
                self._balance(above)
        elif taken_by is TakenBy.PARENT:
            while above >= 0 and above not in self._locked:
                self._targets[above] = (
                    self._targets[above] + difference if self._plan.adds_up else self._combined(above)
                )
                above = self._parents[above]

    def _respread(self, at: int, day: date, reached: Mapping[UUID, Decimal]) -> None:
        ahead = [at]
        for node in ahead:
            is_along_time = self._is_split_along_time(node)
            for below in self._below(node):
                period = self._periods[below]
                if is_along_time and period.end <= day:
                    if below not in self._locked:
                        self._reached[below] = self._reached_units(below, reached)
                    continue
                if below not in self._locked and period.start >= day:
                    self._stated.discard(below)
                ahead.append(below)
        for node in reversed(ahead[1:]):
            if self._is_split_along_time(self._parents[node]):
                begun = self._beginning(node, day, reached)
                self._begun.pop(node, None)
                if begun != _UNTOUCHED:
                    self._begun[node] = begun
        for node in ahead:
            if self._count[node]:
                self._split(node)

    def _beginning(self, at: int, day: date, reached: Mapping[UUID, Decimal]) -> _Begun:
        """What is settled of a part of time, through all levels of time below it."""
        if self._is_split_along_time(at):
            settled, open_weight = 0, Fraction(0)
            weights = self._weights(at)[0]
            for below, weight in zip(self._below(at), weights, strict=True):
                if self._is_fixed(below):
                    settled += self._counting(below)
                else:
                    begun = self._begun.get(below, _UNTOUCHED)
                    settled += begun.settled
                    open_weight += weight * begun.open
            return _Begun(settled, open_weight / sum(weights) if any(weights) else Fraction(1))
        if self._periods[at].start < day:
            left = self._time[self._made_by[at]].left(self._periods[at], day)
            return _Begun(self._reached_units(at, reached), left)
        return _UNTOUCHED

    def _reached_units(self, at: int, reached: Mapping[UUID, Decimal]) -> int:
        amount = reached.get(self._ids[at])
        return 0 if amount is None else to_units(amount, self._plan.decimals)

    def _is_fixed(self, at: int) -> bool:
        return at in self._reached or at in self._locked or at in self._stated

    def _is_behind(self, at: int) -> bool:
        while at >= 0 and at not in self._reached:
            at = self._parents[at]
        return at >= 0

    def _counting(self, at: int) -> int:
        """What a node counts with for the one above it."""
        return self._reached.get(at, self._targets[at])

    def _mismatch(self, at: int) -> int:
        if not self._count[at]:
            return 0
        if not self._plan.adds_up:
            return self._combined(at) - self._targets[at]
        return sum(self._counting(below) for below in self._below(at)) - self._targets[at] - self._over[at]

    def _remarks(self) -> Iterator[Remark]:
        for at, count in enumerate(self._count):
            if not count:
                continue
            weights, bases = self._weights(at)
            lacking: tuple[Basis | Shape, ...] = bases
            evenly = at in self._evenly if self._plan.adds_up else not any(weights)
            if evenly or lacking:
                step = self._plan.steps[self._splitting_step(at)]
                if isinstance(step, AlongTime):
                    lacking = (step.shape,)
                yield Remark(self._ids[at], lacking, evenly)


def _unknown(node_id: UUID) -> NodeNotFound:
    return NodeNotFound(f"The plan has no node {node_id}.")
