"""When a call to a source may be made, and what an answer leads to. Values only: no clock, no chance, no waiting.

All workers share one `CallState` a connection. `admit` decides when the next call may be made and notes it; `recorded`
notes what came of it. Times within rate limits are whole milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from services.tracking.intake.sources.domain import Judgement, Limit, Source, Verdict
from shared.kernel.errors import Conflict, Unavailable

FAILURES_TO_OPEN: Final = 5
"""So many calls in a row without a usable answer open the circuit."""
ATTEMPTS_MAX: Final = 4
"""How often one call is tried while the source is unwell."""
RATE_LIMITED_MAX: Final = 6
"""How often one call is tried while it comes too soon."""
_TIMES_MAX: Final = 200
_PROBE: Final = timedelta(seconds=60)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_QUOTA_PAUSE: Final = timedelta(hours=1)
_RATE_PAUSE: Final = timedelta(seconds=1)
_BACKOFF_FIRST: Final = timedelta(milliseconds=500)
_BACKOFF_MAX: Final = timedelta(seconds=15)


class CircuitState(StrEnum):
    """Whether the source is called at all."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """Not before a moment."""
    HALF_OPEN = "half_open"
    """One call is under way to see whether it can be called again."""


class Trouble(StrEnum):
    """Why a source is not called for a while."""

    UNWELL = "unwell"
    QUOTA_EXHAUSTED = "quota_exhausted"
    ACCESS_REFUSED = "access_refused"
    RATE_LIMITED = "rate_limited"


WHAT_TO_DO: Final[Mapping[Trouble, str]] = {
    Trouble.UNWELL: (
        "Nothing, if the source is having an outage: it is tried again by itself. Otherwise check the address of the "
        "API access and whether this service can reach it."
    ),
    Trouble.QUOTA_EXHAUSTED: (
        "The source's quota of API calls is used up. Wait until it is renewed, raise it in the source, or find out "
        "what else uses it."
    ),
    Trouble.ACCESS_REFUSED: (
        "The source no longer accepts the API access. Give it anew (PUT api-access) with credentials that may read "
        "deals and users."
    ),
    Trouble.RATE_LIMITED: "Nothing: the source asked for a pause, and is called again after it.",
}

_PAUSES: Final[Mapping[Trouble, tuple[timedelta, timedelta]]] = {
    Trouble.UNWELL: (timedelta(seconds=10), timedelta(minutes=15)),
    Trouble.QUOTA_EXHAUSTED: (_QUOTA_PAUSE, timedelta(hours=24)),
    Trouble.ACCESS_REFUSED: (timedelta(minutes=15), timedelta(hours=6)),
    Trouble.RATE_LIMITED: (_RATE_PAUSE, timedelta(minutes=1)),
}


class CalledConnection(Protocol):
    """A connection, as far as the calling of its source's API needs to know it."""

    @property
    def tenant_id(self) -> UUID: ...
    @property
    def id(self) -> UUID: ...
    @property
    def source(self) -> Source: ...
    @property
    def api(self) -> str | None:
        """The sealed credentials; None without access."""


class ApiAccessMissing(Conflict):
    """The connection has no access to its source's API, or its source has no API."""

    code = "api_access_missing"
    title = "API access is missing"


class SourceUnavailable(Unavailable):
    """The source is not to be called before a moment."""

    code = "source_unavailable"
    title = "Source unavailable"

    def __init__(self, detail: str, *, trouble: Trouble, until: datetime) -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.until = until


class SourceRefused(Conflict):
    """The source will not answer this, however often it is called; the detail is in its words."""

    code = "source_refused"
    title = "Source refused"


@dataclass(frozen=True, slots=True)
class Circuit:
    """Whether a connection's source is called, and why not."""

    state: CircuitState = CircuitState.CLOSED
    since: datetime | None = None
    until: datetime | None = None
    """Open: no call before. Half-open: another probe not before."""
    failures: int = 0
    """In a row."""
    openings: int = 0
    """In a row, without a success between them."""
    trouble: Trouble | None = None
    error: str | None = None
    """The last thing that went wrong, in the source's words where it had any."""
    error_at: datetime | None = None

    @property
    def what_to_do(self) -> str | None:
        """About the trouble, if there is any."""
        return None if self.trouble is None else WHAT_TO_DO[self.trouble]


@dataclass(frozen=True, slots=True)
class CallUnderWay:
    """A call under way, until it is recorded or at the latest until then."""

    id: UUID
    until: datetime


