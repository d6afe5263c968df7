"""Attainment: compared exactly, shown rounded towards "not yet"."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.incentives.credits.domain.credit import CellKey
from services.incentives.earnings.domain.cells import Cell
from services.tracking.tell.channels.events import EARNING, PROGRESS
from shared.contracts.earnings import Earning
from shared.contracts.goals import Direction, GoalStatus, Subject
from shared.contracts.progress import Progress
from shared.kernel.attainment import actual, attainment, shown
from shared.kernel.filters import Value, first_failing, parse_filter
from shared.kernel.measures import Aggregate
from shared.kernel.money import AMOUNT_DECIMALS_MAX
from shared.kernel.periods import Period

NOW = datetime(2026, 3, 1, tzinfo=UTC)
QUOTIENTS = (Aggregate.RATIO, Aggregate.AVERAGE)
AMOUNTS = st.decimals(-(10**12), 10**12, places=AMOUNT_DECIMALS_MAX)


def reached(value: str, target: str, baseline: str = "0", *, lower: bool = False) -> Decimal | None:
    return attainment(Decimal(value), target=Decimal(target), baseline=Decimal(baseline), lower_is_better=lower)


@pytest.mark.parametrize(
    ("value", "target", "baseline", "lower", "reads"),
    [
        ("999999.60", "1000000", "0", False, "0.999999"),
        ("1000000", "1000000", "0", False, "1"),
        ("1000000.000001", "1000000", "0", False, "1"),
        ("1499999.999999", "1000000", "0", False, "1.499999"),
        ("150000", "100000", "0", False, "1.5"),
        ("-1", "3", "0", False, "-0.333334"),
        ("6.000001", "6", "10", True, "0.999999"),
        ("6", "6", "10", True, "1"),
        ("7", "6", "10", True, "0.75"),
        ("11", "6", "10", True, "-0.25"),
    ],
)
def test_a_ratio_is_shown_rounded_towards_not_yet(
    value: str, target: str, baseline: str, lower: bool, reads: str
) -> None:
    assert shown(reached(value, target, baseline, lower=lower)) == Decimal(reads)


def test_there_is_no_attainment_of_nothing() -> None:
    assert reached("1", "0") is None
    assert reached("1", "10", "10", lower=True) is None
    assert shown(None) is None


@given(AMOUNTS, AMOUNTS.filter(bool), st.decimals(-3, 3, places=AMOUNT_DECIMALS_MAX), AMOUNTS, st.booleans())
def test_an_attainment_compares_with_any_bound_as_the_exact_ratio_does(
    value: Decimal, target: Decimal, bound: Decimal, baseline: Decimal, lower: bool
) -> None:
    compared = attainment(value, target=target, baseline=baseline, lower_is_better=lower)
    above, below = (baseline - value, baseline - target) if lower else (value, target)
    if compared is None:
        assert below == 0
        return
    exact = Fraction(above) / Fraction(below)
    for each in (bound, Decimal(1), exact_or_next(exact)):
        assert (compared < each, compared == each, compared > each) == (exact < each, exact == each, exact > each)
        read = shown(compared)
        assert read is not None
        assert (read >= each) == (exact >= each)


@given(AMOUNTS, AMOUNTS, AMOUNTS.filter(bool), AMOUNTS, st.booleans(), st.sampled_from((*QUOTIENTS, Aggregate.SUM)))
def test_a_quotient_is_shown_half_up_and_compared_exactly(
    value: Decimal, denominator: Decimal, target: Decimal, baseline: Decimal, lower: bool, aggregate: Aggregate
) -> None:
    stands = actual(aggregate, value, denominator)
    compared = attainment(
        stands.dividend, target=target, baseline=baseline, lower_is_better=lower, divisor=stands.divisor
    )
    if aggregate in QUOTIENTS and not denominator:
        assert (stands.shown, compared, stands.has_reached(target, lower_is_better=lower)) == (None, None, False)
        return
    scale = {Aggregate.RATIO: Fraction(100), Aggregate.AVERAGE: Fraction(1)}
    exact = scale[aggregate] * Fraction(value) / Fraction(denominator) if aggregate in scale else Fraction(value)
    half_up = (abs(exact) * 10**6 + Fraction(1, 2)).__floor__() * (1 if exact >= 0 else -1)
    assert stands.shown == Decimal(half_up).scaleb(-6)
    assert stands.has_reached(target, lower_is_better=lower) == (exact <= target if lower else exact >= target)
    near = exact_or_next(exact)
    assert stands.has_reached(near, lower_is_better=lower) == (exact <= near if lower else exact >= near)
    assert compared == attainment_of(exact, target, baseline, lower=lower)


def attainment_of(exact: Fraction, target: Decimal, baseline: Decimal, *, lower: bool) -> Decimal | None:
    """The attainment of a number that need be no decimal, as it is compared: with a last digit that is never 0 or 5."""
    above, below = (
        (Fraction(baseline) - exact, Fraction(baseline) - Fraction(target)) if lower else (exact, Fraction(target))
    )
    if not below:
        return None
    scaled = above / below * 10**7
    cut = abs(scaled).__floor__()
    if cut != abs(scaled) and cut % 5 == 0:
        cut += 1
    return Decimal(cut if scaled >= 0 else -cut).scaleb(-7)


@pytest.mark.parametrize(
    ("aggregate", "value", "denominator", "reads"),
    [
        (Aggregate.RATIO, "3", "12", "25"),
        (Aggregate.RATIO, "4", "13", "30.769231"),
        (Aggregate.RATIO, "1", "3", "33.333333"),
        (Aggregate.AVERAGE, "14", "2", "7"),
        (Aggregate.AVERAGE, "-0.000001", "2", "-0.000001"),
    ],
)
def test_worked_quotients(aggregate: Aggregate, value: str, denominator: str, reads: str) -> None:
    assert actual(aggregate, Decimal(value), Decimal(denominator)).shown == Decimal(reads)


def test_filters_compare_the_exact_attainment_of_a_ratio_and_find_no_value_where_there_is_none() -> None:
    # 29.9999996 of 30 percent, which reads as 30.
    nearly = progress("30", "30").model_copy(
        update={"aggregate": "ratio", "numerator": Decimal(299999996), "denominator": Decimal(10**9)}
    )
    assert not fires(nearly, "gte", "1")
    assert fires(nearly, "gte", "0.999999")
    nothing = nearly.model_copy(update={"numerator": Decimal(0), "denominator": Decimal(0), "value": Decimal(0)})
    assert PROGRESS.fields["value"][1](nothing) is None
    assert PROGRESS.fields["attainment"][1](nothing) is None


def exact_or_next(ratio: Fraction) -> Decimal:
    """The closest number of six decimals: where rounding would err."""
    return Decimal(round(ratio * 10**AMOUNT_DECIMALS_MAX)).scaleb(-AMOUNT_DECIMALS_MAX)


def progress(value: str, target: str, baseline: str = "0", direction: Direction = Direction.HIGHER) -> Progress:
    return Progress(
        tenant_id=UUID(int=1),
        goal_id=UUID(int=2),
        version=1,
        goal_version=1,
        status=GoalStatus.ACTIVE,
        name="Bookings",
        owner=Subject(kind="person", id=UUID(int=3)),
        value=Decimal(value),
        target=Decimal(target),
        baseline=Decimal(baseline),
        attainment=Decimal(1),
        direction=direction,
        unit="USD",
        currency="USD",
        start=date(2026, 1, 1),
        end=date(2026, 4, 1),
        deals=1,
        changed_at=NOW,
        received_at=NOW,
    )


def earning(measure: str, quota: str | None) -> Earning:
    return Earning(
        tenant_id=UUID(int=1),
        id=UUID(int=2),
        version=1,
        person_id=UUID(int=3),
        assignment_id=UUID(int=4),
        plan_id=UUID(int=5),
        plan_version=1,
        component="bookings",
        start=date(2026, 1, 1),
        end=date(2026, 4, 1),
        measure=Decimal(measure),
        quota=None if quota is None else Decimal(quota),
        attainment=Decimal(1),
        earned=Decimal(0),
        currency="USD",
        credits=1,
        changed_at=NOW,
    )


def fires(event: Progress | Earning, op: str, bound: str) -> bool:
    def field(name: str) -> Value | None:
        if isinstance(event, Progress):
            return PROGRESS.fields[name][1](event)
        return EARNING.fields[name][1](event)

    catalogue = PROGRESS.catalogue if isinstance(event, Progress) else EARNING.catalogue
    wanted = parse_filter({"all": [{"field": "attainment", "op": op, "value": bound}]}, catalogue)
    return first_failing(wanted, field) is None


@pytest.mark.parametrize(
    ("event", "at_least_one", "above_one"),
    [
        (progress("999999.60", "1000000"), False, False),
        (progress("1000000", "1000000"), True, False),
        (progress("1000000.000001", "1000000"), True, True),
        (progress("6.000001", "6", "10", Direction.LOWER), False, False),
        (progress("6", "6", "10", Direction.LOWER), True, False),
        (earning("999999.60", "1000000"), False, False),
        (earning("1000000.000001", "1000000"), True, True),
        (earning("1", None), False, False),
    ],
)
def test_a_subscription_to_a_bound_fires_when_it_is_reached_and_not_before(
    event: Progress | Earning, at_least_one: bool, above_one: bool
) -> None:
    assert fires(event, "gte", "1") is at_least_one
    assert fires(event, "gt", "1") is above_one


def test_an_earning_reads_its_quota_reached_when_it_is() -> None:
    key = CellKey(UUID(int=1), "bookings", Period(date(2026, 1, 1), date(2026, 4, 1)))

    def cell(measure: str, quota: str | None) -> Cell:
        return Cell(
            key, UUID(int=2), UUID(int=3), 1, "USD", None if quota is None else Decimal(quota), Decimal(measure)
        )

    assert cell("999999.60", "1000000").attainment == Decimal("0.999999")
    assert cell("1000000", "1000000").attainment == 1
    assert cell("1", "0").attainment is None
    assert cell("1", None).attainment is None
