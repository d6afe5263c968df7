"""The adapters: who sent it, is it the same again, what does it say."""

import json
from base64 import b64encode
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.tracking.crm.canonical import CanonicalDeal, event_of
from services.tracking.crm.domain import (
    Connection,
    ConnectionStatus,
    InvalidSecret,
    LastSecret,
    QuarantineReason,
    Rejection,
    RotationUnderWay,
    SealedSecret,
    SecretNotFound,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.crm.encryption import SecretsBox, SecretsUnreadable
from services.tracking.crm.pipedrive import Pipedrive
from services.tracking.crm.standard_webhooks import StandardWebhooks
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import deal_id

NOW = datetime(2026, 3, 31, 18, 40, 3, tzinfo=UTC)
STANDARD = StandardWebhooks()
PIPEDRIVE = Pipedrive()
NO_MAPPING = SourceMapping()

VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_SECONDS = 1614265330
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_SIGNATURE = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed_headers(signature: bytes = VECTOR_SIGNATURE, *, seconds: int = VECTOR_SECONDS) -> dict[bytes, bytes]:
    return {
        b"webhook-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek",
        b"webhook-timestamp": str(seconds).encode(),
        b"webhook-signature": signature,
    }


def verify_vector(
    headers: dict[bytes, bytes],
    *,
    secrets: tuple[str, ...] = (VECTOR_SECRET,),
    now_seconds: int = VECTOR_SECONDS,
    body: bytes = VECTOR_BODY,
) -> Rejection | None:
    return STANDARD.verify(headers, body, secrets, now_seconds=now_seconds)


def canonical(**changes: object) -> bytes:
    data: dict[str, object] = {
        "external_id": "A1",
        "modified_at": "2026-03-31T18:40:02Z",
        "status": "won",
        "amount": "1200.50",
        "currency": "USD",
        "owner_external_id": "ann",
    }
    return json.dumps({"type": "deal.upserted", "data": data | changes}).encode()


def translated(body: bytes, mapping: SourceMapping = NO_MAPPING) -> CanonicalDeal:
    (deal,) = STANDARD.translate(body, mapping)
    return deal


def refusal(body: bytes, mapping: SourceMapping = NO_MAPPING) -> Untranslatable:
    with pytest.raises(Untranslatable) as refused:
        STANDARD.translate(body, mapping)
    return refused.value


def pipedrive_event(
    *,
    action: str = "change",
    meta: dict[str, object] | None = None,
    data: dict[str, object] | None = None,
    previous: dict[str, object] | None = None,
    without_data: bool = False,
) -> bytes:
    deal = {
        "id": 746,
        "title": "Acme",
        "value": 60000,
        "currency": "EUR",
        "status": "won",
        "stage_id": 5,
        "pipeline_id": 1,
        "owner_id": 12345678,
        "org_id": 2,
        "probability": None,
        "expected_close_date": "2026-03-31",
        "won_time": "2026-03-31T18:40:02Z",
        "lost_time": None,
        "add_time": "2026-01-05T09:12:44Z",
        "update_time": "2026-03-31T18:40:02Z",
        "custom_fields": {},
    } | (data or {})
    head = {
        "action": action,
        "entity": "deal",
        "entity_id": "746",
        "company_id": "12345678",
        "id": "5a1c0c3e",
        "attempt": 1,
        "timestamp": "2026-03-31T18:40:02.754Z",
        "version": "2.0",
    } | (meta or {})
    return json.dumps({"meta": head, "data": None if without_data else deal, "previous": previous}).encode()


def pipedrive_deal(body: bytes, mapping: SourceMapping = NO_MAPPING) -> CanonicalDeal:
    (deal,) = PIPEDRIVE.translate(body, mapping)
    return deal


def test_the_published_standard_webhooks_vector_is_accepted() -> None:
    assert verify_vector(signed_headers()) is None


def test_a_body_changed_by_one_byte_is_refused() -> None:
    assert verify_vector(signed_headers(), body=VECTOR_BODY + b" ") is Rejection.SIGNATURE


def test_a_signature_of_another_secret_is_refused() -> None:
    other = STANDARD.new_secret(bytes(32))
    assert verify_vector(signed_headers(), secrets=(other,)) is Rejection.SIGNATURE


def test_while_rotating_either_of_two_secrets_will_do() -> None:
    assert verify_vector(signed_headers(), secrets=(STANDARD.new_secret(bytes(32)), VECTOR_SECRET)) is None


def test_one_good_signature_among_several_will_do() -> None:
    assert verify_vector(signed_headers(b"v1,AAAA v2,xx " + VECTOR_SIGNATURE)) is None


@pytest.mark.parametrize(
    ("late_by", "expected"), [(300, None), (301, Rejection.TIMESTAMP), (-301, Rejection.TIMESTAMP)]
)
def test_a_delivery_is_accepted_within_five_minutes_either_way(late_by: int, expected: Rejection | None) -> None:
    assert verify_vector(signed_headers(), now_seconds=VECTOR_SECONDS + late_by) is expected


@pytest.mark.parametrize("missing", [b"webhook-id", b"webhook-timestamp", b"webhook-signature"])
def test_a_delivery_without_one_of_the_headers_is_refused(missing: bytes) -> None:
    headers = signed_headers()
    del headers[missing]
    assert verify_vector(headers) is Rejection.HEADERS


def test_a_timestamp_that_is_no_number_is_refused() -> None:
    assert verify_vector(signed_headers() | {b"webhook-timestamp": b"now"}) is Rejection.TIMESTAMP


def test_an_ed25519_signature_is_accepted_with_the_public_key_and_only_as_v1a() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = "whpk_" + b64encode(key.public_key().public_bytes_raw()).decode()
    STANDARD.check_secret(public)
    content = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + VECTOR_BODY
    signature = b64encode(key.sign(content))
    assert verify_vector(signed_headers(b"v1a," + signature), secrets=(public,)) is None
    assert verify_vector(signed_headers(b"v1," + signature), secrets=(public,)) is Rejection.SIGNATURE
    assert verify_vector(signed_headers(b"v1a,!!"), secrets=(public,)) is Rejection.SIGNATURE


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "plain", "whpk_AAAA", "whsec_not base64!"])
def test_a_secret_the_source_could_not_work_with_is_refused(secret: str) -> None:
    with pytest.raises(InvalidSecret):
        STANDARD.check_secret(secret)


