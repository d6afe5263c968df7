"""The rules of webhooks to other systems."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.tracking.tell.channels.domain.deliveries import (
    FAILURES_BEFORE_REST,
    REST_SECONDS_MAX,
    TRIES_MAX,
    Attempt,
    EventType,
    Health,
    LastRecorded,
    LastSigningSecret,
    Occurrence,
    SigningRotationUnderWay,
    SigningSecretNotFound,
    SubjectKey,
    Subscription,
    SubscriptionDeliveryState,
    SubscriptionStatus,
    Verdict,
    after_attempt,
    plan_recording,
    reason_to_disable,
    secret_of,
    signature,
    signed_headers,
)
from services.tracking.tell.channels.events import KINDS, body_of
from shared.contracts.examples import EXAMPLES
from shared.kernel.filters import EVERYTHING, FieldType
from shared.kernel.rotation import SealedSecret

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TENANT, SUBSCRIPTION = uuid4(), uuid4()
KEY = SubjectKey(TENANT, SUBSCRIPTION, "attain.progress.v1", "goal/1")


def answered(status: int | None) -> Attempt:
    return Attempt(NOW, 100, status, None if status else "Outgoing call timed out", "")


def occurrence(version: int, *, coalesces: bool = True, subject: str = KEY.subject) -> Occurrence:
    return Occurrence(TENANT, SUBSCRIPTION, KEY.event_type, subject, version, NOW, b"{}", coalesces)


def last(version: int, *, waits: bool = True, untouched: bool = True) -> dict[SubjectKey, LastRecorded]:
    return {KEY: LastRecorded(version, UUID(int=version), is_waiting=waits, is_untouched=waits and untouched)}


def subscription(*secrets: SealedSecret) -> Subscription:
    return Subscription(
        tenant_id=TENANT,
        id=SUBSCRIPTION,
        name="Payroll",
        sealed_url="ciphertext",
        events={EventType.EARNING: EVERYTHING},
        secrets=secrets,
        status=SubscriptionStatus.ACTIVE,
        status_reason=None,
        version=1,
        created_at=NOW,
        updated_at=NOW,
    )


def secret(number: int, expires_at: datetime | None = None) -> SealedSecret:
    return SealedSecret(UUID(int=number), f"sealed-{number}", NOW, expires_at)


def test_the_published_vector_is_signed_as_published() -> None:
    signed = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_seconds=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_attempt_names_the_delivery_and_its_own_time_and_is_signed_with_every_secret() -> None:
    at = datetime.fromtimestamp(1614265330.9, UTC)
    secrets = [secret_of(bytes(24)), secret_of(bytes(32))]
    headers = signed_headers(secrets, delivery_id=UUID(int=0x1234), at=at, body=b"{}")
    assert headers["webhook-id"] == "msg_00000000000000000000000000001234"
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"].split(" ") == [
        signature(each, webhook_id=headers["webhook-id"], timestamp_seconds=1614265330, body=b"{}") for each in secrets
    ]


def test_a_schedule_is_that_of_standard_webhooks() -> None:
    waits = []
    for tries in range(1, TRIES_MAX):
        verdict = after_attempt(
            SubscriptionDeliveryState.WAITING, answered(500), tries=tries, retry_after=None, now=NOW, chance=0.0
        )
        assert verdict.state is SubscriptionDeliveryState.WAITING
        assert verdict.due_at is not None
        waits.append((verdict.due_at - NOW).total_seconds())
    minute, hour = 60, 3600
    assert waits == [5, 5 * minute, 30 * minute, *(hours * hour for hours in (2, 5, 10, 14, 20, 24))]
    last_one = after_attempt(
        SubscriptionDeliveryState.WAITING,
        answered(None),
        tries=TRIES_MAX,
        retry_after=None,
        now=NOW,
        chance=0.0,
    )
    assert last_one == Verdict(SubscriptionDeliveryState.FAILED, None)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("state", [SubscriptionDeliveryState.WAITING, SubscriptionDeliveryState.SUPERSEDED])
def test_any_2xx_is_delivered_even_of_what_was_superseded_meanwhile(
    status: int, state: SubscriptionDeliveryState
) -> None:
    verdict = after_attempt(state, answered(status), tries=1, retry_after=None, now=NOW, chance=0.5)
    assert verdict == Verdict(SubscriptionDeliveryState.DELIVERED, None)


def test_what_was_superseded_meanwhile_is_not_tried_again() -> None:
    verdict = after_attempt(
        SubscriptionDeliveryState.SUPERSEDED, answered(500), tries=1, retry_after=None, now=NOW, chance=0.5
    )
    assert verdict == Verdict(SubscriptionDeliveryState.SUPERSEDED, None)


def test_gone_is_final() -> None:
    verdict = after_attempt(
        SubscriptionDeliveryState.WAITING, answered(410), tries=1, retry_after=timedelta(seconds=9), now=NOW, chance=0
    )
    assert verdict == Verdict(SubscriptionDeliveryState.FAILED, None)


@pytest.mark.parametrize(
    ("asked", "tries", "waits"),
    [
        (1, 1, 1),
        (0, 1, 0),
        (600, 1, 600),
        (10**9, 1, 86_400),
        (None, 1, 5),
        (1, 2, 300),
        (600, 2, 600),
    ],
)
def test_retry_after_is_when_the_second_attempt_comes_and_delays_the_later_ones_up_to_a_day(
    asked: int | None, tries: int, waits: int
) -> None:
    pause = None if asked is None else timedelta(seconds=asked)
    verdict = after_attempt(
        SubscriptionDeliveryState.WAITING, answered(429), tries=tries, retry_after=pause, now=NOW, chance=0
    )
    assert verdict.due_at == NOW + timedelta(seconds=waits)


def test_the_first_failures_cause_no_rest_and_later_ones_an_ever_longer_one_up_to_a_limit() -> None:
    health = Health(0, None, NOW)
    rests = []
    for _ in range(20):
        health = health.after(answered(500), retry_after=None, now=NOW)
        rests.append(int((health.rest_until - NOW).total_seconds()))
    assert rests[: FAILURES_BEFORE_REST - 1] == [0] * (FAILURES_BEFORE_REST - 1)
    assert rests[FAILURES_BEFORE_REST - 1 :][:4] == [5, 10, 20, 40]
    assert rests[-1] == REST_SECONDS_MAX
    assert health.failing_since == NOW
    assert health.after(answered(200), retry_after=None, now=NOW) == Health(0, None, NOW)


def test_a_rest_that_was_asked_for_is_not_cut_short_by_a_failure_that_asks_for_none() -> None:
    health = Health(0, None, NOW).after(answered(429), retry_after=timedelta(seconds=900), now=NOW)
    later = health.after(answered(500), retry_after=None, now=NOW)
    assert later.rest_until == health.rest_until == NOW + timedelta(seconds=900)


@pytest.mark.parametrize(
    ("failures", "days", "disabled"), [(10, 5, True), (9, 5, False), (10, 4.99, False), (400, 30, True)]
)
def test_an_endpoint_is_disabled_after_days_and_attempts_without_a_success(
    failures: int, days: float, disabled: bool
) -> None:
    health = Health(failures, NOW - timedelta(days=days), NOW)
    assert (reason_to_disable(health, answered(500), now=NOW) is not None) is disabled


def test_a_healthy_endpoint_is_not_disabled_but_one_that_is_gone_is() -> None:
    assert reason_to_disable(Health(0, None, NOW), answered(200), now=NOW) is None
    assert reason_to_disable(Health(1, NOW, NOW), answered(410), now=NOW) is not None


def test_a_first_state_is_recorded() -> None:
    assert [each.version for each in plan_recording([occurrence(1)], {}).added] == [1]


def test_an_untouched_state_is_renewed_in_place() -> None:
    planned = plan_recording([occurrence(6), occurrence(8), occurrence(7)], last(5))
    assert (planned.added, planned.superseded) == ((), ())
    assert [(delivery_id, each.version) for delivery_id, each in planned.renewed] == [(UUID(int=5), 8)]


def test_a_state_that_was_attempted_is_superseded() -> None:
    planned = plan_recording([occurrence(6)], last(5, untouched=False))
    assert [each.version for each in planned.added] == [6]
    assert planned.superseded == ((KEY, UUID(int=5)),)


def test_a_state_that_has_ended_is_left_as_it_is() -> None:
    planned = plan_recording([occurrence(6)], last(5, waits=False))
    assert [each.version for each in planned.added] == [6]
    assert (planned.superseded, planned.renewed) == ((), ())


def test_a_fact_supersedes_nothing() -> None:
    planned = plan_recording([occurrence(7, coalesces=False), occurrence(6, coalesces=False)], last(5))
    assert [each.version for each in planned.added] == [6, 7]
    assert (planned.superseded, planned.renewed) == ((), ())


@pytest.mark.parametrize("coalesces", [True, False])
def test_a_version_that_was_recorded_is_not_recorded_again(coalesces: bool) -> None:
    planned = plan_recording([occurrence(5, coalesces=coalesces), occurrence(4, coalesces=coalesces)], last(5))
    assert planned == plan_recording([], {})


def test_a_rotation_keeps_the_old_secret_for_the_overlap_only() -> None:
    rotated = subscription(secret(1)).rotated(secret(2), overlap=timedelta(hours=1), now=NOW)
    assert [(each.id.int, each.expires_at) for each in rotated.secrets] == [(1, NOW + timedelta(hours=1)), (2, None)]
    assert rotated.version == 2
    with pytest.raises(SigningRotationUnderWay):
        rotated.rotated(secret(3), overlap=timedelta(hours=1), now=NOW)
    later = rotated.rotated(secret(3), overlap=timedelta(0), now=NOW + timedelta(hours=1))
    assert [each.id.int for each in later.secrets] == [3]


def test_a_rotation_never_lengthens_the_life_of_a_secret_that_ends() -> None:
    held = subscription(secret(1, NOW + timedelta(minutes=5)))
    rotated = held.rotated(secret(2), overlap=timedelta(hours=1), now=NOW)
    assert [each.expires_at for each in rotated.secrets] == [NOW + timedelta(minutes=5), None]
    assert [each.expires_at for each in rotated.with_retired(UUID(int=2), now=NOW).secrets] == [None]


def test_the_last_valid_secret_cannot_be_retired() -> None:
    held = subscription(secret(1, NOW), secret(2))
    with pytest.raises(SigningSecretNotFound):
        held.with_retired(UUID(int=1), now=NOW)
    with pytest.raises(LastSigningSecret):
        held.with_retired(UUID(int=2), now=NOW)


def test_a_status_that_a_person_sets_has_no_reason() -> None:
    disabled = replace(subscription(secret(1)), status=SubscriptionStatus.DISABLED, status_reason="gone")
    renamed = disabled.edited(name="New", sealed_url=None, events=None, status=None, now=NOW)
    assert renamed.status_reason == "gone"
    active = disabled.edited(name=None, sealed_url=None, events=None, status=SubscriptionStatus.ACTIVE, now=NOW)
    assert (active.status, active.status_reason) == (SubscriptionStatus.ACTIVE, None)


def test_a_secret_is_as_libraries_take_it() -> None:
    assert secret_of(bytes(24)) == "whsec_" + "A" * 32


@pytest.mark.parametrize("kind", EventType)
def test_every_type_of_event_can_be_filtered_by_each_of_its_fields(kind: EventType) -> None:
    """The example of the contract gives a value of the field's type, or none, for each name of the catalogue."""
    python_types = {FieldType.TEXT: "str", FieldType.NUMBER: "Decimal", FieldType.DATE: "date"}
    event = EXAMPLES[kind]
    offered = KINDS[kind]
    published = offered.published(event, NOW)
    assert (published.subject, published.occurred_at) == (event.subject, NOW)
    for name, (field_type, _) in offered.fields.items():
        value = published.field(name)
        assert value is None or type(value).__name__ == python_types[field_type], name


def test_a_body_has_type_timestamp_and_data() -> None:
    assert body_of("attain.test.v1", NOW, "{}") == (
        b'{"type":"attain.test.v1","timestamp":"2026-11-23T12:00:00Z","data":{}}'
    )
