"""The adapters against what nobody foresaw, and Standard Webhooks against its library."""

import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from services.tracking.intake.sources.adapter import Request, SenderRules, read_document
from services.tracking.intake.sources.canonical import CanonicalDeal, TeamMember, canonical_deal
from services.tracking.intake.sources.domain import (
    InstalmentFields,
    ProductFields,
    SourceMapping,
    TeamShare,
    Untranslatable,
)
from services.tracking.intake.sources.standard_webhooks.adapter import StandardWebhooks
from shared.contracts.deals import Deal

STANDARD = StandardWebhooks()
SECRET = STANDARD.new_secret(bytes(range(32)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({*Deal.model_fields} - {"tenant_id", "id", "connection_id", "delivery_id", "received_at"})


def library_accepts(body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(SECRET).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


@given(
    body=st.text(max_size=200),
    webhook_id=st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True),
    tampered=st.sampled_from(["nothing", "body", "id", "signature", "age"]),
)
@settings(max_examples=100)
def test_the_standard_webhooks_library_and_ours_accept_the_same(body: str, webhook_id: str, tampered: str) -> None:
    now = datetime.now(UTC)
    seconds = int(now.timestamp()) - (1000 if tampered == "age" else 0)
    encoded = body.encode("utf-8", "replace")
    # The library takes the digits of a naive or UTC time as they are.
    signature = Webhook(SECRET).sign(webhook_id, datetime.fromtimestamp(seconds, UTC), encoded.decode())
    headers = {
        "webhook-id": webhook_id + ("x" if tampered == "id" else ""),
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature[:-5] + "AAAA=" if tampered == "signature" else signature,
    }
    if tampered == "body":
        encoded += b"."
    given = Request(
        "POST",
        "https://attain.example",
        "/hooks/1",
        "",
        {name.encode(): value.encode() for name, value in headers.items()},
        encoded,
    )
    ours = STANDARD.verify(given, SenderRules((SECRET,)), now_seconds=int(now.timestamp()))
    assert (ours is None) == library_accepts(encoded, headers)
    assert (ours is None) == (tampered == "nothing")


@given(number=st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,40})?", fullmatch=True))
@settings(max_examples=300)
def test_any_number_of_json_is_read_to_the_last_digit_or_refused(number: str) -> None:
    try:
        value = read_document(f'{{"x":{number}}}'.encode())["x"]
    except Untranslatable as refused:
        with pytest.raises(InvalidOperation):
            Decimal(number)
        assert "exponent" in refused.detail
    else:
        assert isinstance(value, int | Decimal)
        assert Decimal(value) == Decimal(number)


@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
@settings(max_examples=100)
def test_a_deal_with_anything_in_its_fields_is_storable_or_refused(changes: dict[str, object]) -> None:
    data = {"external_id": "A", "modified_at": "2026-01-01T00:00:00Z", "status": "open"} | changes
    body = json.dumps({"type": "deal.upserted", "data": data}).encode()
    try:
        deal, *remarks = STANDARD.translate(body, SourceMapping())
        assert isinstance(deal, CanonicalDeal)
        # Some members of events are not a sender's to tell: that they are not taken is told.
        assert remarks or changes.keys() <= CanonicalDeal.model_fields.keys()
    except Untranslatable as refused:
        # What is no JSON at all, such as an infinite number, is not at any place of the document.
        assert refused.pointer.startswith("/data") or "NUL" in refused.detail or "JSON" in refused.detail
    else:
        text = deal.model_dump_json()
        assert "\\u0000" not in text.replace("\\\\", "")
        assert text.encode()


PEOPLE = st.sampled_from(["ann", "ben", "cat", "dan"])
ROLES = st.sampled_from(["1", "2", "3", "4"])
PERCENTS = st.integers(0, 100).map(Decimal)


@given(
    owner=st.none() | PEOPLE,
    own=st.dictionaries(st.tuples(PEOPLE, st.sampled_from(["owner", "overlay"])), PERCENTS, max_size=3),
    team=st.lists(st.builds(TeamMember, PEOPLE, ROLES), max_size=6),
    roles=st.dictionaries(ROLES, st.builds(TeamShare, st.sampled_from(["owner", "overlay"]), PERCENTS), max_size=4),
)
@settings(max_examples=200)
def test_a_team_adds_shares_and_takes_none_away(
    owner: str | None,
    own: dict[tuple[str, str], Decimal],
    team: list[TeamMember],
    roles: dict[str, TeamShare],
) -> None:
    splits = [{"owner_external_id": user, "role": role, "percent": percent} for (user, role), percent in own.items()]
    fields = {
        "external_id": "A",
        "modified_at": datetime(2026, 1, 1, tzinfo=UTC),
        "status": "open",
        "owner_external_id": owner,
        "splits": splits,
    }
    deal = canonical_deal(fields, {}, SourceMapping(team_roles=roles), pointer="", team=team)
    shares = {(split.owner_external_id, split.role): split.percent for split in deal.splits}
    assert len(shares) == len(deal.splits)
    assert list(shares.items())[: len(own)] == list(own.items())
    expected: dict[tuple[str, str], Decimal] = {}
    for member in team:
        if (share := roles.get(member.role)) is not None:
            key = (member.owner_external_id, share.role)
            expected[key] = max(share.percent, expected.get(key, share.percent))
    if expected and not own and owner is not None and all(user != owner for user, _ in expected):
        expected[owner, "owner"] = Decimal(100)
    assert shares == expected | own


@given(rows=JSON | st.lists(JSON | st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON), max_size=4))
@settings(max_examples=200)
def test_whatever_stands_where_lines_are_looked_for_is_storable_or_refused(rows: object) -> None:
    raw = json.loads(json.dumps({"Sold": rows}), parse_float=Decimal)
    fields = {"external_id": "A", "modified_at": datetime(2026, 1, 1, tzinfo=UTC), "status": "open"}
    mapping = SourceMapping(products=ProductFields("Sold", "a", "b", "c.d"))
    try:
        deal = canonical_deal(fields, raw, mapping, pointer="/data")
    except Untranslatable as refused:
        assert refused.pointer.startswith("/data/products")
    else:
        assert deal.model_dump_json().encode()
        assert len(deal.products) <= (len(rows) if isinstance(rows, list) else 0)


@given(rows=JSON | st.lists(JSON | st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON), max_size=4))
@settings(max_examples=200)
def test_whatever_stands_where_invoices_are_looked_for_is_storable_or_refused(rows: object) -> None:
    raw = json.loads(json.dumps({"Billing": rows}), parse_float=Decimal)
    fields = {"external_id": "A", "modified_at": datetime(2026, 1, 1, tzinfo=UTC), "status": "open"}
    mapping = SourceMapping(invoices=InstalmentFields("a", "b", "Billing"), payments=InstalmentFields("Billing", "c"))
    try:
        deal = canonical_deal(fields, raw, mapping, pointer="/data")
    except Untranslatable as refused:
        assert refused.pointer.startswith(("/data/invoices", "/data/payments", "/data/Billing"))
    else:
        assert deal.model_dump_json().encode()
        assert len(deal.invoices) <= (len(rows) if isinstance(rows, list) else 0)
