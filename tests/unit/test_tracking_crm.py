"""Standard Webhooks, and what connections are: who sent it, is it the same again, what does it say."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from services.tracking.intake.connections.domain import Connection, LastSecret, RotationUnderWay, SecretNotFound
from services.tracking.intake.inbox.events import event_of
from services.tracking.intake.sources.adapter import Request, SenderRules, read_json
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal, TeamMember, canonical_deal
from services.tracking.intake.sources.domain import (
    InstalmentFields,
    InvalidSecret,
    ProductFields,
    QuarantineReason,
    Rejection,
    Remark,
    Source,
    SourceMapping,
    TeamShare,
    Untranslatable,
)
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.source_api import Answer, Call
from services.tracking.intake.sources.standard_webhooks.adapter import StandardWebhooks
from services.tracking.intake.sources.unknown_members import UNKNOWN_MEMBERS_MAX
from shared.contracts.envelope import to_message
from shared.db.sealing import SecretsBox, SecretsUnreadable
from shared.kafka.producer import size_bytes
from shared.kafka.topics import MESSAGE_BYTES_MAX
from shared.kernel.activities import ActivityStatus
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.ids import deal_id
from shared.kernel.rotation import SealedSecret
from tests.played.connections import connection_of
from tests.played.crms import PlainDeal
from tests.played.standard_webhooks import PlayedStandardWebhooks

NOW = datetime(2026, 3, 31, 18, 40, 3, tzinfo=UTC)
STANDARD = StandardWebhooks()
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


def request(headers: dict[bytes, bytes], body: bytes) -> Request:
    return Request("POST", "https://attain.example", "/hooks/1", "", headers, body)


def verify_vector(
    headers: dict[bytes, bytes],
    *,
    secrets: tuple[str, ...] = (VECTOR_SECRET,),
    now_seconds: int = VECTOR_SECONDS,
    body: bytes = VECTOR_BODY,
) -> Rejection | None:
    return STANDARD.verify(request(headers, body), SenderRules(secrets), now_seconds=now_seconds)


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
    assert isinstance(deal, CanonicalDeal)
    return deal


def refusal(body: bytes, mapping: SourceMapping = NO_MAPPING) -> Untranslatable:
    with pytest.raises(Untranslatable) as refused:
        STANDARD.translate(body, mapping)
    return refused.value


def test_the_published_standard_webhooks_vector_is_accepted() -> None:
    assert verify_vector(signed_headers()) is None


def under_other_names(headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name.replace(b"webhook-", b"svix-"): value for name, value in headers.items()}


def test_the_names_of_the_schemes_commonest_sender_are_taken_too() -> None:
    headers = under_other_names(signed_headers())
    assert verify_vector(headers) is None
    assert STANDARD.dedupe_key(request(headers, VECTOR_BODY)) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert verify_vector(headers, body=VECTOR_BODY + b" ") is Rejection.SIGNATURE
    assert verify_vector(headers, now_seconds=VECTOR_SECONDS + 301) is Rejection.TIMESTAMP


def test_letters_that_wander_from_the_id_to_the_body_under_the_same_signature_are_never_a_deal() -> None:
    now, body = VECTOR_SECONDS, canonical().decode()
    webhook_id, earlier = f"msg.{now - 60}", str(now - 60).encode()
    signature = Webhook(VECTOR_SECRET).sign(webhook_id, datetime.fromtimestamp(now, UTC), body).encode()
    sent = {
        b"webhook-id": webhook_id.encode(),
        b"webhook-timestamp": str(now).encode(),
        b"webhook-signature": signature,
    }
    assert verify_vector(sent, body=body.encode()) is None
    moved = {**sent, b"webhook-id": b"msg", b"webhook-timestamp": earlier}
    longer = f"{now}.{body}".encode()
    assert verify_vector(moved, body=longer) is None
    assert refusal(longer).reason is QuarantineReason.NOT_JSON


def test_headers_of_either_names_are_never_taken_together() -> None:
    both = signed_headers() | {b"svix-id": b"other", b"svix-signature": b"v1,AAAA", b"svix-timestamp": b"1"}
    assert verify_vector(both) is None
    assert STANDARD.dedupe_key(request(both, VECTOR_BODY)) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    mixed = signed_headers() | under_other_names(signed_headers())
    del mixed[b"webhook-id"]
    assert verify_vector(mixed) is Rejection.HEADERS


def remarks(body: bytes, mapping: SourceMapping = NO_MAPPING) -> list[tuple[str, str]]:
    said = STANDARD.translate(body, mapping)
    assert isinstance(said[0], CanonicalDeal | CanonicalActivity)
    return [(each.pointer, each.detail) for each in said if isinstance(each, Remark)]


def test_misspelt_members_of_a_deal_are_told_with_near_names_and_the_deal_is_taken_still() -> None:
    assert remarks(canonical(owner="ann", close_date="2026-03-31", zzz=1)) == [
        ("/data/owner", "is not read: no such member; did you mean owner_external_id?"),
        ("/data/close_date", "is not read: no such member; did you mean closed_at or closed_on?"),
        ("/data/zzz", "is not read: no such member"),
    ]


def test_misspelt_members_of_parts_of_batches_and_of_activities_are_told() -> None:
    parts = canonical(
        splits=[{"owner_external_id": "a", "percent": 50, "share": 1}],
        payments=[{"paid_on": "2026-01-01", "amount": "1", "day": 5}],
        invoices=[{"invoiced_on": "2026-01-01", "amount": "1", "number": "R-1"}],
    )
    assert [pointer for pointer, _ in remarks(parts)] == [
        "/data/splits/0/share",
        "/data/payments/0/day",
        "/data/invoices/0/number",
    ]
    deal = json.loads(canonical())["data"]
    batch = json.dumps({"type": "deals.batch", "deals": [deal, deal | {"owner": "x"}]}).encode()
    assert [pointer for pointer, _ in remarks(batch)] == ["/deals/1/owner"]
    call = {"external_id": "1", "modified_at": "2026-01-01T00:00:00Z", "type": "call", "a/b": 1}
    assert [pointer for pointer, _ in remarks(json.dumps({"type": "activity.upserted", "data": call}).encode())] == [
        "/data/a~1b"
    ]


def test_members_that_the_mapping_reads_are_not_unknown() -> None:
    mapping = SourceMapping(fields={"region": "area.name"}, products=ProductFields("lines", "code"))
    assert remarks(canonical(area={"name": "EU"}, lines=[]), mapping) == []
    mapping = SourceMapping(payments=InstalmentFields("day", "sum", "paid"), invoices=InstalmentFields("billing.on"))
    assert remarks(canonical(billing={"on": "2026-01-01"}, paid=[]), mapping) == []


def test_the_invoices_of_a_deal_are_taken_and_a_credit_note_is_a_negative_one() -> None:
    invoices = [
        {"invoiced_on": "2026-04-01", "amount": "200.1234567", "invoiced_at": "2026-03-31T18:00:00Z"},
        {"invoiced_on": "2026-04-02", "amount": "-1"},
    ]
    deal = translated(canonical(invoices=invoices))
    assert [(invoice.invoiced_on, invoice.invoiced_at, invoice.amount) for invoice in deal.invoices] == [
        (date(2026, 4, 1), datetime(2026, 3, 31, 18, tzinfo=UTC), Decimal("200.123457")),
        (date(2026, 4, 2), None, Decimal(-1)),
    ]
    assert [each.field for each in deal.corrections] == ["/invoices/0/amount"]
    with pytest.raises(Untranslatable) as refused:
        translated(canonical(invoices=[{"amount": "1"}]))
    assert (refused.value.reason, refused.value.pointer) == (
        QuarantineReason.MISSING_FIELD,
        "/data/invoices/0/invoiced_on",
    )


def test_payments_and_invoices_are_read_from_where_the_mapping_says() -> None:
    in_lines = SourceMapping(
        invoices=InstalmentFields("Date", "Sums.total", "Billing.rows"),
        payments=InstalmentFields("Paid_At", "Paid"),
    )
    rows = [
        {"Date": "2026-04-01", "Sums": {"total": 400}},
        {"Date": "2026-05-01T23:30:00-04:00", "Sums": {"total": "-50.5"}},
        {"Date": 1_775_001_600_000, "Sums": {"total": "1"}},
        {"Date": None, "Sums": {"total": "600"}},
        {"Date": "2026-06-01", "Sums": {}},
        "odd",
    ]
    deal = translated(canonical(Billing={"rows": rows}, Paid_At="2026-04-09", Paid="7"), in_lines)
    assert [(each.invoiced_on, each.invoiced_at, each.amount) for each in deal.invoices] == [
        (date(2026, 4, 1), None, Decimal(400)),
        (date(2026, 5, 1), datetime(2026, 5, 2, 3, 30, tzinfo=UTC), Decimal("-50.5")),
        (date(2026, 4, 1), datetime(2026, 4, 1, tzinfo=UTC), Decimal(1)),
    ]
    assert [(each.paid_on, each.amount) for each in deal.payments] == [(date(2026, 4, 9), Decimal(7))]
    # What the mapping finds goes before the source's own, which stays where there is no such list.
    own = [{"invoiced_on": "2026-01-01", "amount": "5"}]
    assert [each.amount for each in translated(canonical(invoices=own, Billing={"rows": []}), in_lines).invoices] == []
    assert [each.amount for each in translated(canonical(invoices=own), in_lines).invoices] == [5]


def test_a_deal_with_a_day_of_invoice_alone_is_invoiced_as_a_whole() -> None:
    mapping = SourceMapping(invoices=InstalmentFields("Invoice_Date__c"))
    deal = translated(canonical(amount="60000", Invoice_Date__c="2026-07-01"), mapping)
    assert [(each.invoiced_on, each.amount) for each in deal.invoices] == [(date(2026, 7, 1), Decimal(60000))]
    assert translated(canonical(amount="60000", Invoice_Date__c=""), mapping).invoices == ()
    assert translated(canonical(amount=None, Invoice_Date__c="2026-07-01"), mapping).invoices == ()
    with pytest.raises(Untranslatable) as refused:
        translated(canonical(amount="1", Invoice_Date__c="soon"), mapping)
    assert (refused.value.reason, refused.value.pointer) == (QuarantineReason.INVALID_FIELD, "/data/Invoice_Date__c")


def test_no_more_unknown_members_are_told_than_somebody_reads() -> None:
    assert len(remarks(canonical(**{f"x{number}": 1 for number in range(300)}))) == UNKNOWN_MEMBERS_MAX


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
    deals_of_it = [each for each in STANDARD.translate(body, NO_MAPPING) if isinstance(each, CanonicalDeal)]
    assert [deal.external_id for deal in deals_of_it] == ["A0", "A1", "A2"]


def test_a_batch_of_more_than_five_hundred_is_refused() -> None:
    deals = [{"external_id": str(n), "modified_at": "2026-01-01T00:00:00Z", "status": "open"} for n in range(501)]
    assert refusal(json.dumps({"type": "deals.batch", "deals": deals}).encode()).pointer == "/deals"


def test_one_bad_deal_in_a_batch_is_pointed_at_and_its_neighbours_are_translated() -> None:
    good = {"modified_at": "2026-01-01T00:00:00Z", "status": "open"}
    deals = [{**good, "external_id": "A"}, {"external_id": "B"}, "C", {**good, "external_id": "D"}]
    one, refused, other, last = STANDARD.translate(
        json.dumps({"type": "deals.batch", "deals": deals}).encode(), NO_MAPPING
    )
    assert isinstance(one, CanonicalDeal)
    assert isinstance(last, CanonicalDeal)
    assert (one.external_id, last.external_id) == ("A", "D")
    assert isinstance(refused, Untranslatable)
    assert isinstance(other, Untranslatable)
    assert (refused.reason, refused.pointer) == (QuarantineReason.MISSING_FIELD, "/deals/1/modified_at")
    assert (other.reason, other.pointer) == (QuarantineReason.INVALID_FIELD, "/deals/2")


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


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (b'{"x": 2e' + b"4" * 40 + b"}", QuarantineReason.INVALID_FIELD, "a number has too large an exponent"),
        (b'{"x": -1e-' + b"4" * 40 + b"}", QuarantineReason.INVALID_FIELD, "a number has too large an exponent"),
        (b'{"x": ' + b"9" * 5000 + b"}", QuarantineReason.NOT_JSON, "digits"),
        (b'{"x": ' + b"[" * 64 + b"]" * 64 + b"}", QuarantineReason.INVALID_FIELD, "nested deeper than 64 levels"),
        (b'{"x": ' * 500 + b'"\\u0000"' + b"}" * 500, QuarantineReason.INVALID_FIELD, "nested deeper than 64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, QuarantineReason.NOT_JSON, "recursion"),
        (b'{"x": [["\\u0000"]]}', QuarantineReason.INVALID_FIELD, "the NUL character"),
        ('{"x": "\\u0000"}'.encode("utf-16"), QuarantineReason.NOT_JSON, "utf-8"),
        (b'{"x": "\xed\xa0\x80"}', QuarantineReason.NOT_JSON, "utf-8"),
        (b'{"x": NaN}', QuarantineReason.NOT_JSON, "NaN is not a JSON number"),
    ],
)
def test_a_document_that_could_not_be_kept_or_walked_is_refused_however_it_is_reached(
    body: bytes, reason: QuarantineReason, detail: str
) -> None:
    with pytest.raises(Untranslatable, match=detail) as refused:
        read_json(body)
    assert refused.value.reason is reason
    for adapter in ADAPTERS.values():
        asked = request({b"webhook-id": b"msg_1"}, body)
        assert adapter.dedupe_key(asked)
        with pytest.raises(Untranslatable):
            adapter.translate(body, NO_MAPPING)
        if adapter.api is not None:
            adapter.api.judge(Call("GET", "https://crm.example/x"), Answer(500, {}, body))


def test_a_document_of_as_many_levels_as_may_be_is_read_as_also_after_a_byte_order_mark() -> None:
    body = b'{"x": ' + b"[" * 63 + b"]" * 63 + b"}"
    assert read_json(body) == read_json(b"\xef\xbb\xbf" + body) == json.loads(body)


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


def team_deal(
    mapping: SourceMapping,
    *,
    team: Sequence[TeamMember] = (),
    owner_teams: Sequence[str | None] = (),
    **fields: object,
) -> CanonicalDeal:
    base = {"external_id": "A1", "modified_at": NOW, "status": "won", "owner_external_id": "ann"}
    return canonical_deal({**base, **fields}, {}, mapping, pointer="", team=team, owner_teams=owner_teams)


def shares(deal: CanonicalDeal) -> list[tuple[str, str, Decimal]]:
    return [(split.owner_external_id, split.role, split.percent) for split in deal.splits]


TEAM_OF_TWO = [TeamMember("eve", "4"), TeamMember("ben", "4"), TeamMember("cat", "2"), TeamMember("eve", "4")]


def test_members_of_a_deals_team_have_the_share_of_their_role_beside_the_whole_of_the_owner() -> None:
    mapping = SourceMapping(users={"eve": "e.v."}, team_roles={"4": TeamShare("overlay", Decimal(50))})
    assert shares(team_deal(mapping, team=TEAM_OF_TWO)) == [
        ("ann", "owner", Decimal(100)),
        ("e.v.", "overlay", Decimal(50)),
        ("ben", "overlay", Decimal(50)),
    ]
    assert shares(team_deal(SourceMapping(), team=TEAM_OF_TWO)) == []
    assert shares(team_deal(mapping, team=[TeamMember("cat", "2")])) == []


def test_an_owner_of_whom_the_team_tells_has_that_share_and_splits_of_the_deal_come_first() -> None:
    mapping = SourceMapping(
        team_roles={"1": TeamShare("owner", Decimal(70)), "4": TeamShare("overlay", Decimal(30))},
    )
    team = [TeamMember("ann", "1"), TeamMember("ben", "4")]
    assert shares(team_deal(mapping, team=team)) == [("ann", "owner", Decimal(70)), ("ben", "overlay", Decimal(30))]
    own = [{"owner_external_id": "dan", "percent": 100}]
    assert shares(team_deal(mapping, team=team[1:], splits=own)) == [
        ("dan", "owner", Decimal(100)),
        ("ben", "overlay", Decimal(30)),
    ]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"modified_at": None, "updatedAt": "2026-04-01T08:00:00+02:00"}, "2026-04-01T06:00:00+00:00"),
        ({"modified_at": None, "updatedAt": "2026-04-01 06:00:00"}, "2026-04-01T06:00:00+00:00"),
        ({"modified_at": None, "updatedAt": 1775023200000}, "2026-04-01T06:00:00+00:00"),
        ({"modified_at": "2026-03-31T18:40:02Z", "updatedAt": "2026-04-01T06:00:00Z"}, "2026-04-01T06:00:00+00:00"),
        ({"modified_at": "2026-04-02T00:00:00Z", "updatedAt": "2026-04-01T06:00:00Z"}, "2026-04-02T00:00:00+00:00"),
        ({"modified_at": "2026-03-31T18:40:02Z"}, "2026-03-31T18:40:02+00:00"),
    ],
)
def test_a_source_that_calls_the_time_of_a_change_otherwise_is_mapped_and_the_later_time_counts(
    told: dict[str, object], seconds: str
) -> None:
    mapping = SourceMapping(fields={"modified_at": "updatedAt"})
    assert translated(canonical(**told), mapping).modified_at == datetime.fromisoformat(seconds)


def test_a_mapped_time_of_change_that_is_none_is_pointed_at() -> None:
    mapping = SourceMapping(fields={"modified_at": "meta.at"})
    refused = refusal(canonical(modified_at=None, meta={"at": "yesterday"}), mapping)
    assert (refused.reason, refused.pointer) == (QuarantineReason.INVALID_FIELD, "/data/meta/at")
    assert refusal(canonical(modified_at=None), mapping).pointer == "/data/modified_at"


def test_what_only_a_team_owns_is_owned_by_whom_the_mapping_names() -> None:
    mapping = SourceMapping(teams={"1000": "lead"})
    assert team_deal(mapping, owner_external_id=None, owner_teams=["7", None, "1000"]).owner_external_id == "lead"
    assert team_deal(mapping, owner_teams=["1000"]).owner_external_id == "ann"
    assert team_deal(mapping, owner_external_id=None, owner_teams=[None, "7", "8"]).owner_external_id == "team:7"
    assert team_deal(mapping, owner_external_id=None, owner_teams=[None]).owner_external_id is None


def test_of_several_roles_that_are_one_of_ours_a_member_has_the_greatest_share() -> None:
    roles = {"4": TeamShare("overlay", Decimal(20)), "5": TeamShare("overlay", Decimal(30))}
    for team in ([TeamMember("ben", "4"), TeamMember("ben", "5")], [TeamMember("ben", "5"), TeamMember("ben", "4")]):
        deal = team_deal(SourceMapping(team_roles=roles), team=team)
        assert shares(deal) == [("ann", "owner", Decimal(100)), ("ben", "overlay", Decimal(30))]


@pytest.mark.parametrize("value", [7, "4", ["4"], [{"owner_external_id": "x", "role": "4"}], None])
def test_a_senders_own_field_of_the_name_of_a_team_means_nothing(value: object) -> None:
    mapping = SourceMapping(teams={"4": "lead"}, team_roles={"4": TeamShare("overlay", Decimal(50))})
    deal = next(iter(STANDARD.translate(canonical(team=value, owner_teams=value), mapping)))
    assert isinstance(deal, CanonicalDeal)
    assert (deal.owner_external_id, deal.splits) == ("ann", ())


def test_a_share_that_the_deals_own_splits_give_is_not_given_once_more_by_its_team() -> None:
    splits = [
        {"owner_external_id": "ben", "role": "overlay", "percent": "30"},
        {"owner_external_id": "ann", "percent": "70"},
    ]
    team = [TeamMember("ben", "4"), TeamMember("ann", "1"), TeamMember("eve", "4")]
    roles = {"4": TeamShare("overlay", Decimal(20)), "1": TeamShare("owner", Decimal(50))}
    deal = team_deal(SourceMapping(team_roles=roles), team=team, splits=splits)
    assert [(split.owner_external_id, split.role, split.percent) for split in deal.splits] == [
        ("ben", "overlay", Decimal(30)),
        ("ann", "owner", Decimal(70)),
        ("eve", "overlay", Decimal(20)),
    ]


def test_money_and_the_amount_in_the_home_currency_are_taken() -> None:
    payments = [{"paid_on": "2026-04-01", "amount": "200.50"}, {"paid_on": "2026-04-02", "amount": "-1"}]
    deal = translated(canonical(payments=payments, home_amount="1100", home_currency="EUR"))
    assert [(payment.paid_on, payment.amount) for payment in deal.payments] == [
        (date(2026, 4, 1), Decimal("200.50")),
        (date(2026, 4, 2), Decimal(-1)),
    ]
    assert (deal.home_amount, deal.home_currency) == (Decimal(1100), "EUR")


def activity_event(what: str, **changes: object) -> bytes:
    data: dict[str, object] = {
        "external_id": "8801",
        "modified_at": "2026-03-31T18:40:02Z",
        "type": "call",
        "owner_external_id": "ann",
        "custom": {"cf_1": "x"},
    }
    return json.dumps({"type": f"activity.{what}", "data": data | changes}).encode()


@pytest.mark.parametrize(("what", "is_deleted"), [("upserted", False), ("deleted", True)])
def test_an_activity_is_taken_as_it_is(what: str, is_deleted: bool) -> None:
    mapping = SourceMapping(users={"ann": "ann@example.com"}, custom_fields={"cf_1": "topic"})
    (activity,) = STANDARD.translate(activity_event(what, is_deleted=not is_deleted), mapping)
    assert isinstance(activity, CanonicalActivity)
    assert (activity.external_id, activity.is_deleted, activity.status) == ("8801", is_deleted, ActivityStatus.DONE)
    assert (activity.owner_external_id, activity.custom) == ("ann@example.com", {"topic": "x"})


@pytest.mark.parametrize("name", ["external_id", "modified_at", "type"])
def test_an_activity_without_what_it_needs_is_pointed_at(name: str) -> None:
    body = json.loads(activity_event("upserted"))
    del body["data"][name]
    refused = refusal(json.dumps(body).encode())
    assert (refused.reason, refused.pointer) == (QuarantineReason.MISSING_FIELD, f"/data/{name}")


def test_a_played_sender_is_recognised_and_says_the_deal() -> None:
    crm = PlayedStandardWebhooks(secret=VECTOR_SECRET)
    plain = PlainDeal("7", "Acme", Decimal("1200.5"), "EUR", "won", "9", NOW, NOW, closed_on=date(2026, 3, 31))
    crm.put(plain)
    crm.delete("7", NOW + timedelta(hours=1))
    first, second = crm.drained()
    for webhook in (first, second):
        headers = {name.encode(): value.encode() for name, value in webhook.headers.items()}
        seconds = int(webhook.headers["webhook-timestamp"])
        assert verify_vector(headers, now_seconds=seconds, body=webhook.body) is None
    deal = translated(first.body)
    assert (deal.amount, deal.status, deal.closed_on) == (Decimal("1200.5"), DealStatus.WON, date(2026, 3, 31))
    assert translated(second.body).kind is DealKind.DELETED


def connection(*secrets: SealedSecret) -> Connection:
    return replace(connection_of(Source.PIPEDRIVE, secrets=secrets), identity_source="pipedrive-eu")


FIRST, SECOND, THIRD = (SealedSecret(UUID(int=number), f"sealed {number}", NOW) for number in (11, 12, 13))


def test_the_largest_deal_there_may_be_fits_into_a_message() -> None:
    identifier, label, text = "\x01" * 200, "\x01" * 500, "\x01" * 2000
    share = {"owner_external_id": identifier, "role": identifier, "percent": "33.333333"}
    labels = ("name", "stage", "pipeline", "type", "channel", "region", "account_name")
    deal = CanonicalDeal.model_validate(
        {
            **dict.fromkeys(labels, label),
            **dict.fromkeys(("external_id", "owner_external_id", "account_id"), identifier),
            "modified_at": "2026-01-01T00:00:00Z",
            "splits": [share] * 200,
            "products": [{"sku": identifier, "quantity": "1.000001", "amount": "999999999999.999999"}] * 1000,
            "payments": [{"paid_on": "2026-01-01", "amount": "999999999999.999999"}] * 200,
            "custom": {f"{number:03}{label[3:]}": text for number in range(200)},
        }
    )
    event = event_of(deal, connection(), delivery_id=UUID(int=2), received_at=NOW)
    message = to_message(event, event_id=UUID(int=1), source="tracking", time=NOW)
    assert 4_500_000 < size_bytes(message) < MESSAGE_BYTES_MAX


def test_more_of_what_is_sold_than_a_deal_may_hold_is_refused_with_the_limit() -> None:
    lines = [{"sku": "A", "quantity": "1"}] * 1001
    data = {"external_id": "A", "modified_at": "2026-01-01T00:00:00Z", "status": "open", "products": lines}
    with pytest.raises(Untranslatable, match="1000") as refused:
        STANDARD.translate(json.dumps({"type": "deal.upserted", "data": data}).encode(), NO_MAPPING)
    assert (refused.value.reason, refused.value.pointer) == (QuarantineReason.INVALID_FIELD, "/data/products")
    data["products"] = lines[:1000]
    (deal,) = STANDARD.translate(json.dumps({"type": "deal.upserted", "data": data}).encode(), NO_MAPPING)
    assert isinstance(deal, CanonicalDeal)
    assert len(deal.products) == 1000


def test_the_event_carries_the_connections_identity_source_and_a_stable_id() -> None:
    deal = translated(canonical())
    event = event_of(deal, connection(FIRST), delivery_id=UUID(int=3), received_at=NOW)
    assert event.source == "pipedrive-eu"
    assert event.id == deal_id(UUID(int=2), "A1")
    assert event.delivery_id == UUID(int=3)
    assert event.amount == Decimal("1200.50")


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


def test_taking_the_new_secret_back_undoes_a_rotation() -> None:
    rotated = connection(FIRST).rotated(SECOND, overlap=timedelta(hours=1), now=NOW)
    undone = rotated.with_retired(SECOND.id, now=NOW)
    assert [(secret.id, secret.expires_at) for secret in undone.secrets] == [(FIRST.id, None)]


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


@pytest.mark.parametrize(
    ("members", "pointer", "detail"),
    [
        (
            {"amount": "48.200,00 €"},
            "/data/amount",
            'is not accepted; accepted: a decimal in a string, such as "1200.50"',
        ),
        ({"closed_at": "soon"}, "/data/closed_at", "a time with its offset from UTC"),
        ({"status": "Won"}, "/data/status", "is not known; accepted: open, won or lost"),
        ({"splits": [{"percent": "50"}]}, "/data/splits/0/owner_external_id", "is not a string"),
        ({"kind": "merged"}, "/data", "sent with merged_into"),
    ],
)
def test_what_is_wrong_with_a_field_is_told_in_words_of_the_api(
    members: dict[str, object], pointer: str, detail: str
) -> None:
    fields = {"external_id": "A", "modified_at": "2026-01-01T00:00:00Z", "status": "open", **members}
    with pytest.raises(Untranslatable) as refused:
        canonical_deal(fields, fields, SourceMapping(), pointer="/data")
    assert refused.value.pointer == pointer
    assert detail in refused.value.detail
    assert not re.search(r"Value error|Input should|valid |<\w+\.", refused.value.detail)