@dataclass(frozen=True, slots=True)
class CallState:
    """What all workers know together of the calls of one connection."""

    circuit: Circuit = Circuit()
    not_before: datetime | None = None
    """The source asked for a pause until then."""
    times: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By limit: when the latest calls were or will be made, in milliseconds since 1970, oldest first."""
    under_way: tuple[CallUnderWay, ...] = ()
    credits_remaining: int | None = None


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The limits of the calls of a connection."""

    limits: Sequence[Limit]
    concurrent_max: int
    wait_max: timedelta
    """A call that would have to wait longer is not admitted."""
    call_max: timedelta
    """No call takes longer; one that has not been recorded by then is taken for lost."""


@dataclass(frozen=True, slots=True)
class Go:
    """Make the call at this moment."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Full:
    """As many calls as may be are under way: try again in a moment."""


@dataclass(frozen=True, slots=True)
class Later:
    """Make no call before this moment."""

    until: datetime
    trouble: Trouble
    detail: str


Admission = Go | Full | Later


def admit(
    state: CallState,
    call_limits: CallLimits,
    *,
    endpoint: str,
    call_id: UUID,
    now: datetime,
    is_requested: bool = False,
) -> tuple[CallState, Admission]:
    """When a call may be made, and the state in which it is noted; the same state when it may not be made.

    `is_requested`: by somebody who wants to know whether the source can be called, so also while the circuit is open.
    """
    circuit = state.circuit
    if circuit.state is not CircuitState.CLOSED:
        if not is_requested and circuit.until is not None and now < circuit.until:
            trouble = circuit.trouble or Trouble.UNWELL
            return state, Later(circuit.until, trouble, circuit.error or "The source is not called for a while.")
        circuit = replace(circuit, state=CircuitState.HALF_OPEN, until=now + _PROBE)
    under_way = tuple(each for each in state.under_way if now < each.until)
    if len(under_way) >= call_limits.concurrent_max:
        return state, Full()
    earliest = now if state.not_before is None else max(now, state.not_before)
    at_ms, times = reserved(state.times, call_limits.limits, endpoint=endpoint, earliest_ms=milliseconds_up(earliest))
    at = _EPOCH + at_ms * _MILLISECOND
    if at - now > call_limits.wait_max:
        return state, Later(at, Trouble.RATE_LIMITED, "The source allows no more calls for now.")
    under_way = (*under_way, CallUnderWay(call_id, at + call_limits.call_max))
    return replace(state, circuit=circuit, times=times, under_way=under_way), Go(at)


def reserved(
    times: Mapping[str, Sequence[int]], limits: Sequence[Limit], *, endpoint: str, earliest_ms: int
) -> tuple[int, dict[str, Sequence[int]]]:
    """The first moment from `earliest_ms` on at which a call is within every limit, and the times with it among them.

    No window of a limit's length, from any moment on, has more calls than the limit allows, whoever made them.
    """
    at = earliest_ms
    limited: list[tuple[str, int, Sequence[int]]] = []
    for limit in limits:
        calls, window_ms = tightened(limit)
        key = f"{endpoint if limit.is_per_endpoint else '*'}/{calls}/{window_ms}"
        known = times.get(key, ())
        limited.append((key, calls, known))
        if known:
            at = max(at, known[-1])
        if len(known) >= calls:
            at = max(at, known[-calls] + window_ms)
    return at, {**times, **{key: (*known, at)[-calls:] for key, calls, known in limited}}


def tightened(limit: Limit) -> tuple[int, int]:
    """A limit of few enough calls to remember each, and its window in milliseconds, that implies the one given.

    A large limit becomes one of an equal part of the calls in an equal part of the window.
    """
    parts = -(-limit.calls // _TIMES_MAX)
    return limit.calls // parts, -(-milliseconds(limit.window) // parts)


def recorded(state: CallState, call_id: UUID, judgement: Judgement, *, now: datetime) -> CallState:
    """The state once a call has been answered. No answer at all is judged to be TRANSIENT."""
    state = replace(
        state,
        under_way=tuple(each for each in state.under_way if each.id != call_id and now < each.until),
        credits_remaining=(
            state.credits_remaining if judgement.credits_remaining is None else judgement.credits_remaining
        ),
    )
    match judgement.verdict:
        case Verdict.TRANSIENT:
            return _failed(state, judgement.detail, now)
        case Verdict.QUOTA_EXHAUSTED:
            return opened(state, Trouble.QUOTA_EXHAUSTED, judgement.detail, now=now, pause=judgement.retry_after)
        case Verdict.RATE_LIMITED:
            until = now + (judgement.retry_after or _RATE_PAUSE)
            not_before = until if state.not_before is None else max(until, state.not_before)
            return replace(_alive(state, now), not_before=not_before)
        case _:
            return _alive(state, now)


def released(state: CallState, call_id: UUID) -> CallState:
    """The state once a call has been given up without being made."""
    return replace(state, under_way=tuple(each for each in state.under_way if each.id != call_id))


def opened(
    state: CallState, trouble: Trouble, error: str, *, now: datetime, pause: timedelta | None = None
) -> CallState:
    """With the circuit open; each time in a row for longer, unless the source states how long."""
    before = state.circuit
    openings = before.openings + 1 if before.trouble is trouble else 1
    if before.state is CircuitState.OPEN and before.trouble is trouble:
        # Several calls that were under way fail together: that is one opening.
        openings = before.openings
    first, longest = _PAUSES[trouble]
    grown = min(first * (1 << min(openings - 1, 16)), longest)
    return replace(
        state,
        circuit=Circuit(
            CircuitState.OPEN,
            since=now if before.state is CircuitState.CLOSED or before.since is None else before.since,
            until=now + (pause or grown),
            failures=before.failures,
            openings=openings,
            trouble=trouble,
            error=error,
            error_at=now,
        ),
    )


def _failed(state: CallState, error: str, now: datetime) -> CallState:
    failures = state.circuit.failures + 1
    state = replace(state, circuit=replace(state.circuit, failures=failures, error=error, error_at=now))
    match state.circuit.state:
        case CircuitState.CLOSED:
            return opened(state, Trouble.UNWELL, error, now=now) if failures >= FAILURES_TO_OPEN else state
        case CircuitState.HALF_OPEN:
            return opened(state, state.circuit.trouble or Trouble.UNWELL, error, now=now)
        case CircuitState.OPEN:
            return state


def _alive(state: CallState, now: datetime) -> CallState:
    circuit = state.circuit
    if circuit.state is CircuitState.OPEN:
        # A call from before it opened: what opened it came later or weighs more.
        return state
    since = now if circuit.state is CircuitState.HALF_OPEN else circuit.since
    return replace(state, circuit=Circuit(since=since, error=circuit.error, error_at=circuit.error_at))


@dataclass(frozen=True, slots=True)
class Attempts:
    """How one call went so far."""

    failed: int = 0
    rate_limited: int = 0
    is_refreshed: bool = False


@dataclass(frozen=True, slots=True)
class Accept:
    """Pass the answer on."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Get another token and call again."""

    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Again:
    """Call again after a while."""

    after: timedelta
    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Refused:
    """Give up: the call is wrong."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Give up for now. `pause` is how long at least, where nothing else decides it."""

    trouble: Trouble
    pause: timedelta