def test_new_secrets_are_ones_the_source_works_with() -> None:
    STANDARD.check_secret(STANDARD.new_secret(bytes(range(32))))
    PIPEDRIVE.check_secret(PIPEDRIVE.new_secret(bytes(range(32))))


def test_a_canonical_deal_is_taken_as_it_is() -> None:
    deal = translated(canonical(closed_on="2026-03-31", custom={"competitor": "Initech"}, sequence=7))
    assert deal.kind is DealKind.UPSERTED
    assert deal.status is DealStatus.WON
    assert deal.amount == Decimal("1200.50")
    assert deal.closed_on == date(2026, 3, 31)
    assert deal.custom == {"competitor": "Initech"}
    assert deal.sequence == 7


def test_an_amount_that_is_a_json_number_keeps_its_cents() -> None:
    body = canonical().replace(b'"1200.50"', b"0.1")
    assert translated(body).amount == Decimal("0.1")


@pytest.mark.parametrize("kind", list(DealKind))
def test_the_type_of_the_event_says_what_happened(kind: DealKind) -> None:
    body = json.loads(canonical(merged_into="A2"))
    body["type"] = f"deal.{kind.value}"
    assert translated(json.dumps(body).encode()).kind is kind


def test_a_batch_becomes_its_deals_in_order() -> None:
    deals = [{"external_id": f"A{n}", "modified_at": "2026-01-01T00:00:00Z", "status": "open"} for n in range(3)]
    body = json.dumps({"type": "deals.batch", "deals": deals}).encode()
    assert [deal.external_id for deal in STANDARD.translate(body, NO_MAPPING)] == ["A0", "A1", "A2"]


