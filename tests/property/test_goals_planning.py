"""Whatever is planned and however it is split, sums are exact, and what may not change does not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.goals.planning.domain.agreement import commitment_gaps
from services.goals.planning.domain.comparison import compared
from services.goals.planning.domain.decomposition import changed, decomposed, nodes_reaching
from services.goals.planning.domain.plan import (
    AlongPeople,
    AlongTime,
    Basis,
    Capacity,
    Change,
    Edit,
    Lock,
    Node,
    OwnerFacts,
    Plan,
    Respread,
    Season,
    Shape,
    Step,
    TakenBy,
    Tree,
    Unlock,
)
from services.goals.planning.domain.segments import Ramp, Segment, segment_targets
from services.goals.targets.domain import Owner
from shared.kernel.errors import AttainError
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period
from shared.kernel.splitting import split
from tests.oracles.planning import Path, People, Strength, Time, World, hamilton

FIRST_DAYS = [date(2024, 1, 29), date(2026, 1, 1), date(2026, 5, 18)]
BASES = list(Basis)


def owner_of(name: str) -> Owner:
    kind, number = name.split(" ")
    return Owner(OwnerKind(kind), UUID(int=int(number)))


def name_of(owner: Owner) -> str:
    return f"{owner.kind.value} {owner.id.int}"


def decimal(units: int, decimals: int) -> Decimal:
    return Decimal(units).scaleb(-decimals)


def units(amount: Decimal, decimals: int) -> int:
    return int(amount.scaleb(decimals))


@st.composite
def tilings(draw: st.DrawFn, start: date, days: int) -> list[date]:
    """The first days of parts and the end of the last one: weeks from any weekday, 4-4-5 and the like, or any cuts."""
    end = start + timedelta(days=days)
    kind = draw(st.sampled_from(["weeks", "retail", "months", "cuts"]))
    if kind == "cuts":
        inner = draw(st.sets(st.integers(1, days - 1), max_size=6))
        return [start, *(start + timedelta(days=at) for at in sorted(inner)), end]
    if kind == "months":
        edges = [start.replace(day=1)]
        while edges[-1] < end:
            edges.append((edges[-1] + timedelta(days=32)).replace(day=1))
        return edges
    lengths = [1] if kind == "weeks" else draw(st.sampled_from([[4, 4, 5], [4, 5, 4], [5, 4, 4]]))
    edges = [start - timedelta(days=draw(st.integers(0, 6)))]
    while edges[-1] < end:
        edges.append(edges[-1] + timedelta(days=7 * lengths[(len(edges) - 1) % len(lengths)]))
    return edges


@dataclass
class Story:
    """The same plan twice: as the product takes it and as the oracle does."""

    plan: Plan
    world: World
    root: tuple[str, int, int]
    target: int


def day_weight(
    shape: Shape,
    working: set[int],
    seasons: Mapping[int, int],
    parts: Sequence[tuple[int, int]],
    percent: Sequence[int],
) -> Callable[[int], Fraction] | None:
    match shape:
        case Shape.EQUAL:
            return None
        case Shape.DAYS:
            return lambda _day: Fraction(1)
        case Shape.WORKING_DAYS:
            return lambda day: Fraction(day in working)
        case Shape.SEASONAL:
            return lambda day: Fraction(seasons[day] * (day in working))
        case Shape.CUSTOM:
            share = {
                day: Fraction(percentage, end - start)
                for (start, end), percentage in zip(parts, percent, strict=True)
                for day in range(start, end)
            }
            return share.__getitem__


KNOWN = st.none() | st.integers(-50, 1000) | st.just(0)
NO_LESS_THAN_ZERO = st.none() | st.integers(0, 1000) | st.just(0)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    start = draw(st.sampled_from(FIRST_DAYS))
    days = draw(st.integers(2, 70))
    first, last = start.toordinal(), start.toordinal() + days
    period = Period(start, start + timedelta(days=days))
    below = draw(trees())
    names = sorted({"team 1", *below, *(each for parts in below.values() for each in parts)})
    bits = draw(st.integers(0, 2**days - 1))
    working = {first + nth for nth in range(days) if bits >> nth & 1} | {first}
    steps: list[Step] = []
    oracle_steps: list[People | Time] = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            cuts = draw(st.lists(st.integers(0, 10), min_size=len(BASES) - 1, max_size=len(BASES) - 1).map(sorted))
            tenths = [later - before for before, later in pairwise([0, *cuts, 10])]
            percent = draw(st.sampled_from([0, 0, 5, 10, 33]))
            blend = {basis: Decimal(share) / 10 for basis, share in zip(BASES, tenths, strict=True)}
            steps.append(AlongPeople(blend, over_assignment=Decimal(percent) / 100))
            oracle_steps.append(
                People({basis.value: share for basis, share in zip(BASES, tenths, strict=True)}, percent)
            )
        else:
            step, oracle_step = draw(time_steps(start, days, working))
            steps.append(step)
            oracle_steps.append(oracle_step)
    amounts: dict[str, dict[str, int]] = {"history": {}, "pipeline": {}, "potential": {}}
    strengths: dict[str, Strength] = {}
    facts: dict[Owner, OwnerFacts] = {}
    for name in names:
        known = {basis: draw(NO_LESS_THAN_ZERO if basis == "potential" else KNOWN) for basis in amounts}
        capacity, strength = draw(st.just((None, None)) | capacities(start, days))
        if strength is not None:
            strengths[name] = strength
        for basis, amount in known.items():
            if amount is not None:
                amounts[basis][name] = amount
        stated = {basis: None if amount is None else Decimal(amount) / 100 for basis, amount in known.items()}
        facts[owner_of(name)] = OwnerFacts(**stated, capacity=capacity)
    decimals = draw(st.sampled_from([0, 2, 3]))
    target = draw(st.integers(-10, 10**9) | st.integers(-1000, 1000))
    plan = Plan(
        decimal(target, decimals),
        decimals,
        owner_of("team 1"),
        period,
        tuple(steps),
        {owner_of(name): tuple(map(owner_of, parts)) for name, parts in below.items()},
        facts,
        tuple(date.fromordinal(day) for day in sorted(working)),
    )
    return Story(plan, World(below, amounts, strengths, oracle_steps), ("team 1", first, last), target)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, list[str]]:
    """A company of up to four teams and their people; teams may be empty, people in two of them."""
    teams = draw(st.integers(0, 3))
    below: dict[str, list[str]] = {"team 1": []}
    for number in range(2, 2 + teams):
        below[draw(st.sampled_from(sorted(below)))].append(f"team {number}")
        below[f"team {number}"] = []
    for number in range(draw(st.integers(0, 6))):
        for team in sorted(draw(st.sets(st.sampled_from(sorted(below)), min_size=1, max_size=2))):
            below[team].append(f"person {100 + number}")
    return below


@st.composite
def time_steps(draw: st.DrawFn, start: date, days: int, working: set[int]) -> tuple[AlongTime, Time]:
    edges = draw(tilings(start, days))
    spans = [(before.toordinal(), later.toordinal()) for before, later in pairwise(edges)]
    parts = tuple(Period(*edge) for edge in pairwise(edges))
    shape = draw(st.sampled_from(list(Shape)))
    season_edges = draw(tilings(start, days))
    seasonal = len(season_edges) - 1
    index = draw(st.lists(st.integers(0, 200), min_size=seasonal, max_size=seasonal))
    seasons = tuple(
        Season(Period(*edge), Decimal(each) / 100) for edge, each in zip(pairwise(season_edges), index, strict=True)
    )
    by_day = {
        day: each
        for (before, later), each in zip(pairwise(season_edges), index, strict=True)
        for day in range(before.toordinal(), later.toordinal())
    }
    cuts = sorted(draw(st.lists(st.integers(0, 1000), min_size=len(parts) - 1, max_size=len(parts) - 1)))
    tenths = [later - before for before, later in pairwise([0, *cuts, 1000])]
    follows = draw(st.booleans())
    step = AlongTime(
        parts,
        shape,
        seasons if shape is Shape.SEASONAL else (),
        tuple(Decimal(each) / 10 for each in tenths) if shape is Shape.CUSTOM else (),
        follows_capacity=follows,
    )
    return step, Time(spans, day_weight(shape, working, by_day, spans, tenths), follows)


@st.composite
def capacities(draw: st.DrawFn, start: date, days: int) -> tuple[Capacity, Strength]:
    fte, availability, productivity = (draw(st.integers(0, 150)) for _ in range(3))
    near = st.integers(-70, days + 5).map(lambda at: start + timedelta(days=at))
    ramp_start = draw(st.none() | near)
    shares = draw(st.lists(st.integers(0, 4), max_size=3))
    present = draw(st.none() | st.tuples(near, st.none() | st.integers(1, 60)))
    away = draw(st.lists(st.tuples(near, st.integers(1, 40), st.integers(0, 4)), max_size=2))
    here = None
    if present is not None:
        first, length = present
        here = DatedRange(first, None if length is None else first + timedelta(days=length))

    def share_on(ordinal: int) -> Fraction:
        day = date.fromordinal(ordinal)
        least = [Fraction(share, 4) for first, length, share in away if 0 <= (day - first).days < length]
        return min([ramped(day), *least])

    def ramped(day: date) -> Fraction:
        if here is not None and (day < here.start or (here.end is not None and day >= here.end)):
            return Fraction(0)
        if ramp_start is None:
            return Fraction(1)
        if day < ramp_start:
            return Fraction(0)
        months = (day.year - ramp_start.year) * 12 + day.month - ramp_start.month
        is_month_end = (day + timedelta(days=1)).day == 1
        if day.day < ramp_start.day and not is_month_end:
            months -= 1
        return Fraction(shares[months], 4) if months < len(shares) else Fraction(1)

    ramp = None if ramp_start is None else Ramp(ramp_start, tuple(Decimal(share) / 4 for share in shares))
    reduced = tuple(
        (DatedRange(first, first + timedelta(days=length)), Decimal(share) / 4) for first, length, share in away
    )
    capacity = Capacity(
        Decimal(fte) / 100, Decimal(availability) / 100, Decimal(productivity) / 100, ramp, here, reduced
    )
    return capacity, Strength(fte, availability, productivity, share_on)


def paths(tree: Tree) -> dict[UUID, Path]:
    found: dict[UUID, Path] = {}
    for node in tree.nodes:
        place = (name_of(node.owner), node.period.start.toordinal(), node.period.end.toordinal())
        found[node.id] = (*(found[node.parent_id] if node.parent_id else ()), place)
    return found


def right_below(tree: Tree) -> dict[UUID, list[Node]]:
    below: dict[UUID, list[Node]] = {}
    for node in tree.nodes:
        if node.parent_id is not None:
            below.setdefault(node.parent_id, []).append(node)
    return below


def counting(node: Node) -> Decimal:
    return node.target if node.reached is None else node.reached


def assert_sums(tree: Tree) -> None:
    below = right_below(tree)
    for node in tree.nodes:
        if node.id in below:
            total = sum(counting(each) for each in below[node.id])
            assert total == node.target + node.over_assigned + node.mismatch
        else:
            assert node.over_assigned == node.mismatch == 0


@settings(max_examples=80)
@given(stories())
def test_a_tree_is_what_reckoning_day_by_day_and_unit_by_unit_makes_it(story: Story) -> None:
    tree = decomposed(story.plan)
    owner, first, last = story.root
    story.world.decompose(owner, (first, last), story.target)
    places = paths(tree)
    decimals = story.plan.decimals
    assert {places[node.id]: units(node.target, decimals) for node in tree.nodes} == story.world.targets
    assert {places[node.id]: units(node.over_assigned, decimals) for node in tree.nodes} == story.world.over
    below = right_below(tree)
    assert {
        places[node.id]: [places[each.id] for each in below.get(node.id, [])] for node in tree.nodes
    } == story.world.kids
    assert all(node.mismatch == 0 for node in tree.nodes)
    assert_sums(tree)


@st.composite
def changes_of(draw: st.DrawFn, tree: Tree, plan: Plan) -> Change:
    node = draw(st.sampled_from(tree.nodes))
    target = decimal(draw(st.integers(-10, 2 * max(10, abs(units(plan.target, plan.decimals))))), plan.decimals)
    match draw(st.sampled_from(["edit", "lock", "keep", "unlock", "respread"])):
        case "edit":
            return Edit(node.id, target, draw(st.sampled_from(list(TakenBy))))
        case "lock":
            return Lock(node.id, target)
        case "keep":
            return Lock(node.id, node.target)
        case "unlock":
            return Unlock(node.id)
        case _:
            day = plan.period.start + timedelta(days=draw(st.integers(0, (plan.period.end - plan.period.start).days)))
            wanted = nodes_reaching(plan, tree, node.id, day)
            reached = {each.id: decimal(draw(st.integers(-5, 10**6)), plan.decimals) for each in wanted}
            return Respread(node.id, day, reached)


def ancestors(tree: Tree, node_id: UUID) -> set[UUID]:
    found = set()
    parent = tree.by_id[node_id].parent_id
    while parent is not None:
        found.add(parent)
        parent = tree.by_id[parent].parent_id
    return found


def untouchable(plan: Plan, before: Tree, change: Change) -> set[UUID]:
    """What no change but their own may touch: locked nodes and what is behind a re-spread, now or by this change."""
    behind: set[UUID] = set()
    for node in before.nodes:
        is_part = node.step is not None and isinstance(plan.steps[node.step], AlongTime)
        is_in_reach = isinstance(change, Respread) and change.node_id in ancestors(before, node.id)
        is_over = isinstance(change, Respread) and is_part and is_in_reach and node.period.end <= change.day
        if node.reached is not None or is_over or node.parent_id in behind:
            behind.add(node.id)
    return behind | {node.id for node in before.nodes if node.locked}


@settings(max_examples=60)
@given(st.data())
def test_changes_keep_sums_or_show_the_mismatch_and_never_touch_what_is_locked_or_behind(data: st.DataObject) -> None:
    plan = data.draw(stories()).plan
    tree = decomposed(plan)
    stated_once: set[UUID] = set()
    for _ in range(data.draw(st.integers(1, 5))):
        change = data.draw(changes_of(tree, plan))
        try:
            later, after = changed(plan, change)
        except AttainError:
            continue
        assert_sums(after)
        assert [node.id for node in after.nodes] == [node.id for node in tree.nodes]
        if isinstance(change, Edit | Lock):
            stated_once |= {change.node_id} | ancestors(tree, change.node_id)
        if not any(isinstance(each, Respread) for each in later.changes):
            contradicted = {after.by_id[node_id].parent_id for node_id in stated_once}
            assert {node.id for node in after.nodes if node.mismatch} <= contradicted
        own = {change.node_id}
        for node_id in untouchable(plan, tree, change) - own:
            assert after.by_id[node_id].target == tree.by_id[node_id].target
        match change:
            case Edit() | Lock():
                assert after.by_id[change.node_id].target == change.target
            case Unlock():
                assert [node.target for node in after.nodes] == [node.target for node in tree.nodes]
            case Respread():
                assert after.by_id[change.node_id].target == tree.by_id[change.node_id].target
                outside = [node for node in tree.nodes if change.node_id not in ancestors(tree, node.id)]
                assert all(after.by_id[node.id].target == node.target for node in outside)
        assert after.unapplied == tree.unapplied
        assert decomposed(later) == after
        plan, tree = later, after


@settings(max_examples=40)
@given(st.data())
def test_a_node_that_nobody_stated_is_never_taken_below_zero(data: st.DataObject) -> None:
    plan = data.draw(stories()).plan
    plan = replace(plan, target=abs(plan.target))
    tree = decomposed(plan)
    for _ in range(3):
        change = data.draw(changes_of(tree, plan))
        if isinstance(change, Edit | Lock):
            change = replace(change, target=abs(change.target))
            if isinstance(change, Edit) and change.taken_by is TakenBy.PARENT:
                change = replace(change, taken_by=TakenBy.SIBLINGS)
        elif isinstance(change, Respread):
            change = replace(change, reached={each: abs(amount) for each, amount in change.reached.items()})
        try:
            plan, tree = changed(plan, change)
        except AttainError:
            continue
        assert all(node.target >= 0 for node in tree.nodes)


@given(
    total=st.integers(0, 10**8),
    weights=st.lists(st.integers(1, 50), min_size=2, max_size=12),
    reached=st.lists(st.integers(0, 10**7), min_size=12, max_size=12),
    at=st.integers(0, 11),
    locked=st.dictionaries(st.integers(0, 11), st.integers(0, 10**7), max_size=3),
)
def test_a_respread_is_target_less_reached_less_locked(
    total: int, weights: list[int], reached: list[int], at: int, locked: dict[int, int]
) -> None:
    """Parts of so many days each, re-spread on the first day of one of them."""
    edges = [date(2026, 1, 1)]
    for weight in weights:
        edges.append(edges[-1] + timedelta(days=weight))
    at %= len(weights)
    locked = {place: amount for place, amount in locked.items() if place < len(weights)}
    step = AlongTime(tuple(Period(*edge) for edge in pairwise(edges)), Shape.DAYS)
    plan = Plan(Decimal(total), 0, owner_of("person 1"), Period(edges[0], edges[-1]), (step,), {}, {})
    root, *parts = decomposed(plan).nodes
    for place, amount in locked.items():
        plan, _ = changed(plan, Lock(parts[place].id, Decimal(amount)))
    before = decomposed(plan).nodes[1:]
    given_reached = {parts[place].id: Decimal(reached[place]) for place in range(at) if place not in locked}
    assert {node.id for node in nodes_reaching(plan, decomposed(plan), root.id, edges[at])} == set(given_reached)
    _, tree = changed(plan, Respread(root.id, edges[at], given_reached))
    left = total - sum(locked.values()) - sum(reached[place] for place in range(at) if place not in locked)
    free = [place for place in range(at, len(weights)) if place not in locked]
    expected = hamilton(max(left, 0), [Fraction(weights[place]) for place in free]) if free else []
    assert [int(tree.nodes[1 + place].target) for place in free] == expected
    assert all(tree.nodes[1 + place].target == before[place].target for place in range(at))
    assert tree.nodes[0].mismatch == sum(expected) - left


@settings(max_examples=60)
@given(
    total=st.integers(-(10**6), 10**6),
    lengths=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4),
    at=st.integers(0, 15),
)
def test_a_respread_of_what_went_to_plan_changes_nothing(total: int, lengths: list[list[int]], at: int) -> None:
    """On the first day of a small part of a large one, every part before having reached its target."""
    edges = [date(2026, 1, 1)]
    for length in (each for group in lengths for each in group):
        edges.append(edges[-1] + timedelta(days=length))
    ends = [0]
    for group in lengths:
        ends.append(ends[-1] + len(group))
    large = tuple(Period(edges[first], edges[last]) for first, last in pairwise(ends))
    steps = tuple(AlongTime(parts, Shape.DAYS) for parts in (large, tuple(Period(*edge) for edge in pairwise(edges))))
    plan = Plan(Decimal(total), 0, owner_of("person 1"), Period(edges[0], edges[-1]), steps, {}, {})
    tree = decomposed(plan)
    root = tree.nodes[0].id
    day = edges[at % (len(edges) - 1)]
    reached = {node.id: node.target for node in nodes_reaching(plan, tree, root, day)}
    _, after = changed(plan, Respread(root, day, reached))
    assert max(abs(node.target - tree.by_id[node.id].target) for node in after.nodes) <= 2
    assert all(node.mismatch == 0 for node in after.nodes)


@given(
    target=st.integers(-(10**9), 10**9),
    days=st.integers(1, 400),
    cuts=st.sets(st.integers(1, 399), max_size=6),
    decimals=st.sampled_from([0, 2, 3]),
)
def test_segments_of_one_target_sum_to_it(target: int, days: int, cuts: set[int], decimals: int) -> None:
    start = date(2026, 1, 1)
    period = Period(start, start + timedelta(days=days))
    edges = [start, *(start + timedelta(days=cut) for cut in sorted(cuts) if cut < days), period.end]
    segments = [Segment(Period(*span), decimal(target, decimals)) for span in pairwise(edges)]
    lengths = [Fraction((segment.period.end - segment.period.start).days) for segment in segments]
    parts = segment_targets(segments, period, decimals)
    assert [units(part, decimals) for part in parts] == hamilton(target, lengths)
    assert sum(parts) == decimal(target, decimals)


@given(
    days=st.integers(1, 60),
    stated=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 9), st.integers(1, 30)), max_size=5
    ),
)
def test_segments_come_to_the_exact_sum_rounded_once(days: int, stated: list[tuple[int, int, int, int]]) -> None:
    start = date(2026, 1, 1)
    segments, exact, at = [], Fraction(0), 0
    for target, share, gap, length in stated:
        first, last = at + gap, min(at + gap + length, days)
        if first < last:
            span = Period(start + timedelta(days=first), start + timedelta(days=last))
            segments.append(Segment(span, Decimal(target), Decimal(share) / 4))
            exact += Fraction(target * share * (last - first), 4 * days)
            at = last
    parts = segment_targets(segments, Period(start, start + timedelta(days=days)), decimals=0)
    assert sum(parts) == int(exact + Fraction(1, 2))


@given(total=st.integers(-(10**12), 10**12), weights=st.lists(st.integers(0, 10**9), min_size=1).filter(any))
def test_a_split_gives_each_its_share_rounded_and_all_of_the_total(total: int, weights: list[int]) -> None:
    parts = split(total, weights)
    assert parts == hamilton(total, [Fraction(weight) for weight in weights])
    assert sum(parts) == total
    assert all(
        abs(Fraction(total * weight, sum(weights)) - part) < 1 for part, weight in zip(parts, weights, strict=True)
    )


@settings(max_examples=30)
@given(stories(), stories(), st.dictionaries(st.integers(0, 30), st.integers(-1000, 10**6), max_size=8))
def test_comparing_is_symmetric_and_misses_nobody(one: Story, other: Story, years: dict[int, int]) -> None:
    left, right = decomposed(one.plan).nodes, decomposed(other.plan).nodes
    both = [*left, *right]
    last_year = {
        (both[at % len(both)].owner, both[at % len(both)].period): Decimal(amount) for at, amount in years.items()
    }
    rows = compared([left, right], last_year)
    turned = compared([right, left], last_year)
    assert [replace(row, planned=row.planned[::-1]) for row in turned] == list(rows)
    assert {(row.owner, row.period) for row in rows} == {(node.owner, node.period) for node in both}
    for place, nodes in enumerate((left, right)):
        planned = [each.target for row in rows if (each := row.planned[place]) is not None]
        assert sum(planned, Decimal(0)) == sum((node.target for node in nodes), Decimal(0))


@settings(max_examples=30)
@given(st.data())
def test_commitments_add_up_from_below(data: st.DataObject) -> None:
    tree = decomposed(data.draw(stories()).plan)
    chosen = data.draw(st.sets(st.sampled_from(tree.nodes).map(lambda node: node.id), max_size=6))
    stated = {node_id: Decimal(data.draw(st.integers(0, 1000))) for node_id in sorted(chosen)}
    below = right_below(tree)

    def expected(node: Node) -> tuple[Decimal, Decimal, bool]:
        if node.id in stated:
            return stated[node.id], Decimal(0), True
        parts = [expected(each) for each in below.get(node.id, [])]
        if not any(part[2] for part in parts):
            return Decimal(0), node.target, False
        return sum((part[0] for part in parts), Decimal(0)), sum((part[1] for part in parts), Decimal(0)), True

    for node, gap in zip(tree.nodes, commitment_gaps(tree.nodes, stated, adds_up=True), strict=True):
        committed, outstanding, _ = expected(node)
        assert (gap.node_id, gap.committed, gap.outstanding) == (node.id, committed, outstanding)
        assert gap.gap == committed - node.target


@st.composite
def rates(draw: st.DrawFn) -> tuple[Plan, dict[UUID, Fraction]]:
    """A plan of rates, and by the oracle what share of the node above each node weighs."""
    story = draw(stories())
    steps = tuple(
        replace(step, over_assignment=Decimal(0)) if isinstance(step, AlongPeople) else step
        for step in story.plan.steps
    )
    plan = replace(story.plan, steps=steps, adds_up=False)
    owner, first, last = story.root
    story.world.decompose(owner, (first, last), story.target)
    return plan, {
        node_id: story.world.shares.get(path, Fraction(1)) for node_id, path in paths(decomposed(plan)).items()
    }


def half_up(amount: Fraction) -> int:
    size = int(abs(amount) + Fraction(1, 2))
    return size if amount >= 0 else -size


@settings(max_examples=40)
@given(rates())
def test_a_rate_is_handed_down_as_it_is_and_parts_weigh_what_they_would_have_been_given(
    given_rates: tuple[Plan, dict[UUID, Fraction]],
) -> None:
    plan, shares = given_rates
    for node in decomposed(plan).nodes:
        assert node.target == node.handed_down == plan.target
        assert node.over_assigned == node.mismatch == 0
        expected = None if node.parent_id is None else Decimal(half_up(shares[node.id] * 10**6)).scaleb(-6)
        assert node.share == expected


@settings(max_examples=60)
@given(st.data())
def test_what_rates_come_to_is_their_mean_by_share_whatever_is_changed_and_a_locked_one_stays(
    data: st.DataObject,
) -> None:
    plan, shares = data.draw(rates())
    tree = decomposed(plan)
    for _ in range(data.draw(st.integers(1, 5))):
        change = data.draw(changes_of(tree, plan).filter(lambda each: not isinstance(each, Respread)))
        before = tree
        try:
            plan, tree = changed(plan, change)
        except AttainError:
            continue
        below = right_below(tree)
        for node in tree.nodes:
            exact = sum(
                (shares[each.id] * units(each.target, plan.decimals) for each in below.get(node.id, [])), Fraction(0)
            )
            come_to = half_up(exact) if node.id in below else units(node.target, plan.decimals)
            assert units(node.mismatch, plan.decimals) == come_to - units(node.target, plan.decimals)
            was = before.by_id[node.id]
            if was.locked and node.id != change.node_id and change.node_id not in ancestors(tree, node.id):
                assert node.target == was.target or node.id in ancestors(tree, change.node_id)
            if was.locked and node.id != change.node_id:
                assert node.target == was.target
        if isinstance(change, Edit) and change.taken_by is TakenBy.PARENT:
            above = tree.by_id[change.node_id].parent_id
            while above is not None and not before.by_id[above].locked:
                assert tree.by_id[above].mismatch == 0
                above = tree.by_id[above].parent_id
        if isinstance(change, Edit) and change.taken_by is TakenBy.SIBLINGS:
            above = tree.by_id[change.node_id].parent_id
            free = (
                []
                if above is None
                else [each for each in below[above] if not each.locked and not each.stated and shares[each.id]]
            )
            if above is not None and free and all(each.target > 0 for each in free):
                assert tree.by_id[above].mismatch == 0
                assert len({each.target for each in free}) == 1


@settings(max_examples=30)
@given(st.data())
def test_commitments_to_rates_come_to_their_mean_with_targets_for_who_has_not_answered(data: st.DataObject) -> None:
    plan, shares = data.draw(rates())
    tree = decomposed(plan)
    chosen = data.draw(st.sets(st.sampled_from(tree.nodes).map(lambda node: node.id), max_size=6))
    stated = {node_id: Decimal(data.draw(st.integers(0, 100))) for node_id in sorted(chosen)}
    below = right_below(tree)

    def expected(node: Node) -> Fraction:
        if node.id in stated:
            return Fraction(stated[node.id])
        parts = below.get(node.id, [])
        return (
            sum((shares[part.id] * expected(part) for part in parts), Fraction(0)) if parts else Fraction(node.target)
        )

    for node, gap in zip(tree.nodes, commitment_gaps(tree.nodes, stated, adds_up=False), strict=True):
        # Shares are known with six decimals, so what many levels come to is nearly exact.
        close = Fraction(len(tree.nodes) * (100 + abs(Fraction(plan.target))), 10**5)
        assert abs(Fraction(gap.committed) - expected(node)) <= close
        assert gap.gap == gap.committed - node.target
        if not stated:
            assert abs(gap.gap) <= Decimal("0.000001") * len(tree.nodes)