Step = Accept | Refresh | Again | Refused | GiveUp


def next_step(attempts: Attempts, judgement: Judgement, *, chance: float) -> Step:
    """What an answer leads to, for a call that has gone so so far. `chance` is a random number from 0 to 1.

    A pause the source asks for is not waited for here, nor is any beside it: it is in the shared state, which `admit`
    keeps to.
    """
    match judgement.verdict:
        case Verdict.OK:
            return Accept()
        case Verdict.TOKEN_EXPIRED:
            if attempts.is_refreshed:
                return GiveUp(Trouble.ACCESS_REFUSED, _PAUSES[Trouble.ACCESS_REFUSED][0])
            return Refresh(replace(attempts, is_refreshed=True))
        case Verdict.RATE_LIMITED:
            count = attempts.rate_limited + 1
            if count >= RATE_LIMITED_MAX:
                return GiveUp(Trouble.RATE_LIMITED, judgement.retry_after or _PAUSES[Trouble.RATE_LIMITED][1])
            pause = timedelta(0) if judgement.retry_after is not None else _jittered(_RATE_PAUSE, count, chance)
            return Again(pause, replace(attempts, rate_limited=count))
        case Verdict.TRANSIENT:
            count = attempts.failed + 1
            if count >= ATTEMPTS_MAX:
                return GiveUp(Trouble.UNWELL, _PAUSES[Trouble.UNWELL][0])
            return Again(_jittered(_BACKOFF_FIRST, count, chance), replace(attempts, failed=count))
        case Verdict.QUOTA_EXHAUSTED:
            return GiveUp(Trouble.QUOTA_EXHAUSTED, judgement.retry_after or _QUOTA_PAUSE)
        case Verdict.REFUSED:
            return Refused()


def _jittered(first: timedelta, count: int, chance: float) -> timedelta:
    """Full jitter: anything up to a bound that doubles with every attempt."""
    return min(first * (1 << count), _BACKOFF_MAX) * chance


def milliseconds(length: timedelta) -> int:
    """Whole milliseconds, rounded up."""
    return -(-length // _MILLISECOND)


def milliseconds_up(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded up."""
    return -((_EPOCH - moment) // _MILLISECOND)
