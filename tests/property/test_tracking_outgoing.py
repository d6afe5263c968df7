"""Webhooks to other systems, whatever happens: what is recorded, when it is tried again, what is signed."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from services.tracking.tell.channels.domain.deliveries import (
    TRIES_MAX,
    Attempt,
    Health,
    LastRecorded,
    Occurrence,
    SubjectKey,
    SubscriptionDeliveryState,
    after_attempt,
    plan_recording,
    secret_of,
    signed_headers,
)

_PAUSES = st.one_of(st.none(), st.integers(0, 10**12).map(lambda seconds: timedelta(seconds=seconds)))
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TENANT, SUBSCRIPTION = UUID(int=1), UUID(int=2)
STATE, FACT = "state", "fact"

happenings = st.lists(st.tuples(st.sampled_from([STATE, FACT]), st.integers(0, 2), st.integers(1, 6)), max_size=12)
# Between two batches a subscriber may take what waits, fail to take it, or not be asked.
batches = st.lists(st.tuples(happenings, st.sampled_from(["taken", "refused", "not asked"])), max_size=8)


class Log:
    """The deliveries of one subscription, kept as planned: number → [kind, subject, version, state, attempted]."""

    def __init__(self) -> None:
        self.rows: dict[int, list[object]] = {}
        self.newest: dict[tuple[str, str], int] = {}

    def last(self) -> dict[SubjectKey, LastRecorded]:
        found = {}
        for (kind, subject), number in self.newest.items():
            _, _, version, state, attempted = self.rows[number]
            assert isinstance(version, int)
            found[SubjectKey(TENANT, SUBSCRIPTION, kind, subject)] = LastRecorded(
                version,
                UUID(int=number),
                is_waiting=state == "waiting",
                is_untouched=state == "waiting" and not attempted,
            )
        return found

    def apply(self, happened: list[tuple[str, int, int]]) -> None:
        planned = plan_recording(
            [
                Occurrence(TENANT, SUBSCRIPTION, kind, f"s/{subject}", version, NOW, b"", kind == STATE)
                for kind, subject, version in happened
            ],
            self.last(),
        )
        for each in planned.added:
            number = len(self.rows) + 1
            self.rows[number] = [each.event_type, each.subject, each.version, "waiting", False]
            self.newest[each.event_type, each.subject] = number
        for delivery_id, each in planned.renewed:
            row = self.rows[delivery_id.int]
            assert row[3:] == ["waiting", False], "only what nobody has seen is renewed"
            row[2] = each.version
        for _, delivery_id in planned.superseded:
            assert self.rows[delivery_id.int][3:] == ["waiting", True]
            self.rows[delivery_id.int][3] = "superseded"

    def ask(self, answer: str) -> None:
        for row in self.rows.values():
            if row[3] == "waiting" and answer != "not asked":
                row[4] = True
                row[3] = "delivered" if answer == "taken" else "waiting"


@settings(max_examples=100, deadline=None)
@given(batches)
def test_facts_are_recorded_each_once_and_of_states_the_newest_is_never_lost(
    story: list[tuple[list[tuple[str, int, int]], str]],
) -> None:
    log = Log()
    facts: dict[int, list[int]] = {}
    states: dict[int, int] = {}
    for happened, answer in story:
        reached = {subject: max(versions) for subject, versions in facts.items()}
        for kind, subject, version in sorted(happened):
            if kind == FACT and version > reached.get(subject, 0) and version not in facts.get(subject, []):
                facts.setdefault(subject, []).append(version)
            if kind == STATE:
                states[subject] = max(version, states.get(subject, 0))
        log.apply(happened)
        waiting = [(row[0], row[1]) for row in log.rows.values() if row[0] == STATE and row[3] == "waiting"]
        assert len(waiting) == len(set(waiting)), "one state of a subject waits"
        log.ask(answer)
    recorded = [(row[1], row[2]) for row in log.rows.values() if row[0] == FACT]
    assert recorded == sorted(recorded, key=recorded.index)
    for subject, versions in facts.items():
        assert [version for name, version in recorded if name == f"s/{subject}"] == versions
    assert not any(row[3] == "superseded" for row in log.rows.values() if row[0] == FACT)
    log.ask("taken")
    for subject, newest in states.items():
        delivered = [
            row[2] for row in log.rows.values() if row[:2] == [STATE, f"s/{subject}"] and row[3] == "delivered"
        ]
        assert delivered[-1] == newest


@given(
    tries=st.integers(1, 30),
    status=st.one_of(st.none(), st.integers(100, 599)),
    asked=_PAUSES,
    chance=st.floats(0, 1),
)
def test_a_delivery_ends_or_comes_back_within_bounds(
    tries: int, status: int | None, asked: timedelta | None, chance: float
) -> None:
    attempt = Attempt(NOW, 1, status, None, "")
    verdict = after_attempt(
        SubscriptionDeliveryState.WAITING, attempt, tries=tries, retry_after=asked, now=NOW, chance=chance
    )
    if verdict.state is SubscriptionDeliveryState.WAITING:
        assert tries < TRIES_MAX
        assert verdict.due_at is not None
        at_least = timedelta(seconds=5) if tries > 1 or asked is None else min(asked, timedelta(days=1))
        assert at_least <= verdict.due_at - NOW <= timedelta(hours=27)
    else:
        assert verdict.due_at is None
        assert (verdict.state is SubscriptionDeliveryState.DELIVERED) == (status is not None and 200 <= status < 300)


@given(st.lists(st.tuples(st.booleans(), _PAUSES), max_size=40))
def test_an_endpoint_never_rests_longer_than_an_hour(story: list[tuple[bool, timedelta | None]]) -> None:
    health = Health(0, None, NOW)
    for succeeds, asked in story:
        health = health.after(Attempt(NOW, 1, 200 if succeeds else 500, None, ""), retry_after=asked, now=NOW)
        assert NOW <= health.rest_until <= NOW + timedelta(hours=1)
        assert (health.failing_since is None) == (health.failures == 0) == succeeds


@given(
    keys=st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=2),
    number=st.integers(0, 2**128 - 1),
    at=st.integers(0, 2**33),
    body=st.text(max_size=100),
)
def test_a_signature_is_what_the_library_of_standard_webhooks_makes(
    keys: list[bytes], number: int, at: int, body: str
) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    secrets = [secret_of(key) for key in keys]
    headers = signed_headers(secrets, delivery_id=UUID(int=number), at=moment, body=body.encode())
    assert [b64decode(each.removeprefix("whsec_")) for each in secrets] == keys
    assert headers["webhook-signature"].split(" ") == [
        Webhook("whsec_" + b64encode(key).decode()).sign(headers["webhook-id"], moment, body) for key in keys
    ]
