"""The adapters against what nobody foresaw, and Standard Webhooks against its library."""

import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from services.tracking.crm.adapter import Request, Terms
from services.tracking.crm.canonical import CanonicalDeal
from services.tracking.crm.domain import SourceMapping, Untranslatable
from services.tracking.crm.standard_webhooks import StandardWebhooks
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
    ours = STANDARD.verify(given, Terms((SECRET,)), now_seconds=int(now.timestamp()))
    assert (ours is None) == library_accepts(encoded, headers)
    assert (ours is None) == (tampered == "nothing")


@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
@settings(max_examples=100)
def test_a_deal_with_anything_in_its_fields_is_storable_or_refused(changes: dict[str, object]) -> None:
    data = {"external_id": "A", "modified_at": "2026-01-01T00:00:00Z", "status": "open"} | changes
    body = json.dumps({"type": "deal.upserted", "data": data}).encode()
    try:
        (deal,) = STANDARD.translate(body, SourceMapping())
        assert isinstance(deal, CanonicalDeal)
    except Untranslatable as refused:
        # What is no JSON at all, such as an infinite number, is not at any place of the document.
        assert refused.pointer.startswith("/data") or "NUL" in refused.detail or "JSON" in refused.detail
    else:
        text = deal.model_dump_json()
        assert "\\u0000" not in text.replace("\\\\", "")
        assert text.encode()
