"""No window of a limit's length ever holds more calls than the limit has, whoever makes them and however they fail."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracking.intake.calling.domain import (
    CallLimits,
    CallState,
    Circuit,
    CircuitState,
    Full,
    Go,
    Trouble,
    admit,
    opened,
    recorded,
    reserved,
    tightened,
)
from services.tracking.intake.sources.domain import Judgement, Limit, Verdict

START = datetime(2026, 3, 31, tzinfo=UTC)
WAITS_MS = st.lists(st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 5000)), min_size=1, max_size=120)
LIMITS = st.lists(
    st.builds(
        Limit,
        st.integers(1, 12),
        st.integers(1, 3000).map(lambda ms: timedelta(milliseconds=ms)),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


def most_in_a_window(times: Sequence[int], window_ms: int) -> int:
    """The most calls that any window of this length holds, counted one by one."""
    return max((sum(first <= time < first + window_ms for time in times) for first in times), default=0)


@settings(max_examples=100, deadline=None)
@given(limits=LIMITS, waits=WAITS_MS, endpoints=st.lists(st.sampled_from("ab"), min_size=120, max_size=120))
def test_no_window_holds_more_calls_than_a_limit_has(
    limits: list[Limit], waits: list[int], endpoints: list[str]
) -> None:
    now = 0
    times: dict[str, Sequence[int]] = {}
    made: list[tuple[str, int]] = []
    for wait, endpoint in zip(waits, endpoints, strict=False):
        now += wait
        at, times = reserved(times, limits, endpoint=endpoint, earliest_ms=now)
        assert at >= now
        made.append((endpoint, at))
    for limit in limits:
        window_ms = limit.window // timedelta(milliseconds=1)
        for counted in ("a", "b") if limit.is_per_endpoint else ("ab",):
            of_limit = [at for endpoint, at in made if endpoint in counted]
            assert most_in_a_window(of_limit, window_ms) <= limit.calls


@settings(max_examples=100, deadline=None)
@given(calls=st.integers(1, 30), window=st.integers(1, 5000), count=st.integers(1, 90))
def test_a_single_limit_is_used_to_the_full(calls: int, window: int, count: int) -> None:
    limit = Limit(calls, timedelta(milliseconds=window))
    times: dict[str, Sequence[int]] = {}
    made = []
    for _ in range(count):
        at, times = reserved(times, [limit], endpoint="", earliest_ms=0)
        made.append(at)
    assert made == [number // calls * window for number in range(count)]


@settings(max_examples=100, deadline=None)
@given(calls=st.integers(1, 500_000), window_seconds=st.integers(1, 86_400))
def test_a_large_limit_is_kept_by_one_that_can_be_remembered(calls: int, window_seconds: int) -> None:
    fewer, window_ms = tightened(Limit(calls, timedelta(seconds=window_seconds)))
    assert 1 <= fewer <= 200
    # As many windows as cover the given one hold no more than it may.
    covering = -(-window_seconds * 1000 // window_ms)
    assert covering * fewer <= calls


VERDICTS = st.sampled_from([verdict for verdict in Verdict if verdict is not Verdict.REFUSED])
EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "answer"]), VERDICTS, st.integers(0, 20_000), st.integers(0, 30)),
    max_size=80,
)
LIMITED = CallLimits(
    (Limit(3, timedelta(seconds=2)), Limit(10, timedelta(seconds=60))),
    concurrent_max=3,
    wait_max=timedelta(seconds=30),
    call_max=timedelta(seconds=35),
)


@settings(max_examples=100, deadline=None)
@given(events=EVENTS)
def test_calls_keep_to_limits_pauses_concurrency_and_circuit_whatever_the_answers(
    events: list[tuple[str, Verdict, int, int]],
) -> None:
    now, state = START, CallState()
    made: list[int] = []
    under_way: dict[UUID, datetime] = {}
    for kind, verdict, wait_ms, pause_seconds in events:
        now += timedelta(milliseconds=wait_ms)
        under_way = {each: until for each, until in under_way.items() if now < until}
        if kind == "answer" and under_way:
            answered = next(iter(under_way))
            del under_way[answered]
            pause = timedelta(seconds=pause_seconds) if pause_seconds else None
            state = recorded(state, answered, Judgement(verdict, pause, "said"), now=now)
            continue
        call_id = uuid4()
        before = state
        state, admission = admit(before, LIMITED, endpoint="", call_id=call_id, now=now)
        if isinstance(admission, Go):
            assert not (before.circuit.state is CircuitState.OPEN and now < (before.circuit.until or now))
            assert len(under_way) < LIMITED.concurrent_max
            assert before.not_before is None or admission.at >= before.not_before
            assert now <= admission.at <= now + LIMITED.wait_max + timedelta(milliseconds=1)
            made.append(-((START - admission.at) // timedelta(milliseconds=1)))
            under_way[call_id] = admission.at + LIMITED.call_max
        else:
            assert state is before
            assert not isinstance(admission, Full) or len(under_way) >= LIMITED.concurrent_max
    assert all(one <= next_one for one, next_one in pairwise(made))
    assert most_in_a_window(made, 2000) <= 3
    assert most_in_a_window(made, 60_000) <= 10


@settings(max_examples=60, deadline=None)
@given(openings=st.integers(0, 10_000), trouble=st.sampled_from(Trouble))
def test_a_circuit_is_never_open_without_an_end(openings: int, trouble: Trouble) -> None:
    state = CallState(Circuit(CircuitState.HALF_OPEN, openings=openings, trouble=trouble))
    until = opened(state, trouble, "said", now=START).circuit.until
    assert until is not None
    assert timedelta(0) < until - START <= timedelta(hours=24)
