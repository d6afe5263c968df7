"""Alerts, however a connection's health goes up and down: told soon, told once, and never in a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracking.intake.upkeep.domain import CheckName
from services.tracking.tell.alerts.domain import Alert, Subject, Trend, look, without
from shared.kernel.alerts import AlertSeverity, AlertState, Check, HealthStatus

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOOK = timedelta(seconds=30)
HOUR = timedelta(hours=1)
HOUR_LOOKS = 120
TOLD_IN_AN_HOUR_MAX = 14
"""Six cycles, of 2, 4, 8, 16, 32 and 64 calm looks, fit into an hour that begins with a first alert."""
CALM_LOOKS_MAX = 128
SUBJECT = Subject(UUID(int=1), UUID(int=2), "CRM")
OK, ATTENTION, BROKEN = HealthStatus.OK, HealthStatus.ATTENTION, HealthStatus.BROKEN
RANK = {None: 0, AlertSeverity.ATTENTION: 1, AlertSeverity.BROKEN: 2}
FOUND = {OK: 0, ATTENTION: 1, BROKEN: 2}
NAMES = (CheckName.SIGNATURES, CheckName.FETCHING)

# A pattern that comes again and again is what flaps; None is a check that is not made.
statuses = st.sampled_from([OK, ATTENTION, BROKEN, None])
patterns = st.lists(st.tuples(statuses, st.integers(1, 4)), min_size=1, max_size=5)
days = st.lists(st.tuples(patterns, st.integers(1, 40)), min_size=1, max_size=4)


def looks_of(day: Sequence[tuple[Sequence[tuple[HealthStatus | None, int]], int]]) -> list[HealthStatus | None]:
    """At most some 800 looks, so that a run takes no longer than others."""
    found = [
        status
        for pattern, times in day
        for _ in range(times)
        for status, count in pattern
        for status in [status] * count
    ]
    return found[:800]


@dataclass
class Watched:
    """A connection as it is watched: what was told, and what is remembered."""

    alerts: dict[str, Alert]
    trends: Mapping[str, Trend]
    published: list[tuple[int, Alert]]

    def look(self, number: int, found: Mapping[CheckName, HealthStatus], *, wording: str = "") -> list[Alert]:
        checks = [Check(name, status, wording or status.value) for name, status in found.items()]
        looked = look(SUBJECT, checks, self.alerts, self.trends, START + number * LOOK)
        self.trends = looked.trends
        self.alerts |= {alert.check: alert for alert in looked.to_publish}
        self.published += [(number, alert) for alert in looked.to_publish]
        return list(looked.to_publish)

    def severity(self, name: CheckName) -> AlertSeverity | None:
        alert = self.alerts.get(name)
        return alert.severity if alert is not None and alert.is_raised else None


def watched() -> Watched:
    return Watched({}, {}, [])


def found_in(status: HealthStatus | None, name: CheckName = CheckName.SIGNATURES) -> dict[CheckName, HealthStatus]:
    return {} if status is None else {name: status}


@given(days)
@settings(max_examples=100, deadline=None)
def test_raises_and_clears_take_turns_and_every_version_is_the_next(
    day: list[tuple[list[tuple[HealthStatus | None, int]], int]],
) -> None:
    connection = watched()
    for number, status in enumerate(looks_of(day)):
        connection.look(number, found_in(status) | found_in(OK, CheckName.FETCHING))
    is_raised = False
    for expected, (number, alert) in enumerate(connection.published, start=1):
        now = START + number * LOOK
        assert (alert.version, alert.changed_at, alert.check) == (expected, now, "signatures")
        match alert.effect:
            case "raised":
                assert not is_raised
                assert (alert.raised_at, alert.cleared_at) == (now, None)
            case "changed":
                assert is_raised
                assert alert.raised_at < now
            case "cleared":
                assert is_raised
                assert alert.cleared_at == now
        is_raised = alert.state is AlertState.RAISED
    assert len({alert.id for _, alert in connection.published}) <= 1


@given(days)
@settings(max_examples=100, deadline=None)
def test_what_is_broken_is_told_at_once_and_what_needs_attention_at_the_second_look(
    day: list[tuple[list[tuple[HealthStatus | None, int]], int]],
) -> None:
    connection = watched()
    before: HealthStatus | None = OK
    for number, status in enumerate(looks_of(day)):
        connection.look(number, found_in(status))
        standing = RANK[connection.severity(CheckName.SIGNATURES)]
        if status is BROKEN:
            assert standing == FOUND[BROKEN]
        if status is ATTENTION and before in (ATTENTION, BROKEN):
            assert standing >= FOUND[ATTENTION]
        before = status


@given(days)
@settings(max_examples=100, deadline=None)
def test_better_is_told_after_two_looks_in_a_row_that_were_better_and_never_before(
    day: list[tuple[list[tuple[HealthStatus | None, int]], int]],
) -> None:
    connection = watched()
    ranks: list[int] = []
    for number, status in enumerate(looks_of(day)):
        was = RANK[connection.severity(CheckName.SIGNATURES)]
        ranks.append(0 if status is None else FOUND[status])
        connection.look(number, found_in(status))
        now = RANK[connection.severity(CheckName.SIGNATURES)]
        if now < was:
            assert max(ranks[-2:]) < was
            assert now == ranks[-1]
            assert now > 0 or ranks[-2:] == [0, 0]


@given(days)
@settings(max_examples=100, deadline=None)
def test_what_flaps_makes_no_stream(day: list[tuple[list[tuple[HealthStatus | None, int]], int]]) -> None:
    connection = watched()
    for number, status in enumerate(looks_of(day)):
        connection.look(number, found_in(status), wording=f"{number} of them")
    numbers = [number for number, _ in connection.published]
    for first in numbers:
        assert sum(first <= number < first + HOUR_LOOKS for number in numbers) <= TOLD_IN_AN_HOUR_MAX


@given(days)
@settings(max_examples=100, deadline=None)
def test_whatever_it_was_like_nothing_stands_once_it_has_been_well_for_long_enough(
    day: list[tuple[list[tuple[HealthStatus | None, int]], int]],
) -> None:
    connection = watched()
    looks = looks_of(day)
    for number, status in enumerate([*looks, *[OK] * CALM_LOOKS_MAX]):
        connection.look(number, found_in(status))
    assert connection.severity(CheckName.SIGNATURES) is None
    for number in range(1000):
        assert not connection.look(len(looks) + CALM_LOOKS_MAX + number, found_in(OK))


@given(days, days)
@settings(max_examples=60, deadline=None)
def test_checks_do_not_meddle_with_each_other(
    one: list[tuple[list[tuple[HealthStatus | None, int]], int]],
    other: list[tuple[list[tuple[HealthStatus | None, int]], int]],
) -> None:
    together, alone = watched(), watched()
    pairs = list(zip(looks_of(one), looks_of(other), strict=False))
    for number, (first, second) in enumerate(pairs):
        together.look(number, found_in(first) | found_in(second, CheckName.FETCHING))
        alone.look(number, found_in(first))
    assert [(n, alert) for n, alert in together.published if alert.check == "signatures"] == alone.published


def test_a_check_that_breaks_again_and_again_has_to_be_well_twice_as_long_each_time() -> None:
    """And from two looks on again once it was well for an hour before it broke."""
    connection = watched()
    number = 0

    def looks_until_cleared() -> int:
        nonlocal number
        connection.look(number, found_in(BROKEN))
        for count in range(1, 200):
            number += 1
            if connection.look(number, found_in(OK)):
                number += 1
                return count
        raise AssertionError("was not cleared")

    assert [looks_until_cleared() for _ in range(8)] == [2, 4, 8, 16, 32, 64, 128, 128]
    number += HOUR_LOOKS
    assert looks_until_cleared() == 2


def test_numbers_that_move_are_told_once_an_hour_and_a_worse_state_at_once() -> None:
    connection = watched()
    for number in range(3 * HOUR_LOOKS + 1):
        connection.look(number, found_in(BROKEN), wording=f"{number} were refused")
    assert [number for number, _ in connection.published] == [0, HOUR_LOOKS, 2 * HOUR_LOOKS, 3 * HOUR_LOOKS]
    other = watched()
    for number, status in enumerate([ATTENTION, ATTENTION, ATTENTION, BROKEN]):
        other.look(number, found_in(status), wording=f"{number} were refused")
    assert [(number, alert.severity.value) for number, alert in other.published] == [(1, "attention"), (3, "broken")]


def test_a_connection_that_is_disabled_has_everything_cleared_at_once_and_once() -> None:
    connection = watched()
    connection.look(0, dict.fromkeys(NAMES, BROKEN))
    cleared = without(connection.alerts, START + LOOK)
    assert [(alert.effect, alert.version) for alert in cleared.to_publish] == [("cleared", 2), ("cleared", 2)]
    assert not cleared.trends
    assert not without({alert.check: alert for alert in cleared.to_publish}, START + 2 * LOOK).to_publish
