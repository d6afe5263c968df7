"""Until when what was found of a connection holds: no check changes its status by time alone before that."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.tracking.intake.inbox.domain.backlog import Backlog
from services.tracking.intake.inbox.domain.hook_counts import Sent
from services.tracking.intake.sync.domain import ChannelState, Reconciliation
from services.tracking.intake.upkeep.domain import Facts, health, valid_until
from services.tracking.tell.alerts.domain import Looked, Trend, next_look
from shared.kernel.alerts import HealthStatus

NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
INTERVAL = timedelta(seconds=30)
DAY = timedelta(days=1)

# Most thresholds are whole minutes, hours or days: on them, beside them and anywhere.
spans = st.one_of(
    st.timedeltas(timedelta(0), 5 * DAY),
    st.builds(
        lambda minutes, microseconds: timedelta(minutes=minutes, microseconds=microseconds),
        st.sampled_from([0, 1, 10, 15, 45, 60, 180, 360, 1440, 4320]),
        st.integers(-1, 1),
    ).map(abs),
)
past = spans.map(lambda span: NOW - span)
ahead = spans.map(lambda span: NOW + span)
sometime = st.none() | past
waiting = st.none() | past


def every_minutes(minutes: int) -> Reconciliation:
    return Reconciliation(UUID(int=1), UUID(int=2), every_minutes=minutes)


def channel(expires_at: datetime | None, error: str | None) -> ChannelState:
    return ChannelState(UUID(int=1), UUID(int=2), "1", NOW, expires_at=expires_at, error=error)


facts = st.builds(
    Facts,
    created_at=past,
    is_active=st.just(True),
    hook_path=st.just("/hooks/1"),
    sent=st.builds(Sent, last_at=sometime),
    untranslated=waiting.map(lambda at: Backlog(0 if at is None else 1, at)),
    fetching=waiting.map(lambda at: Backlog(0 if at is None else 1, at)),
    has_api=st.just(True),
    has_access=st.booleans(),
    wants_channel=st.booleans(),
    channel=st.none() | st.builds(channel, st.none() | past | ahead, st.none() | st.just("no")),
    reconciliation=st.none() | st.sampled_from([0, 15, 60, 1440]).map(every_minutes),
    reconciled_at=sometime,
)


def statuses(of: Facts, at: datetime) -> dict[str, HealthStatus]:
    return {check.name: check.status for check in health(of, at).checks}


@given(facts, st.floats(0, 1))
def test_no_check_has_another_status_before(of: Facts, share: float) -> None:
    until = valid_until(of, NOW)
    last = NOW + 400 * DAY if until is None else until - timedelta(microseconds=1)
    for at in (last, NOW + (last - NOW) * share):
        assert statuses(of, at) == statuses(of, NOW)


@given(facts)
def test_whoever_looks_whenever_it_holds_no_longer_sees_every_change(of: Facts) -> None:
    """Look by look to the end, which comes after a bounded number of looks."""
    now, looks = NOW, 0
    while (until := valid_until(of, now)) is not None and of.untranslated.oldest_at is None:
        assert until > now
        now, looks = until, looks + 1
        assert looks < 20
    if of.untranslated.oldest_at is None:
        assert statuses(of, now) == statuses(of, now + 400 * DAY)


@given(
    st.none() | st.timedeltas(-DAY, DAY),
    st.none() | st.timedeltas(-DAY, DAY),
    st.builds(Trend, bad=st.integers(0, 2), calm=st.integers(0, 2)),
)
def test_the_next_look_is_the_first_that_is_called_for_and_no_sooner_than_in_an_interval(
    until: timedelta | None, reworded: timedelta | None, trend: Trend
) -> None:
    looked = Looked((), {"signatures": trend}, None if reworded is None else NOW + reworded)
    at = next_look(looked, None if until is None else NOW + until, NOW, interval=INTERVAL)
    if trend.bad or trend.calm:
        assert at == NOW + INTERVAL
    elif until is None and reworded is None:
        assert at is None
    else:
        first = min(span for span in (until, reworded) if span is not None)
        assert at == NOW + max(first, INTERVAL)
