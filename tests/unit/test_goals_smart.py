"""SMART checks: each letter, its reasons and what would pass, and how probable a target is."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest

from services.goals.evidence.domain import Actuals, MonthOfPerson, ProbabilitySource, attainment_probability
from services.goals.smart.domain.capacity import full_time
from services.goals.smart.domain.checks import (
    Check,
    DaysOfPeriod,
    Known,
    Letter,
    Verdict,
    check_acknowledgement,
    check_activation,
    checks_of,
)
from services.goals.smart.domain.track import (
    Surroundings,
    Track,
    months_told,
    track_of,
    untold_by_actuals,
)
from services.goals.targets.domain import (
    CheckFailed,
    CheckIn,
    CheckUnacknowledged,
    Direction,
    GoalTerms,
    Owner,
)
from shared.kernel.deals import DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import EVERYTHING, All, Any, Condition, Operator
from shared.kernel.measures import Aggregate, Combine, Measure, RatePolicy
from shared.kernel.org import MembershipFact, OrgChart, OwnerKind, Reach, TeamNode
from shared.kernel.periods import DatedRange, FiscalCalendar, Period
from shared.kernel.working_days import WorkingDays

ADA, BOB, CLEO, DAN = (UUID(int=number) for number in range(1, 5))
NORTH, SOUTH, ALL_SALES = (UUID(int=number) for number in range(11, 14))
TODAY = date(2026, 11, 30)
WON = All((Condition("status", Operator.EQ, ("won",)),))
BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, WON, "USD", RatePolicy.DEAL_DATE)
DEALS = Measure(Aggregate.COUNT, None, DateField.CLOSED, WON)
STATED = Measure(Aggregate.STATED, None, DateField.CLOSED, combine=Combine.LATEST)
TERMS = GoalTerms(
    "Bookings",
    Owner(OwnerKind.PERSON, ADA),
    BOOKINGS,
    Decimal(100),
    Decimal(0),
    "USD",
    Direction.HIGHER,
    Period(date(2027, 1, 1), date(2027, 4, 1)),
    UUID(int=99),
    Decimal(1),
    check_in=CheckIn.WEEKLY,
)
UNTOLD = "Actuals do not have it."


def numbers(*values: int | str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, values))


def quarters(*values: int) -> tuple[tuple[Period, Decimal], ...]:
    first = date(2020, 1, 1)
    return tuple((Period(first, first + timedelta(90)), Decimal(value)) for value in values)


def track(*history: int, peers: tuple[tuple[Decimal, ...], ...] = (), reached: int = 0, still_open: int = 0) -> Track:
    return Track(Decimal(reached), Decimal(still_open), Fraction(1), quarters(*history), peers)


def known(of: Track | str = UNTOLD, *, people: int = 1, identified: int = 1, period: Period = TERMS.period) -> Known:
    days = DaysOfPeriod.of(period, FiscalCalendar(), WorkingDays())
    return Known(TODAY, people, identified, days, Decimal("0.75"), of)


def check(letter: Letter, terms: GoalTerms = TERMS, of: Known | None = None, *, past_is_allowed: bool = False) -> Check:
    checks = checks_of(terms, of or known(period=terms.period), past_is_allowed=past_is_allowed)
    assert [each.letter for each in checks] == list(Letter)
    return next(each for each in checks if each.letter is letter)


def told(each: Check) -> tuple[Verdict, list[str]]:
    return each.verdict, [finding.pointer for finding in each.findings]


PASSES: tuple[Verdict, list[str]] = (Verdict.PASSES, [])


# What is worked out by hand is in the comment of each line.
@pytest.mark.parametrize(
    ("history", "peers", "target", "reached", "ahead", "expected"),
    [
        # Reached already, whatever is known.
        ((), (), 100, 100, Fraction(1), (Decimal(1), ProbabilitySource.REACHED)),
        # Ahead with no history cannot be told, and is not 0.
        ((), (), 100, 0, Fraction(1), None),
        ((), ((90, 90, 90, 90),), 100, 0, Fraction(1), None),
        ((90, 100), ((90, 90, 90, 90),), 100, 0, Fraction(1), None),
        ((90, 100, 110), (), 100, 0, Fraction(1), None),
        # 2 of 4 reach 100: 3 ÷ 6.
        ((90, 100, 110, 80), (), 100, 0, Fraction(1), (Decimal("0.5"), ProbabilitySource.HISTORY)),
        # 4 of 4 reach 80: 5 ÷ 6; none reaches 111: 1 ÷ 6.
        ((90, 100, 110, 80), (), 80, 0, Fraction(1), (Decimal("0.8333"), ProbabilitySource.HISTORY)),
        ((90, 100, 110, 80), (), 111, 0, Fraction(1), (Decimal("0.1667"), ProbabilitySource.HISTORY)),
        # The peer at twice the level: 80, 100, 120 of its 160, 200, 240; with 90, 100, 110 it is 4 of 6 at 100: 5 ÷ 8.
        (
            (90, 100, 110),
            ((160, 200, 240),),
            100,
            0,
            Fraction(1),
            (Decimal("0.625"), ProbabilitySource.HISTORY_AND_PEERS),
        ),
        # A peer of two periods, and one that won nothing, say nothing.
        ((90, 100, 110, 80), ((1, 500), (0, 0, 0)), 100, 0, Fraction(1), (Decimal("0.5"), ProbabilitySource.HISTORY)),
        # 60 are reached and half is ahead: 45, 50, 55 and 40 more; 3 of 4 come to 105: 4 ÷ 6.
        ((90, 100, 110, 80), (), 105, 60, Fraction(1, 2), (Decimal("0.6667"), ProbabilitySource.HISTORY)),
        # Nothing is ahead.
        ((90, 100, 110, 80), (), 105, 104, Fraction(0), (Decimal(0), ProbabilitySource.ENDED)),
    ],
)
def test_how_probable_a_target_is(
    history: tuple[int, ...],
    peers: tuple[tuple[int, ...], ...],
    target: int,
    reached: int,
    ahead: Fraction,
    expected: tuple[Decimal, ProbabilitySource] | None,
) -> None:
    found = attainment_probability(
        numbers(*history), [numbers(*peer) for peer in peers], Decimal(target), Decimal(reached), ahead
    )
    assert (None if found is None else (found.value, found.source)) == expected


def test_specific_warns_of_a_metric_that_counts_everything() -> None:
    assert told(check(Letter.SPECIFIC)) == PASSES
    everything = replace(TERMS, measure=replace(DEALS, filter=EVERYTHING))
    assert told(check(Letter.SPECIFIC, everything)) == (Verdict.WARNS, ["/metric/filter"])
    assert told(check(Letter.SPECIFIC, replace(TERMS, measure=STATED))) == PASSES


def test_measurable_fails_where_the_target_is_no_way_from_the_baseline_and_says_what_would_do() -> None:
    found = check(Letter.MEASURABLE, replace(TERMS, baseline=Decimal(100)))
    assert told(found) == (Verdict.FAILS, ["/target"])
    assert found.accepted == "more than 100"
    assert "100 is not above the baseline 100" in found.reason


def test_measurable_warns_where_no_crm_knows_anybody_whose_records_count() -> None:
    assert told(check(Letter.MEASURABLE)) == PASSES
    nobody = check(Letter.MEASURABLE, of=known(people=4, identified=0))
    assert told(nobody) == (Verdict.WARNS, ["/owner"])
    assert [(each.name, int(each.value)) for each in nobody.evidence] == [("people", 4), ("identified_people", 0)]
    assert nobody.reason == "The owner is not known by any CRM, so no deal can count."
    team = replace(TERMS, owner=Owner(OwnerKind.TEAM, NORTH))
    of_team = check(Letter.MEASURABLE, team, known(people=4, identified=0))
    assert of_team.reason == "None of its 4 people is known by any CRM, so no deal can count."
    stated = replace(TERMS, measure=STATED)
    assert told(check(Letter.MEASURABLE, stated, known(identified=0))) == PASSES


def test_achievable_says_that_it_cannot_be_told_and_does_not_guess() -> None:
    periods = "4 periods of this length of which is known what was won"
    by_month = "a goal on won deals, by number or by value, over whole calendar months"
    for of, accepted in ((track(still_open=0), periods), (track(90, 100), periods), (UNTOLD, by_month)):
        found = check(Letter.ACHIEVABLE, of=known(of))
        assert told(found) == (Verdict.WARNS, ["/target"])
        assert found.probability is None
        assert "cannot be told" in found.reason
        assert found.accepted == accepted


@pytest.mark.parametrize(
    ("target", "verdict", "probability"),
    # Of 8 periods 10, 20, … 80: k reach it, (k + 1) ÷ 10.
    [(81, Verdict.WARNS, "0.1"), (71, Verdict.PASSES, "0.2"), (20, Verdict.PASSES, "0.8"), (10, Verdict.WARNS, "0.9")],
)
def test_achievable_warns_outside_of_20_to_80_percent(target: int, verdict: Verdict, probability: str) -> None:
    of = known(track(10, 20, 30, 40, 50, 60, 70, 80))
    found = check(Letter.ACHIEVABLE, replace(TERMS, target=Decimal(target)), of)
    assert found.verdict is verdict
    assert found.probability is not None
    assert (found.probability.value, found.probability.sample) == (Decimal(probability), 8)
    if verdict is Verdict.WARNS:
        assert found.accepted == "more than 10, at most 80"


def test_what_would_pass_passes_and_what_lies_beyond_does_not() -> None:
    of = known(track(10, 20, 30, 40, 50, 60, 70, 80))
    for target, verdict in (("10.01", Verdict.PASSES), ("80", Verdict.PASSES), ("80.01", Verdict.WARNS)):
        assert check(Letter.ACHIEVABLE, replace(TERMS, target=Decimal(target)), of).verdict is verdict


def test_where_all_periods_are_alike_no_target_is_an_aim() -> None:
    found = check(Letter.ACHIEVABLE, of=known(track(50, 50, 50, 50)))
    assert found.accepted == "none, as all periods came to about 50"


def test_achievable_warns_of_a_target_that_is_reached_already() -> None:
    found = check(Letter.ACHIEVABLE, of=known(track(reached=100)))
    assert told(found) == (Verdict.WARNS, ["/target"])
    assert found.probability is not None and found.probability.value == 1
    assert found.accepted == "more than 100"


def test_the_evidence_has_history_pipeline_capacity_and_the_median_of_three_peers_or_more() -> None:
    peers = (numbers(1, 2, 3), numbers(10, 20, 30), numbers(4, 5, 6))
    found = check(Letter.ACHIEVABLE, of=known(track(90, 100, 110, 80, peers=peers, still_open=33)))
    figures = [(each.name, each.value) for each in found.evidence]
    assert figures == [
        ("reached", 0),
        ("open_pipeline", 33),
        *(("owner_period", value) for value in (90, 100, 110, 80)),
        ("peers", 3),
        ("median_of_peers", 5),
        ("people", 1),
        ("full_time_people", Decimal("0.75")),
        ("working_days", 64),
    ]
    fewer = check(Letter.ACHIEVABLE, of=known(track(90, 100, 110, 80, peers=peers[:2])))
    assert "median_of_peers" not in {each.name for each in fewer.evidence}


def test_relevant_is_a_part_of_another_goal_or_meant_to_be_at_the_top() -> None:
    assert told(check(Letter.RELEVANT)) == PASSES
    alone = replace(TERMS, parent_id=None)
    assert told(check(Letter.RELEVANT, alone)) == (Verdict.WARNS, ["/parent_id"])
    assert told(check(Letter.RELEVANT, replace(alone, top=True))) == PASSES
    assert told(check(Letter.RELEVANT, replace(TERMS, weight=Decimal(0)))) == (Verdict.WARNS, ["/weight"])


def test_time_bound_fails_in_the_past_and_warns_off_the_calendar_and_without_check_ins() -> None:
    assert told(check(Letter.TIME_BOUND)) == PASSES
    past = replace(TERMS, period=Period(date(2026, 7, 1), date(2026, 10, 1)))
    assert told(check(Letter.TIME_BOUND, past)) == (Verdict.FAILS, ["/period"])
    assert told(check(Letter.TIME_BOUND, past, past_is_allowed=True)) == (Verdict.WARNS, ["/period"])
    week = replace(TERMS, period=Period(date(2026, 12, 7), date(2026, 12, 21)))
    assert told(check(Letter.TIME_BOUND, week)) == PASSES
    ragged = replace(TERMS, period=Period(date(2026, 12, 8), date(2027, 1, 1)), check_in=CheckIn.NONE)
    found = check(Letter.TIME_BOUND, ragged)
    assert told(found) == (Verdict.WARNS, ["/period", "/check_in"])
    assert found.accepted is not None and "2026-12-01 and 2027-01-01" in found.accepted


def test_a_goal_is_over_on_the_day_after_its_last_one() -> None:
    last_today = replace(TERMS, period=Period(date(2026, 11, 1), date(2026, 12, 1)))
    assert check(Letter.TIME_BOUND, last_today).verdict is Verdict.PASSES
    over = replace(TERMS, period=Period(date(2026, 11, 1), TODAY))
    assert check(Letter.TIME_BOUND, over).verdict is Verdict.FAILS


def test_a_failure_blocks_a_warning_waits_for_its_acknowledgement_and_both_say_what_would_pass() -> None:
    alone = replace(TERMS, parent_id=None)
    of = known(track(90, 100, 110, 80))
    checks = checks_of(alone, of, past_is_allowed=False)
    with pytest.raises(CheckUnacknowledged) as refused:
        check_activation(checks, ())
    assert [(each.pointer, each.accepted) for each in refused.value.fields] == [
        ("/parent_id", "a parent_id, or top true where it is meant so")
    ]
    check_activation(checks, {Letter.RELEVANT})
    past = replace(alone, period=Period(date(2026, 7, 1), date(2026, 10, 1)))
    with pytest.raises(CheckFailed) as failed:
        check_activation(checks_of(past, of, past_is_allowed=False), set(Letter))
    assert [each.pointer for each in failed.value.fields] == ["/period"]


def test_only_what_warns_is_acknowledged() -> None:
    checks = checks_of(replace(TERMS, parent_id=None), known(track(90, 100, 110, 80)), past_is_allowed=False)
    check_acknowledgement(checks, [Letter.RELEVANT])
    with pytest.raises(InvalidInput) as refused:
        check_acknowledgement(checks, [Letter.RELEVANT, Letter.SPECIFIC])
    assert [(each.pointer, each.accepted) for each in refused.value.fields] == [("/checks/1", "relevant")]


@pytest.mark.parametrize(
    ("terms", "is_told"),
    [
        (TERMS, True),
        (replace(TERMS, measure=DEALS), True),
        (replace(TERMS, measure=replace(DEALS, filter=Any((Condition("status", Operator.IN, ("won",)),)))), True),
        (replace(TERMS, measure=replace(DEALS, filter=EVERYTHING)), False),
        (replace(TERMS, measure=replace(DEALS, filter=Condition("status", Operator.EQ, ("lost",)))), False),
        (
            replace(TERMS, measure=replace(DEALS, filter=All((*WON.members, Condition("stage", Operator.EXISTS))))),
            False,
        ),
        (replace(TERMS, measure=replace(DEALS, date_field=DateField.CREATED)), False),
        (replace(TERMS, direction=Direction.LOWER), False),
        (replace(TERMS, period=Period(date(2027, 1, 4), date(2027, 1, 11))), False),
    ],
)
def test_actuals_tell_of_what_is_won_in_whole_months(terms: GoalTerms, is_told: bool) -> None:
    assert (untold_by_actuals(terms) is None) is is_told


def actuals(rows: Mapping[tuple[UUID, str], tuple[int, int]], currency: str = "USD") -> dict[MonthOfPerson, Actuals]:
    """Of each person and month what was won and what is open, one deal each."""
    found = {}
    for (person, month), (won, still_open) in rows.items():
        of = MonthOfPerson(person, date.fromisoformat(f"{month}-01"))
        one = Decimal(1)
        found[of] = Actuals(of, 1, currency, Decimal(won), one, Decimal(still_open), one, Decimal(0), datetime.now(UTC))
    return found


def test_a_track_has_the_periods_that_are_over_since_something_is_known() -> None:
    rows = {
        (ADA, "2026-12"): (0, 70),
        (ADA, "2026-11"): (500, 0),
        (ADA, "2026-09"): (5, 0),
        (ADA, "2026-07"): (7, 0),
        (ADA, "2026-02"): (20, 0),
        (BOB, "2026-02"): (1000, 0),
    }
    terms = replace(TERMS, period=Period(date(2026, 10, 1), date(2027, 1, 1)))
    found = track_of(terms, [ADA], [[BOB]], actuals(rows), TODAY)
    assert (found.reached, found.open) == numbers(500, 70)
    # 32 of the 92 days from October on are ahead on 30 November.
    assert found.ahead == Fraction(32, 92)
    # The quarter of January began before anything was known of anybody; nothing was won from April to June.
    assert [(period.start.isoformat(), int(value)) for period, value in found.history] == [
        ("2026-07-01", 12),
        ("2026-04-01", 0),
    ]
    assert found.peers == (numbers(0, 0),)


def test_a_quarter_that_still_runs_is_no_history_of_the_next() -> None:
    months = months_told(TERMS, TODAY)
    assert {date(2027, 1, 1), date(2027, 3, 1), date(2026, 9, 1)} <= months
    assert not {date(2026, 10, 1), date(2026, 11, 1)} & months
    assert len(months) == 3 + 12 * 3


def test_periods_in_another_currency_are_left_out_and_counts_are_not() -> None:
    rows = {(ADA, "2026-09"): (5, 0), (ADA, "2026-04"): (9, 0)}
    mixed = actuals(rows) | actuals({(ADA, "2026-08"): (3, 0)}, "EUR")
    terms = replace(TERMS, period=Period(date(2026, 10, 1), date(2027, 1, 1)))
    assert [value for _, value in track_of(terms, [ADA], [], mixed, TODAY).history] == [9]
    counted = track_of(replace(terms, measure=DEALS), [ADA], [], mixed, TODAY)
    assert [value for _, value in counted.history] == [2, 1]


def test_peers_are_those_in_the_same_teams_and_teams_beside_the_team() -> None:
    always = DatedRange(date(2020, 1, 1))
    left = DatedRange(date(2020, 1, 1), date(2026, 1, 1))
    chart = OrgChart(
        teams={
            ALL_SALES: TeamNode(ALL_SALES, None, None),
            NORTH: TeamNode(NORTH, ALL_SALES, None),
            SOUTH: TeamNode(SOUTH, ALL_SALES, None),
        },
        memberships=[
            MembershipFact(ADA, NORTH, always),
            MembershipFact(BOB, NORTH, always),
            MembershipFact(CLEO, SOUTH, always),
            MembershipFact(DAN, NORTH, left),
        ],
    )
    around = Surroundings(chart, TODAY)
    assert around.peers_of(Owner(OwnerKind.PERSON, ADA)) == (frozenset({BOB}),)
    assert around.peers_of(Owner(OwnerKind.PERSON, DAN)) == ()
    assert around.peers_of(Owner(OwnerKind.TEAM, NORTH)) == (frozenset({CLEO}),)
    assert around.peers_of(Owner(OwnerKind.TEAM, ALL_SALES)) == ()
    assert around.people_of(Owner(OwnerKind.TEAM, ALL_SALES)) == {ADA, BOB, CLEO}


def test_capacity_is_working_days_by_who_is_there_and_how_far() -> None:
    january = [date(2027, 1, 1) + timedelta(number) for number in range(10)]
    whole, second_half = Period(january[0], date(2027, 1, 11)), Period(date(2027, 1, 6), date(2027, 1, 11))
    reaches = [Reach(ADA, whole), Reach(BOB, second_half)]
    assert full_time(reaches, {}, january) == Decimal("1.5")
    leave = (DatedRange(date(2027, 1, 2), date(2027, 1, 4)), Decimal(0))
    ramp = (DatedRange(date(2027, 1, 3), date(2027, 1, 7)), Decimal("0.25"))
    # Ada is away on two days and there by a quarter on three more, Bob by a quarter on one: 5.75 and 4.25 days of ten.
    assert full_time(reaches, {ADA: [leave, ramp], BOB: [ramp]}, january) == Decimal(1)
    assert full_time(reaches, {}, january[:3]) == Decimal(1)
    assert full_time(reaches, {}, []) == 0
