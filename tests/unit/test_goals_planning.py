"""The worked numbers of planning, and what a plan is refused for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from time import process_time
from uuid import UUID

import pytest

from services.goals.planning.domain.agreement import check_tolerance, commitment_gaps
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
    NodeBehind,
    NodeLocked,
    NodeNotFound,
    Note,
    OutsideTolerance,
    OwnerFacts,
    Plan,
    PlanRefused,
    Remark,
    Respread,
    Season,
    Shape,
    Step,
    TakenBy,
    Tree,
    Unlock,
)
from services.goals.planning.domain.segments import (
    Ramp,
    Segment,
    segment_targets,
)
from services.goals.planning.domain.weights import seasonal_index
from services.goals.targets.domain import Owner
from shared.kernel.errors import InvalidInput
from shared.kernel.org import OwnerKind
from shared.kernel.periods import DatedRange, Period
from shared.kernel.splitting import split

COMPANY = Owner(OwnerKind.TEAM, UUID(int=1))
YEAR = Period(date(2026, 1, 1), date(2027, 1, 1))
Q1 = Period(date(2026, 1, 1), date(2026, 4, 1))
EQUALLY = AlongPeople({Basis.EQUAL: Decimal(1)})


def person(number: int) -> Owner:
    return Owner(OwnerKind.PERSON, UUID(int=100 + number))


def months(first: int, last: int) -> tuple[Period, ...]:
    return tuple(Period(date(2026, m, 1), date(2026 + m // 12, m % 12 + 1, 1)) for m in range(first, last + 1))


MONTHLY = AlongTime(months(1, 12), Shape.EQUAL)
QUARTERLY = AlongTime(
    tuple(Period(date(2026, m, 1), date(2026 + (m + 2) // 12, (m + 2) % 12 + 1, 1)) for m in (1, 4, 7, 10)), Shape.EQUAL
)
HALF_YEARLY = AlongTime(
    (Period(YEAR.start, date(2026, 7, 1)), Period(date(2026, 7, 1), YEAR.end)),
    Shape.EQUAL,
)
LEVELS = pytest.mark.parametrize(
    "steps",
    [(MONTHLY,), (QUARTERLY, MONTHLY), (HALF_YEARLY, QUARTERLY, MONTHLY)],
    ids=["months", "quarters and months", "halves, quarters and months"],
)


def plan(
    target: str,
    *steps: Step,
    people: int = 0,
    decimals: int = 2,
    period: Period = YEAR,
    facts: Mapping[Owner, OwnerFacts] | None = None,
    working_days: Sequence[date] = (),
    changes: Sequence[Change] = (),
) -> Plan:
    below = {COMPANY: tuple(person(number) for number in range(people))}
    return Plan(
        Decimal(target), decimals, COMPANY, period, steps, below, facts or {}, tuple(working_days), tuple(changes)
    )


def lowest(tree: Tree) -> list[Node]:
    inner = {node.parent_id for node in tree.nodes}
    return [node for node in tree.nodes if node.id not in inner]


def targets(tree: Tree) -> list[Decimal]:
    return [node.target for node in lowest(tree)]


def amounts(*texts: str) -> list[Decimal]:
    return [Decimal(text.replace(",", "")) for text in texts]


@pytest.mark.parametrize(
    ("target", "people", "decimals", "expected"),
    [
        ("100000.00", 3, 2, ["33,333.34", "33,333.33", "33,333.33"]),
        ("10", 4, 0, ["3", "3", "2", "2"]),
        ("1000001", 3, 0, ["333,334", "333,334", "333,333"]),
        ("-10", 4, 0, ["-3", "-3", "-2", "-2"]),
        ("0", 2, 2, ["0", "0"]),
    ],
)
def test_an_equal_split_gives_what_is_left_to_the_first(
    target: str, people: int, decimals: int, expected: list[str]
) -> None:
    assert targets(decomposed(plan(target, EQUALLY, people=people, decimals=decimals))) == amounts(*expected)


def test_over_assignment_is_shown_as_meant_and_not_as_a_mismatch() -> None:
    step = AlongPeople({Basis.EQUAL: Decimal(1)}, over_assignment=Decimal("0.10"))
    tree = decomposed(plan("1200000", step, people=4))
    assert targets(tree) == amounts("330,000") * 4
    assert (tree.nodes[0].over_assigned, tree.nodes[0].mismatch) == (Decimal(120_000), Decimal(0))


def test_a_blend_adds_the_share_of_each_basis() -> None:
    facts = {person(0): OwnerFacts(history=Decimal(300_000)), person(1): OwnerFacts(history=Decimal(200_000))}
    step = AlongPeople({Basis.HISTORY: Decimal("0.8"), Basis.EQUAL: Decimal("0.2")})
    tree = decomposed(plan("1000000", step, people=3, facts=facts))
    assert targets(tree) == amounts("546,666.67", "386,666.67", "66,666.66")


def test_a_seasonal_split_weighs_working_days_with_the_index_of_their_month() -> None:
    days = [
        start + timedelta(days=number)
        for start, count in ((date(2026, 1, 1), 20), (date(2026, 2, 1), 22), (date(2026, 3, 1), 18))
        for number in range(count)
    ]
    seasons = tuple(Season(part, index) for part, index in zip(months(1, 3), amounts("0.9", "1.0", "1.1"), strict=True))
    step = AlongTime(months(1, 3), Shape.SEASONAL, seasons=seasons)
    tree = decomposed(plan("598000", step, period=Q1, working_days=days))
    assert targets(tree) == amounts("180,000", "220,000", "198,000")


def test_a_ramp_gives_a_new_hire_a_quarter_more_each_month() -> None:
    ramp = Ramp(date(2026, 3, 1), tuple(amounts("0", "0.25", "0.5", "0.75", "1")))
    reached = [
        sum(segment_targets([Segment(span, Decimal(10_000), share) for span, share in ramp.spans(part)], part, 2))
        for part in months(3, 8)
    ]
    assert reached == amounts("0", "2,500", "5,000", "7,500", "10,000", "10,000")


def test_a_transfer_cuts_a_target_by_days() -> None:
    spans = Period(Q1.start, date(2026, 2, 1)), Period(date(2026, 2, 1), Q1.end)
    segments = [Segment(span, Decimal(90_000)) for span in spans]
    assert list(segment_targets(segments, Q1, decimals=2)) == amounts("31,000", "59,000")


def test_segments_of_different_targets_make_an_effective_one() -> None:
    february = date(2026, 2, 1)
    segments = [
        Segment(Period(Q1.start, february), Decimal(90_000)),
        Segment(Period(february, Q1.end), Decimal(120_000), share=Decimal("0.5")),
    ]
    assert sum(segment_targets(segments, Q1, decimals=0)) == Decimal(31_000 + 39_333)


@pytest.mark.parametrize(
    ("segments", "pointer"),
    [
        ([Segment(YEAR, Decimal(1))], "/0/period"),
        ([Segment(Q1, Decimal(1)), Segment(Q1, Decimal(1))], "/1/period"),
        ([Segment(Q1, Decimal("0.001"))], "/0/target"),
        ([Segment(Q1, Decimal(1), share=Decimal(-1))], "/0/share"),
        (
            [
                Segment(Period(Q1.start, date(2026, 2, 1)), Decimal(1)),
                Segment(Period(date(2026, 2, 1), Q1.end), Decimal(-1)),
            ],
            "",
        ),
    ],
)
def test_segments_that_make_no_sense_are_refused(segments: list[Segment], pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        segment_targets(segments, Q1, decimals=2)
    assert [field.pointer for field in refused.value.fields] == [pointer]


def reached_by_march(made: Plan, total: str, day: date) -> Plan:
    """April is locked at 12,000; the total is what was reached in January; then the year is spread anew."""
    tree = decomposed(made)
    by_period = {node.period: node for node in tree.nodes}
    january, april = by_period[months(1, 1)[0]], by_period[months(4, 4)[0]]
    made, tree = changed(made, Lock(april.id, Decimal(12_000)))
    wanted = {node.id for node in nodes_reaching(made, tree, tree.nodes[0].id, day)}
    assert april.id not in wanted
    at = january.id if january.id in wanted else january.parent_id
    assert at in wanted
    return changed(made, Respread(tree.nodes[0].id, day, {at: Decimal(total)}))[0]


@LEVELS
@pytest.mark.parametrize("day", [date(2026, 5, 1), date(2026, 5, 12)])
def test_a_respread_splits_what_is_left_over_what_is_ahead(steps: tuple[Step, ...], day: date) -> None:
    made = plan("120000", *steps)
    respread = reached_by_march(made, "24000", day)
    before, tree = decomposed(replace(respread, changes=respread.changes[:-1])), decomposed(respread)
    assert targets(tree)[:3] == targets(before)[:3]
    assert targets(tree)[3] == Decimal(12_000)
    assert targets(tree)[4:] == amounts("10,500") * 8
    assert tree.nodes[0].mismatch == 0


@LEVELS
def test_what_was_reached_above_the_target_is_shown_and_nothing_becomes_negative(steps: tuple[Step, ...]) -> None:
    tree = decomposed(reached_by_march(plan("120000", *steps), "130000", date(2026, 5, 1)))
    assert targets(tree)[4:] == amounts("0") * 8
    assert sum(node.mismatch for node in tree.nodes) == Decimal(22_000)


def test_a_part_in_progress_has_what_it_reached_and_its_share_of_the_rest() -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    made = plan("310", AlongTime(months(1, 3), Shape.WORKING_DAYS), period=Q1, working_days=days, decimals=0)
    january, february, march = decomposed(made).nodes[1:]
    day = date(2026, 2, 15)
    assert [node.id for node in nodes_reaching(made, decomposed(made), january.parent_id or january.id, day)] == [
        january.id,
        february.id,
    ]
    reached = {january.id: Decimal(100), february.id: Decimal(30)}
    _, tree = changed(made, Respread(tree_root(made), day, reached))
    assert [node.target for node in tree.nodes[1:]] == [january.target, Decimal(30 + 56), Decimal(124)]
    assert (tree.nodes[1].reached, tree.nodes[0].mismatch) == (Decimal(100), Decimal(0))
    assert march.target != 124


def tree_root(made: Plan) -> UUID:
    return decomposed(made).nodes[0].id


def test_a_manager_may_move_a_number_within_the_tolerance_and_the_node_above_shows_it() -> None:
    step = AlongPeople({Basis.EQUAL: Decimal(1)}, tolerance=Decimal("0.05"))
    made = plan("1000000", step, people=2)
    node = decomposed(made).nodes[1]
    with pytest.raises(OutsideTolerance) as refused:
        check_tolerance(made, node, Decimal(530_000))
    assert refused.value.fields[0].accepted == "475000 to 525000"
    check_tolerance(made, node, Decimal(525_000))
    made, tree = changed(made, Edit(node.id, Decimal(525_000)))
    assert tree.nodes[0].mismatch == Decimal(25_000)
    with pytest.raises(OutsideTolerance):
        check_tolerance(made, tree.nodes[1], Decimal(551_250))


def test_the_topmost_number_and_parts_of_time_have_no_tolerance() -> None:
    made = plan("1000", MONTHLY)
    for node in decomposed(made).nodes:
        check_tolerance(made, node, Decimal(0))


def test_a_week_that_belongs_to_two_months_is_cut_by_days() -> None:
    monday = date(2026, 6, 1)
    weeks = tuple(
        Period(monday + timedelta(days=7 * number), monday + timedelta(days=7 * number + 7)) for number in range(9)
    )
    period = Period(date(2026, 6, 1), date(2026, 8, 1))
    tree = decomposed(
        plan("6100", AlongTime(months(6, 7), Shape.DAYS), AlongTime(weeks, Shape.DAYS), period=period, decimals=0)
    )
    cut = [node for node in lowest(tree) if date(2026, 6, 29) <= node.period.start < date(2026, 7, 6)]
    assert [(node.period.start, node.period.end, node.target) for node in cut] == [
        (date(2026, 6, 29), date(2026, 7, 1), Decimal(200)),
        (date(2026, 7, 1), date(2026, 7, 6), Decimal(500)),
    ]


def test_a_retail_quarter_is_split_by_its_weeks() -> None:
    start = date(2026, 2, 1)
    edges = [start + timedelta(days=7 * week) for week in (0, 4, 8, 13)]
    parts = tuple(Period(*edge) for edge in pairwise(edges))
    tree = decomposed(plan("1300", AlongTime(parts, Shape.DAYS), period=Period(edges[0], edges[-1]), decimals=0))
    assert targets(tree) == amounts("400", "400", "500")


def test_percentages_are_taken_as_stated() -> None:
    step = AlongTime(months(1, 3), Shape.CUSTOM, percentages=tuple(amounts("50", "30", "20")))
    assert targets(decomposed(plan("1000", step, period=Q1))) == amounts("500", "300", "200")


def test_a_season_is_the_mean_of_what_months_were_to_their_years() -> None:
    assert list(seasonal_index([amounts("1", "3"), amounts("3", "3"), amounts("0", "0")])) == amounts("0.75", "1.25")
    assert list(seasonal_index([amounts("-1", "3")])) == amounts("0", "3")


@pytest.mark.parametrize(("years", "pointer"), [([], "/years"), ([amounts("1", "-1")], "/years")])
def test_a_season_is_not_learned_from_nothing(years: list[list[Decimal]], pointer: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        seasonal_index(years)
    assert refused.value.fields[0].pointer == pointer


def test_capacity_is_people_by_strength_and_days_present() -> None:
    facts = {
        person(0): OwnerFacts(capacity=Capacity(fte=Decimal("0.5"), productivity=Decimal("1.2"))),
        person(1): OwnerFacts(capacity=Capacity(present=DatedRange(date(2026, 3, 1), date(2026, 3, 19)))),
        person(2): OwnerFacts(capacity=Capacity(ramp=Ramp(date(2026, 2, 1), (Decimal(0), Decimal("0.5"))))),
    }
    step = AlongPeople({Basis.CAPACITY: Decimal(1)})
    march = decomposed(plan("1680", MONTHLY, step, people=4, facts=facts, decimals=0, changes=())).nodes
    of_march = [node for node in march if node.period == months(3, 3)[0] and node.owner != COMPANY]
    # 31 days: 0.6, 18/31, 0.5 and 1 of a full-time employee.
    assert [node.target for node in of_march] == amounts("32", "30", "26", "52")


def test_a_step_may_follow_the_ramp_of_a_person_along_time() -> None:
    facts = {person(0): OwnerFacts(capacity=Capacity(ramp=Ramp(date(2026, 2, 1), (Decimal("0.5"),))))}
    step = AlongTime(months(1, 3), Shape.EQUAL, follows_capacity=True)
    tree = decomposed(plan("300", EQUALLY, step, people=1, period=Q1, facts=facts, decimals=0))
    assert targets(tree) == amounts("0", "100", "200")


def test_who_takes_the_difference_of_an_edit_is_a_choice() -> None:
    made = plan("400", EQUALLY, people=4, decimals=0)
    first = decomposed(made).nodes[1]

    def after(taken_by: TakenBy) -> tuple[list[Decimal], Decimal]:
        _, tree = changed(made, Edit(first.id, Decimal(130), taken_by))
        return [node.target for node in tree.nodes], tree.nodes[0].mismatch

    assert after(TakenBy.NOBODY) == (amounts("400", "130", "100", "100", "100"), Decimal(30))
    assert after(TakenBy.SIBLINGS) == (amounts("400", "130", "90", "90", "90"), Decimal(0))
    assert after(TakenBy.PARENT) == (amounts("430", "130", "100", "100", "100"), Decimal(0))


def test_a_second_edit_leaves_the_first_alone() -> None:
    made = plan("400", EQUALLY, people=4, decimals=0)
    _, first, second, *_ = decomposed(made).nodes
    made, _ = changed(made, Edit(first.id, Decimal(130), TakenBy.SIBLINGS))
    _, tree = changed(made, Edit(second.id, Decimal(70), TakenBy.SIBLINGS))
    assert targets(tree) == amounts("130", "70", "100", "100")


def test_a_difference_rolls_up_to_the_first_locked_node() -> None:
    made = plan("120", QUARTERLY, MONTHLY, decimals=0)
    _, q1, *_ = decomposed(made).nodes
    january = next(node for node in decomposed(made).nodes if node.parent_id == q1.id)
    made, _ = changed(made, Lock(q1.id, q1.target))
    _, tree = changed(made, Edit(january.id, Decimal(15), TakenBy.PARENT))
    assert (tree.by_id[q1.id].target, tree.by_id[q1.id].mismatch) == (Decimal(30), Decimal(5))
    assert (tree.nodes[0].target, tree.nodes[0].mismatch) == (Decimal(120), Decimal(0))


def test_more_locked_than_there_is_leaves_nothing_for_others_and_is_shown() -> None:
    made = plan("100", EQUALLY, people=3, decimals=0)
    first, second, third = decomposed(made).nodes[1:]
    for node in (first, second):
        made, tree = changed(made, Lock(node.id, Decimal(70)))
    assert (tree.by_id[third.id].target, tree.nodes[0].mismatch) == (Decimal(0), Decimal(40))


def test_a_locked_node_has_its_target_under_another_total() -> None:
    made = plan("90", EQUALLY, people=3, decimals=0)
    first = decomposed(made).nodes[1]
    made, _ = changed(made, Lock(first.id, first.target))
    assert targets(decomposed(replace(made, target=Decimal(150)))) == amounts("30", "60", "60")
    with pytest.raises(NodeLocked):
        changed(made, Edit(first.id, Decimal(1)))
    made, _ = changed(made, Unlock(first.id))
    made, tree = changed(made, Edit(tree_root(made), Decimal(60)))
    assert targets(tree) == amounts("20", "20", "20")


def test_a_note_stays_with_its_node() -> None:
    made = plan("90", EQUALLY, people=3)
    first = decomposed(made).nodes[1]
    made, tree = changed(made, Note(first.id, "on leave in May"))
    assert [node.note for node in tree.nodes] == ["", "on leave in May", "", ""]


def test_what_is_behind_is_not_changed_any_more() -> None:
    made = plan("120", QUARTERLY, MONTHLY, decimals=0)
    tree = decomposed(made)
    january = next(node for node in tree.nodes if node.period == months(1, 1)[0])
    made, _ = changed(made, Respread(tree.nodes[0].id, date(2026, 5, 1), {}))
    with pytest.raises(NodeBehind):
        changed(made, Edit(january.id, Decimal(1)))


def test_a_change_whose_node_is_gone_is_listed_and_the_rest_applies() -> None:
    made = plan("90", EQUALLY, people=3, decimals=0)
    _, first, _, last = decomposed(made).nodes
    made, _ = changed(made, Edit(last.id, Decimal(40)))
    made, _ = changed(made, Edit(first.id, Decimal(50)))
    fewer = replace(made, below={COMPANY: (person(0), person(1))})
    tree = decomposed(fewer)
    assert [(each.change, type(each.reason)) for each in tree.unapplied] == [(0, NodeNotFound)]
    assert targets(tree) == amounts("50", "45")
    with pytest.raises(NodeNotFound):
        changed(made, Lock(UUID(int=5), Decimal(1)))


def test_where_nothing_weighs_it_is_split_equally_and_said() -> None:
    made = plan("90", AlongPeople({Basis.HISTORY: Decimal(1)}), people=3, decimals=0)
    tree = decomposed(made)
    assert targets(tree) == amounts("30", "30", "30")
    assert tree.remarks == (Remark(tree.nodes[0].id, (Basis.HISTORY,), evenly=True),)


def test_a_basis_nobody_has_leaves_its_share_to_the_others_and_is_said() -> None:
    facts = {person(0): OwnerFacts(potential=Decimal(2)), person(1): OwnerFacts(potential=Decimal(1))}
    blend = {Basis.POTENTIAL: Decimal("0.5"), Basis.PIPELINE: Decimal("0.5")}
    tree = decomposed(plan("90", AlongPeople(blend), people=2, facts=facts, decimals=0))
    assert targets(tree) == amounts("60", "30")
    assert tree.remarks == (Remark(tree.nodes[0].id, (Basis.PIPELINE,), evenly=False),)


def test_commitments_are_compared_with_what_was_handed_down() -> None:
    tree = decomposed(plan("300", EQUALLY, AlongTime((Q1,), Shape.EQUAL), people=3, period=Q1, decimals=0))
    root, first, second, third = tree.nodes
    gaps = commitment_gaps(tree.nodes, {first.id: Decimal(80), second.id: Decimal(110)}, adds_up=True)
    assert [(each.committed, each.outstanding, each.gap) for each in gaps] == [
        (Decimal(190), Decimal(100), Decimal(-110)),
        (Decimal(80), Decimal(0), Decimal(-20)),
        (Decimal(110), Decimal(0), Decimal(10)),
        (Decimal(0), Decimal(100), Decimal(-100)),
    ]
    own = commitment_gaps(tree.nodes, {root.id: Decimal(320), first.id: Decimal(80)}, adds_up=True)
    assert (own[0].committed, own[0].outstanding, own[0].gap) == (Decimal(320), Decimal(0), Decimal(20))
    assert third.id == own[3].node_id


def test_plans_are_compared_by_who_and_when_whatever_the_order_of_their_steps() -> None:
    by_people = decomposed(plan("2400", EQUALLY, MONTHLY, people=2, decimals=0)).nodes
    by_time = decomposed(plan("3600", MONTHLY, EQUALLY, people=2, decimals=0)).nodes
    january = months(1, 1)[0]
    rows = {(row.owner, row.period): row for row in compared([by_people, by_time], {(person(0), january): Decimal(80)})}
    row = rows[person(0), january]
    assert [(each.target, each.change) for each in row.planned if each] == [
        (Decimal(100), Decimal("0.25")),
        (Decimal(150), Decimal("0.875")),
    ]
    of_company = rows[COMPANY, january].planned
    assert (of_company[0], of_company[1] and of_company[1].target) == (None, Decimal(300))
    assert rows[person(1), january].last_year is None


@pytest.mark.parametrize(
    ("made", "pointer"),
    [
        (plan("0.001", EQUALLY), "/target"),
        (plan("1.5", EQUALLY, decimals=0), "/target"),
        (plan("1", EQUALLY, decimals=7), "/decimals"),
        (plan("1", AlongPeople({Basis.EQUAL: Decimal("0.9")})), "/steps/0/blend"),
        (
            plan("1", EQUALLY, AlongPeople({Basis.EQUAL: Decimal(1)}, over_assignment=Decimal(-1))),
            "/steps/1/over_assignment",
        ),
        (plan("1", AlongPeople({Basis.EQUAL: Decimal(1)}, over_assignment=Decimal(11))), "/steps/0/over_assignment"),
        (plan("1", AlongPeople({Basis.EQUAL: Decimal(1)}, tolerance=Decimal(2))), "/steps/0/tolerance"),
        (plan("1", AlongTime(months(1, 11), Shape.EQUAL)), "/steps/0/parts"),
        (plan("1", AlongTime(months(1, 2) + months(4, 12), Shape.EQUAL)), "/steps/0/parts/2"),
        (plan("1", AlongTime((YEAR,), Shape.SEASONAL), working_days=[YEAR.start]), "/steps/0/seasons"),
        (plan("1", AlongTime((YEAR,), Shape.DAYS, seasons=(Season(YEAR, Decimal(1)),))), "/steps/0/seasons"),
        (plan("1", AlongTime((YEAR,), Shape.CUSTOM, percentages=(Decimal(99),))), "/steps/0/percentages"),
        (plan("1", AlongTime((YEAR,), Shape.CUSTOM, percentages=(Decimal(50),) * 2)), "/steps/0/percentages"),
        (plan("1", AlongTime((YEAR,), Shape.WORKING_DAYS)), "/working_days"),
        (plan("1", working_days=[YEAR.start, YEAR.start]), "/working_days/1"),
        (plan("1", facts={person(0): OwnerFacts(potential=Decimal(-1))}), f"/facts/person:{person(0).id}/potential"),
        (
            plan("1", facts={person(0): OwnerFacts(capacity=Capacity(fte=Decimal("NaN")))}),
            f"/facts/person:{person(0).id}/capacity/fte",
        ),
        (
            plan("1", facts={person(0): OwnerFacts(capacity=Capacity(ramp=Ramp(YEAR.start, (Decimal(2),))))}),
            f"/facts/person:{person(0).id}/capacity/ramp/shares/0",
        ),
        (plan("1", changes=[Edit(UUID(int=1), Decimal("0.001"))]), "/changes/0/target"),
        (plan("1", changes=[Note(UUID(int=1), "x" * 2001)]), "/changes/0/text"),
        (
            plan("1", changes=[Respread(UUID(int=1), YEAR.start, {UUID(int=2): Decimal("Infinity")})]),
            f"/changes/0/reached/{UUID(int=2)}",
        ),
        (replace(plan("1"), below={COMPANY: (COMPANY,)}), f"/below/team:{COMPANY.id}"),
        (replace(plan("1"), below={COMPANY: (person(0), person(0))}), f"/below/team:{COMPANY.id}"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_with_what_is_accepted(made: Plan, pointer: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        decomposed(made)
    assert pointer in [field.pointer for field in refused.value.fields]
    assert all(field.accepted for field in refused.value.fields)


def test_a_plan_that_is_too_large_is_refused() -> None:
    days = tuple(Period(YEAR.start + timedelta(days=at), YEAR.start + timedelta(days=at + 1)) for at in range(365))
    with pytest.raises(PlanRefused) as refused:
        decomposed(plan("1", EQUALLY, AlongTime(days, Shape.EQUAL), people=700))
    assert refused.value.fields[0].pointer == "/steps"


def test_a_year_of_two_thousand_people_by_weeks_is_decomposed_in_seconds() -> None:
    """In seconds of one core, so that a busy machine does not matter."""
    teams = tuple(Owner(OwnerKind.TEAM, UUID(int=10_000 + number)) for number in range(100))
    below = {COMPANY: teams} | {
        team: tuple(person(20 * place + number) for number in range(20)) for place, team in enumerate(teams)
    }
    monday = date(2025, 12, 29)
    weeks = tuple(Period(monday + timedelta(weeks=at), monday + timedelta(weeks=at + 1)) for at in range(53))
    facts = {person(number): OwnerFacts(history=Decimal(number % 97)) for number in range(2000)}
    by_history = AlongPeople({Basis.HISTORY: Decimal("0.8"), Basis.EQUAL: Decimal("0.2")})
    made = replace(plan("123456789.01", by_history, by_history, AlongTime(weeks, Shape.DAYS)), below=below, facts=facts)
    started = process_time()
    tree = decomposed(made)
    assert process_time() - started < 5
    assert len(tree.nodes) == 1 + 100 + 2000 + 2000 * 53
    assert sum(targets(tree)) == Decimal("123456789.01")


@pytest.mark.parametrize("weights", [[], [0, 0], [2, -1]])
def test_nothing_is_split_by_weights_that_are_none(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights of 0 or more"):
        split(1, weights)


def win_rates(*changes: Change) -> Plan:
    """30 % for a company of two: of 100 deals decided last year the first decided 60 and the second 40."""
    facts = {person(0): OwnerFacts(history=Decimal(60)), person(1): OwnerFacts(history=Decimal(40))}
    made = plan("30", AlongPeople({Basis.HISTORY: Decimal(1)}), people=2, facts=facts, changes=changes)
    return replace(made, adds_up=False)


def test_a_win_rate_is_handed_down_as_it_is_and_an_edit_shows_what_the_parts_come_to() -> None:
    tree = decomposed(win_rates())
    company, west, east = tree.nodes
    assert [node.target for node in tree.nodes] == amounts("30", "30", "30")
    assert [node.share for node in tree.nodes] == [None, Decimal("0.6"), Decimal("0.4")]

    def after(taken_by: TakenBy) -> tuple[list[Decimal], Decimal]:
        _, edited = changed(win_rates(), Edit(east.id, Decimal(25), taken_by))
        return [node.target for node in edited.nodes], edited.nodes[0].mismatch

    assert after(TakenBy.NOBODY) == (amounts("30", "30", "25"), Decimal(-2))
    assert after(TakenBy.SIBLINGS) == (amounts("30", "33.33", "25"), Decimal(0))
    assert after(TakenBy.PARENT) == (amounts("28", "30", "25"), Decimal(0))
    _, locked = changed(win_rates(Lock(west.id, Decimal(32))), Edit(company.id, Decimal(40)))
    assert [node.target for node in locked.nodes] == amounts("40", "32", "40")
    assert locked.nodes[0].mismatch == Decimal("-4.8")


def test_what_is_committed_to_rates_counts_by_its_share_and_the_target_for_who_has_not_answered() -> None:
    tree = decomposed(win_rates())
    _, west, _ = tree.nodes
    company, _, east = commitment_gaps(tree.nodes, {west.id: Decimal(28)}, adds_up=False)
    assert (company.committed, company.outstanding, company.gap) == (Decimal("28.8"), Decimal(12), Decimal("-1.2"))
    assert (east.committed, east.outstanding, east.gap) == (Decimal(30), Decimal(30), Decimal(0))


def test_rates_of_which_nobody_knows_what_they_weigh_weigh_alike_and_it_is_said() -> None:
    made = replace(plan("30", AlongPeople({Basis.HISTORY: Decimal(1)}), people=2), adds_up=False)
    tree = decomposed(made)
    assert [node.share for node in tree.nodes] == [None, Decimal("0.5"), Decimal("0.5")]
    assert tree.remarks == (Remark(tree.nodes[0].id, (Basis.HISTORY,), evenly=True),)


@pytest.mark.parametrize(
    ("made", "pointer"),
    [
        (plan("30", AlongPeople({Basis.EQUAL: Decimal(1)}, Decimal("0.1")), people=2), "/steps/0/over_assignment"),
        (plan("30", MONTHLY, changes=[Respread(UUID(int=1), date(2026, 5, 1), {})]), "/changes/0"),
    ],
)
def test_rates_are_neither_over_assigned_nor_respread(made: Plan, pointer: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        decomposed(replace(made, adds_up=False))
    assert [field.pointer for field in refused.value.fields] == [pointer]


def test_rates_of_somebody_in_two_teams_are_compared_by_their_mean() -> None:
    steps = (AlongPeople({Basis.EQUAL: Decimal(1)}),) * 2
    made = replace(plan("30", *steps), adds_up=False)
    teams = [Owner(OwnerKind.TEAM, UUID(int=number)) for number in (50, 51)]
    below = {COMPANY: tuple(teams), teams[0]: (person(0),), teams[1]: (person(0),)}
    made = replace(made, below=below)
    first = next(node for node in decomposed(made).nodes if node.owner == person(0))
    _, tree = changed(made, Edit(first.id, Decimal(20)))
    row = next(row for row in compared([tree.nodes], {}) if row.owner == person(0))
    assert row.planned[0] is not None and row.planned[0].target == Decimal(25)
