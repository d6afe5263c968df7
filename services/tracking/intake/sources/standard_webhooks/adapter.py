"""Standard Webhooks: any sender that can sign a canonical deal or activity.

Signed by https://www.standardwebhooks.com: `v1` is HMAC-SHA256 with a shared secret (`whsec_…`), `v1a` ed25519
with the sender's public key (`whpk_…`). The `standardwebhooks` package is the tests' oracle; it decodes the key anew
for every delivery and works on text, which the hot path cannot afford.
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from services.tracking.intake.sources.adapter import (
    Adapter,
    Headers,
    Request,
    SenderRules,
    Statement,
    digest,
    member,
    read_document,
    statements_of_each,
)
from services.tracking.intake.sources.canonical import (
    ACTIVITY_EXAMPLE,
    DEAL_EXAMPLE,
    CanonicalActivity,
    CanonicalDeal,
    canonical_activity,
    canonical_deal,
)
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.unknown_members import unknown_members, unknown_members_of_deal
from shared.kernel.deals import DealKind
from shared.kernel.errors import FieldError

BATCH_DEALS_MAX: Final = 500
_TOLERANCE_SECONDS: Final = 300
_SIGNATURES_MAX: Final = 10
_HEADER_NAMES: Final = (
    (b"webhook-id", b"webhook-timestamp", b"webhook-signature"),
    (b"svix-id", b"svix-timestamp", b"svix-signature"),
)
_SYMMETRIC_PREFIX: Final = "whsec_"
_PUBLIC_KEY_PREFIX: Final = "whpk_"
_SECRET_BYTES: Final = range(24, 65)
_KINDS: Final = {f"deal.{kind.value}": kind for kind in DealKind}
_BATCH: Final = "deals.batch"
_ACTIVITY_DELETED: Final = "activity.deleted"
_ACTIVITY_TYPES: Final = ("activity.upserted", _ACTIVITY_DELETED)


class DealEvent(BaseModel):
    """What happened to one deal, with its whole state afterwards."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "deal.upserted", "data": DEAL_EXAMPLE}]})

    type: Literal["deal.upserted", "deal.deleted", "deal.restored", "deal.merged"]
    data: CanonicalDeal


class DealBatch(BaseModel):
    """Several deals in one delivery, each translated by itself: what is wrong with one stops no other from counting."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "deals.batch", "deals": [DEAL_EXAMPLE]}]})

    type: Literal["deals.batch"]
    deals: Annotated[list[CanonicalDeal], Field(min_length=1, max_length=BATCH_DEALS_MAX)]


class ActivityEvent(BaseModel):
    """What happened to one activity, with its whole state afterwards."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "activity.upserted", "data": ACTIVITY_EXAMPLE}]})

    type: Literal["activity.upserted", "activity.deleted"]
    data: CanonicalActivity


class StandardWebhooks(Adapter):
    """The adapter."""

    source = Source.STANDARD_WEBHOOKS
    accepted_status = 202

    @override
    def new_secret(self, entropy: bytes) -> str:
        return _SYMMETRIC_PREFIX + b64encode(entropy).decode()

    @override
    def check_secret(self, value: str) -> None:
        try:
            _key(value)
        except ValueError:
            raise InvalidSecret(
                "The secret does not fit Standard Webhooks.",
                fields=[
                    FieldError(
                        "/secret",
                        "is not a Standard Webhooks secret",
                        "whsec_ and 24 to 64 bytes in Base64, or whpk_ and an ed25519 public key in Base64",
                    )
                ],
            ) from None

    @override
    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        webhook_id, timestamp, signatures = _signed_headers(request.headers)
        if not webhook_id or not timestamp or not signatures:
            return Rejection.HEADERS
        if not timestamp.isdigit() or abs(int(timestamp[:20]) - now_seconds) > _TOLERANCE_SECONDS:
            return Rejection.TIMESTAMP
        signed = b"%b.%b.%b" % (webhook_id, timestamp, request.body)
        given = signatures.split(b" ", _SIGNATURES_MAX)[:_SIGNATURES_MAX]
        for secret in rules.secrets:
            key = _key(secret)
            if isinstance(key, bytes):
                expected = b"v1," + b64encode(hmac.digest(key, signed, "sha256"))
                for signature in given:
                    if hmac.compare_digest(expected, signature):
                        return None
            elif any(_signed_with(key, signature, signed) for signature in given):
                return None
        return Rejection.SIGNATURE

    @override
    def dedupe_key(self, request: Request) -> str:
        webhook_id, _, _ = _signed_headers(request.headers)
        return f"body:{digest(request.body)}" if webhook_id is None else webhook_id.decode("latin-1")

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        document = read_document(body)
        kind = _KINDS.get(str(document.get("type")))
        if kind is not None:
            raw = member(document, "data")
            deal = canonical_deal({**raw, "kind": kind}, raw, mapping, pointer="/data")
            return (deal, *unknown_members_of_deal(raw, mapping, "/data"))
        if document.get("type") == _BATCH:
            return _batch(document, mapping)
        if document.get("type") in _ACTIVITY_TYPES:
            raw = member(document, "data")
            activity = {**raw, "is_deleted": document["type"] == _ACTIVITY_DELETED}
            statement = canonical_activity(activity, mapping, pointer="/data")
            return (statement, *unknown_members(raw, CanonicalActivity.model_fields, "/data"))
        known = ", ".join([*_KINDS, _BATCH, *_ACTIVITY_TYPES])
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, "/type", f"expected one of {known}")


def _batch(document: Mapping[str, object], mapping: SourceMapping) -> Sequence[Statement]:
    deals = document.get("deals")
    if not isinstance(deals, list) or not 1 <= len(deals) <= BATCH_DEALS_MAX:
        raise Untranslatable(
            QuarantineReason.INVALID_FIELD, "/deals", f"expected a list of 1 to {BATCH_DEALS_MAX} deals"
        )

    def statements(part: tuple[int, object]) -> Sequence[Statement]:
        index, raw = part
        pointer = f"/deals/{index}"
        if not isinstance(raw, dict):
            raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not an object")
        return (
            canonical_deal(raw, raw, mapping, pointer=pointer),
            *unknown_members_of_deal(raw, mapping, pointer),
        )

    return statements_of_each(enumerate(deals), statements)


def _signed_headers(headers: Headers) -> tuple[bytes | None, ...]:
    """The id, the time and the signatures: under the names of the scheme, else all under those of its first sender."""
    names = next((names for names in _HEADER_NAMES if names[-1] in headers), _HEADER_NAMES[0])
    return tuple(map(headers.get, names))


@lru_cache(maxsize=10_000)
def _key(secret: str) -> bytes | Ed25519PublicKey:
    """The key of a secret's text. Raises ValueError."""
    try:
        if secret.startswith(_PUBLIC_KEY_PREFIX):
            return Ed25519PublicKey.from_public_bytes(b64decode(secret[len(_PUBLIC_KEY_PREFIX) :], validate=True))
        key = b64decode(secret.removeprefix(_SYMMETRIC_PREFIX), validate=True)
    except Base64Error as error:
        raise ValueError("not Base64") from error
    if not secret.startswith(_SYMMETRIC_PREFIX) or len(key) not in _SECRET_BYTES:
        raise ValueError("not a Standard Webhooks secret")
    return key


def _signed_with(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    version, _, encoded = signature.partition(b",")
    if version != b"v1a":
        return False
    try:
        key.verify(b64decode(encoded, validate=True), signed)
    except (InvalidSignature, Base64Error):
        return False
    return True