def test_a_batch_of_more_than_five_hundred_is_refused() -> None:
    deals = [{"external_id": str(n), "modified_at": "2026-01-01T00:00:00Z", "status": "open"} for n in range(501)]
    assert refusal(json.dumps({"type": "deals.batch", "deals": deals}).encode()).pointer == "/deals"


def test_one_bad_deal_in_a_batch_is_pointed_at() -> None:
    deals = [{"external_id": "A", "modified_at": "2026-01-01T00:00:00Z", "status": "open"}, {"external_id": "B"}]
    refused = refusal(json.dumps({"type": "deals.batch", "deals": deals}).encode())
    assert (refused.reason, refused.pointer) == (QuarantineReason.MISSING_FIELD, "/deals/1/modified_at")


@pytest.mark.parametrize(
    ("body", "reason", "pointer"),
    [
        (b"not json", QuarantineReason.NOT_JSON, ""),
        (b"[]", QuarantineReason.NOT_JSON, ""),
        (b'{"a": NaN}', QuarantineReason.NOT_JSON, ""),
        (b"\xff\xfe\xff", QuarantineReason.NOT_JSON, ""),
        (b"[" * 100_000, QuarantineReason.NOT_JSON, ""),
        (b'{"type": "deal.exploded"}', QuarantineReason.UNKNOWN_TYPE, "/type"),
        (b'{"type": "deal.upserted"}', QuarantineReason.MISSING_FIELD, "/data"),
        (canonical(amount="12x"), QuarantineReason.INVALID_FIELD, "/data/amount"),
        (canonical(amount="1e20"), QuarantineReason.INVALID_FIELD, "/data/amount"),
        (canonical(currency="usd"), QuarantineReason.INVALID_FIELD, "/data/currency"),
        (canonical(modified_at="2026-03-31T18:40:02"), QuarantineReason.INVALID_FIELD, "/data/modified_at"),
        (canonical(modified_at="0001-01-01T00:00:00Z"), QuarantineReason.INVALID_FIELD, "/data/modified_at"),
        (canonical(owner_external_id="x" * 3000), QuarantineReason.INVALID_FIELD, "/data/owner_external_id"),
        (canonical(name="a\x00b"), QuarantineReason.INVALID_FIELD, ""),
        (canonical(name="\ud800"), QuarantineReason.INVALID_FIELD, "/data/name"),
        (canonical(sequence=1 << 63), QuarantineReason.INVALID_FIELD, "/data/sequence"),
        (canonical(status=None, stage="Signed"), QuarantineReason.STAGE_UNMAPPED, "/data/stage"),
    ],
)
def test_what_cannot_be_translated_says_why_and_where(body: bytes, reason: QuarantineReason, pointer: str) -> None:
    refused = refusal(body)
    assert (refused.reason, refused.pointer) == (reason, pointer)


def test_a_text_that_only_spells_out_an_escaped_nul_is_fine() -> None:
    assert translated(canonical(name="a\\u0000b")).name == "a\\u0000b"


def test_a_mapped_stage_gives_the_status_and_overrules_the_source() -> None:
    mapping = SourceMapping(stages={"Signed": DealStatus.WON})
    assert translated(canonical(status=None, stage="Signed"), mapping).status is DealStatus.WON
    assert translated(canonical(status="open", stage="Signed"), mapping).status is DealStatus.WON
    assert translated(canonical(status="open", stage="Other"), mapping).status is DealStatus.OPEN


def test_fields_custom_fields_and_users_are_mapped() -> None:
    mapping = SourceMapping(
        fields={"region": "custom.cf_9", "account_id": "account.id"},
        custom_fields={"cf_9": "sales_region"},
        users={"ann": "ann@example.com"},
    )
    body = canonical(
        custom={"cf_9": "EMEA"}, account={"id": 17}, splits=[{"owner_external_id": "ann", "percent": "100"}]
    )
    deal = translated(body, mapping)
    assert deal.region == "EMEA"
    assert deal.account_id == "17"
    assert deal.custom == {"sales_region": "EMEA"}
    assert deal.owner_external_id == "ann@example.com"
    assert deal.splits[0].owner_external_id == "ann@example.com"


