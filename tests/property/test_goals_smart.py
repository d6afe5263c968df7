"""How probable a target is: never more for a higher one, and what counting periods one by one gives."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from services.goals.evidence.domain import attainment_probability

CENTS = st.integers(0, 100_000)
PERIODS = st.lists(CENTS, max_size=12)
PEERS = st.lists(PERIODS, max_size=4)


def money(cents: int) -> Decimal:
    return Decimal(cents) / 100


def probability(
    history: list[int], peers: list[list[int]], target: int, reached: int, days_ahead: int
) -> Decimal | None:
    found = attainment_probability(
        [money(each) for each in history],
        [[money(each) for each in peer] for peer in peers],
        money(target),
        money(reached),
        Fraction(days_ahead, 90),
    )
    return None if found is None else found.value


def oracle(history: list[int], peers: list[list[int]], target: int, reached: int, days_ahead: int) -> int | None:
    """In ten-thousandths, by integers alone: shares are compared by multiplying out."""
    if reached >= target:
        return 10_000
    if days_ahead == 0:
        return 0
    attained, sample = 0, 0
    if len(history) < 3:
        return None
    for value in history:
        sample += 1
        attained += reached * 90 + value * days_ahead >= target * 90
    for peer in peers:
        if len(peer) < 3 or sum(peer) == 0:
            continue
        # value × (Σ own ÷ n own) ÷ (Σ peer ÷ n peer)
        scale, by = sum(history) * len(peer), len(history) * sum(peer)
        for value in peer:
            sample += 1
            attained += reached * 90 * by + value * scale * days_ahead >= target * 90 * by
    if sample < 4:
        return None
    return (2 * 10_000 * (attained + 1) + sample + 2) // (2 * (sample + 2))


@given(PERIODS, PEERS, st.integers(1, 150_000), CENTS, st.integers(0, 90))
def test_it_is_what_counting_one_by_one_gives(
    history: list[int], peers: list[list[int]], target: int, reached: int, days_ahead: int
) -> None:
    expected = oracle(history, peers, target, reached, days_ahead)
    assert probability(history, peers, target, reached, days_ahead) == (
        None if expected is None else Decimal(expected) / 10_000
    )


@given(
    st.lists(CENTS, min_size=4, max_size=12),
    PEERS,
    st.integers(1, 150_000),
    st.integers(1, 150_000),
    CENTS,
    st.integers(0, 90),
)
def test_a_higher_target_is_never_more_probable(
    history: list[int], peers: list[list[int]], one: int, other: int, reached: int, days_ahead: int
) -> None:
    low = probability(history, peers, min(one, other), reached, days_ahead)
    high = probability(history, peers, max(one, other), reached, days_ahead)
    assert low is not None and high is not None
    assert 0 <= high <= low <= 1