def test_pipedrive_is_recognised_by_its_user_and_password() -> None:
    secret = PIPEDRIVE.new_secret(bytes(32))
    good = {b"authorization": b"Basic " + b64encode(secret.encode())}
    assert PIPEDRIVE.verify(good, b"", ["other:password", secret], now_seconds=0) is None
    assert PIPEDRIVE.verify(good, b"", ["attain:other"], now_seconds=0) is Rejection.SIGNATURE
    assert PIPEDRIVE.verify({}, b"", [secret], now_seconds=0) is Rejection.HEADERS
    assert PIPEDRIVE.verify({b"authorization": b"Bearer x"}, b"", [secret], now_seconds=0) is Rejection.HEADERS
    assert PIPEDRIVE.verify({b"authorization": b"Basic !!"}, b"", [secret], now_seconds=0) is Rejection.HEADERS


def test_a_pipedrive_change_becomes_the_deal() -> None:
    deal = pipedrive_deal(pipedrive_event(previous={"status": "open", "stage_id": 4}))
    assert deal.external_id == "746"
    assert deal.kind is DealKind.UPSERTED
    assert deal.status is DealStatus.WON
    assert (deal.amount, deal.currency) == (Decimal(60000), "EUR")
    assert (deal.stage, deal.pipeline, deal.owner_external_id, deal.account_id) == ("5", "1", "12345678", "2")
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
    assert deal.closed_at == datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
    assert deal.expected_close_on == date(2026, 3, 31)


def test_pipedrive_changes_within_a_second_are_ordered_by_the_event() -> None:
    first = pipedrive_deal(pipedrive_event(meta={"timestamp": "2026-03-31T18:40:02.100Z"}))
    second = pipedrive_deal(pipedrive_event(meta={"timestamp": "2026-03-31T18:40:02.101Z"}))
    assert first.modified_at == second.modified_at
    assert first.sequence < second.sequence


def test_a_pipedrive_value_keeps_its_cents() -> None:
    body = pipedrive_event().replace(b'"value": 60000', b'"value": 60000.1')
    assert pipedrive_deal(body).amount == Decimal("60000.1")


@pytest.mark.parametrize("time", ["2026-03-31 18:40:02", 1774982402, "1774982402", "2026-03-31T20:40:02+02:00"])
def test_pipedrive_times_come_in_several_forms(time: str | int) -> None:
    deal = pipedrive_deal(pipedrive_event(data={"update_time": time}))
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)


def test_a_pipedrive_deletion_takes_the_last_state_and_comes_after_it() -> None:
    previous: dict[str, object] = {
        "id": 746,
        "value": 60000,
        "currency": "EUR",
        "status": "won",
        "owner_id": 1,
        "update_time": "2026-03-31T18:40:02Z",
    }
    deal = pipedrive_deal(pipedrive_event(action="delete", without_data=True, previous=previous))
    assert deal.kind is DealKind.DELETED
    assert deal.amount == Decimal(60000)
    assert deal.modified_at == datetime(2026, 3, 31, 18, 40, 2, 754000, tzinfo=UTC)


def test_a_pipedrive_merge_says_what_the_deal_became_part_of() -> None:
    deal = pipedrive_deal(
        pipedrive_event(action="delete", without_data=True, meta={"merged_to_id": 800}, previous={"id": 746})
    )
    assert deal.kind is DealKind.MERGED
    assert deal.merged_into == "800"


def test_a_pipedrive_deal_with_status_deleted_is_gone_and_can_come_back() -> None:
    assert pipedrive_deal(pipedrive_event(data={"status": "deleted"})).kind is DealKind.DELETED
    assert pipedrive_deal(pipedrive_event(previous={"status": "deleted"})).kind is DealKind.RESTORED


def test_pipedrive_custom_fields_come_as_texts_and_can_be_named() -> None:
    fields = {"9dc8": {"type": "enum", "id": 12}, "3b5e": "Initech", "77": {"value": 5, "currency": "EUR"}, "no": None}
    mapping = SourceMapping(fields={"channel": "custom_fields.3b5e"}, custom_fields={"3b5e": "competitor"})
    deal = pipedrive_deal(pipedrive_event(data={"custom_fields": fields}), mapping)
    assert deal.custom == {"9dc8": "12", "competitor": "Initech", "77": "5"}
    assert deal.channel == "Initech"


def test_what_pipedrive_says_of_other_things_is_no_deal() -> None:
    assert PIPEDRIVE.translate(pipedrive_event(meta={"entity": "person"}), NO_MAPPING) == ()


def test_every_attempt_of_a_pipedrive_delivery_has_one_key() -> None:
    again = pipedrive_event(meta={"attempt": 2})
    assert PIPEDRIVE.dedupe_key({}, pipedrive_event()) == PIPEDRIVE.dedupe_key({}, again)
    assert PIPEDRIVE.dedupe_key({}, b"{}") != PIPEDRIVE.dedupe_key({}, b"[]")


def connection(*secrets: SealedSecret) -> Connection:
    return Connection(
        tenant_id=UUID(int=1),
        id=UUID(int=2),
        source=Source.PIPEDRIVE,
        name="Pipedrive",
        identity_source="pipedrive-eu",
        status=ConnectionStatus.ACTIVE,
        secrets=secrets,
        mapping=NO_MAPPING,
        version=1,
        created_at=NOW,
        updated_at=NOW,
    )


FIRST, SECOND, THIRD = (SealedSecret(UUID(int=number), f"sealed {number}", NOW) for number in (11, 12, 13))


def test_the_event_carries_the_connections_identity_source_and_a_stable_id() -> None:
    deal = pipedrive_deal(pipedrive_event())
    event = event_of(deal, connection(FIRST), delivery_id=UUID(int=3), received_at=NOW)
    assert event.source == "pipedrive-eu"
    assert event.id == deal_id(UUID(int=2), "746")
    assert event.delivery_id == UUID(int=3)
    assert event.amount == Decimal(60000)


def test_after_a_rotation_the_old_secret_is_valid_until_the_overlap_ends() -> None:
    rotated = connection(FIRST).rotated(SECOND, overlap=timedelta(hours=1), now=NOW)
    assert rotated.version == 2
    assert [secret.is_valid(NOW + timedelta(minutes=59)) for secret in rotated.secrets] == [True, True]
    assert [secret.is_valid(NOW + timedelta(hours=1)) for secret in rotated.secrets] == [False, True]


def test_no_third_secret_while_two_are_valid() -> None:
    rotated = connection(FIRST).rotated(SECOND, overlap=timedelta(hours=1), now=NOW)
    with pytest.raises(RotationUnderWay):
        rotated.rotated(THIRD, overlap=timedelta(hours=1), now=NOW)
    later = rotated.rotated(THIRD, overlap=timedelta(hours=1), now=NOW + timedelta(hours=2))
    assert [secret.id for secret in later.secrets] == [SECOND.id, THIRD.id]


def test_a_secret_can_be_retired_but_not_the_last() -> None:
    rotated = connection(FIRST).rotated(SECOND, overlap=timedelta(hours=1), now=NOW)
    retired = rotated.with_retired(FIRST.id, now=NOW)
    assert [secret.id for secret in retired.secrets] == [SECOND.id]
    with pytest.raises(LastSecret):
        retired.with_retired(SECOND.id, now=NOW)
    with pytest.raises(SecretNotFound):
        retired.with_retired(FIRST.id, now=NOW)


def test_a_rotation_without_overlap_ends_the_old_secret_at_once() -> None:
    rotated = connection(FIRST).rotated(SECOND, overlap=timedelta(0), now=NOW)
    assert [secret.id for secret in rotated.secrets] == [SECOND.id]


def test_a_sealed_secret_is_opened_with_its_key_only() -> None:
    box = SecretsBox(Fernet.generate_key().decode())
    sealed = box.seal(VECTOR_SECRET)
    assert VECTOR_SECRET not in sealed
    assert box.open(sealed) == VECTOR_SECRET
    with pytest.raises(SecretsUnreadable):
        SecretsBox(Fernet.generate_key().decode()).open(sealed)
