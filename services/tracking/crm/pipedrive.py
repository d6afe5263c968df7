"""Pipedrive webhooks, version 2: the whole deal, and what it was before, behind HTTP Basic authentication.

`update_time` has whole seconds, so changes within one are ordered by the time of the event, in milliseconds. A deletion
carries no deal: its last state is taken, dated when the event says.
"""

import hmac
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints
from typing_extensions import override

from services.tracking.crm.adapter import Adapter, Request, Terms, member, read_document
from services.tracking.crm.canonical import CanonicalDeal, canonical_deal, text_of
from services.tracking.crm.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.crm.source_api import ApiCredentials
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError

_ACTIONS: Final = ("create", "change", "delete")
_STATUSES: Final = frozenset(status.value for status in DealStatus)
_USER: Final = "attain"
_PASSWORD_CHARACTERS_MIN: Final = 16


class PipedriveCredentials(ApiCredentials):
    """The personal API token of a user who may see all deals."""

    source: Literal["pipedrive"] = "pipedrive"
    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = Field(
        description="The company's domain, as https://company.pipedrive.com."
    )
    api_token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)


class Pipedrive(Adapter):
    """The adapter. A secret is `user:password`, as the webhook's http_auth_user and http_auth_password."""

    source = Source.PIPEDRIVE

    @override
    def new_secret(self, entropy: bytes) -> str:
        return f"{_USER}:{urlsafe_b64encode(entropy).rstrip(b'=').decode()}"

    @override
    def check_secret(self, value: str) -> None:
        user, colon, password = value.partition(":")
        if not (user and colon and len(password) >= _PASSWORD_CHARACTERS_MIN and value.isascii()):
            raise InvalidSecret(
                "The secret does not fit Pipedrive.",
                fields=[
                    FieldError(
                        "/secret",
                        "is not a user and password",
                        f"user:password in ASCII, the password of {_PASSWORD_CHARACTERS_MIN} characters or more",
                    )
                ],
            )

    @override
    def verify(self, request: Request, terms: Terms, *, now_seconds: int) -> Rejection | None:
        scheme, _, encoded = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            return Rejection.HEADERS
        try:
            given = b64decode(encoded.strip(), validate=True)
        except Base64Error:
            return Rejection.HEADERS
        matches = [hmac.compare_digest(given, secret.encode()) for secret in terms.secrets]
        return None if any(matches) else Rejection.SIGNATURE

    @override
    def dedupe_key(self, request: Request) -> str:
        try:
            known = member(read_document(request.body), "meta").get("id")
        except Untranslatable:
            known = None
        return f"meta:{known}" if isinstance(known, str | int) else f"body:{sha256(request.body).hexdigest()}"

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[CanonicalDeal]:
        document = read_document(body)
        meta = member(document, "meta")
        if meta.get("entity") != "deal":
            return ()
        if meta.get("action") not in _ACTIONS:
            raise Untranslatable(
                QuarantineReason.UNKNOWN_TYPE, "/meta/action", f"expected one of {', '.join(_ACTIONS)}"
            )
        name = "previous" if document.get("data") is None else "data"
        raw = member(document, name)
        happened_at = _instant(meta.get("timestamp"), "/meta/timestamp")
        if happened_at is None:
            raise Untranslatable(QuarantineReason.MISSING_FIELD, "/meta/timestamp", "is missing")
        fields = _fields(raw, f"/{name}")
        fields |= _change(meta, raw, document.get("previous"))
        fields["sequence"] = int(happened_at.timestamp() * 1000)
        if fields["kind"] in (DealKind.DELETED, DealKind.MERGED) or fields["modified_at"] is None:
            fields["modified_at"] = happened_at
        if fields["external_id"] is None:
            fields["external_id"] = text_of(meta.get("entity_id"))
        return (canonical_deal(fields, raw, mapping, pointer=f"/{name}"),)


def _change(meta: Mapping[str, object], raw: Mapping[str, object], previous: object) -> dict[str, object]:
    """What became of the record as a whole."""
    merged_into = meta.get("merged_to_id")
    if meta.get("action") == "delete":
        kind = DealKind.DELETED if merged_into is None else DealKind.MERGED
        return {"kind": kind, "merged_into": text_of(merged_into)}
    if raw.get("status") == "deleted":
        return {"kind": DealKind.DELETED}
    was_deleted = isinstance(previous, Mapping) and previous.get("status") == "deleted"
    return {"kind": DealKind.RESTORED if was_deleted else DealKind.UPSERTED}


def _fields(raw: Mapping[str, object], pointer: str) -> dict[str, object]:
    status = raw.get("status")
    closed = {"won": "won_time", "lost": "lost_time"}.get(str(status))
    return {
        "external_id": text_of(raw.get("id")),
        "modified_at": _instant(raw.get("update_time"), f"{pointer}/update_time"),
        "status": None if status == "deleted" or status not in _STATUSES else status,
        "owner_external_id": text_of(raw.get("owner_id")),
        "name": raw.get("title"),
        "amount": raw.get("value"),
        "currency": raw.get("currency"),
        "created_at": _instant(raw.get("add_time"), f"{pointer}/add_time"),
        "expected_close_on": raw.get("expected_close_date"),
        "closed_at": None if closed is None else _instant(raw.get(closed), f"{pointer}/{closed}"),
        "stage": text_of(raw.get("stage_id")),
        "pipeline": text_of(raw.get("pipeline_id")),
        "probability": raw.get("probability"),
        "channel": text_of(raw.get("channel")),
        "account_id": text_of(raw.get("org_id")),
        "custom": _custom(raw.get("custom_fields")),
    }


def _custom(fields: object) -> dict[str, object]:
    """Custom fields as texts: plain values, and the `value` or `id` of those that come as objects."""
    if not isinstance(fields, Mapping):
        return {}
    texts: dict[str, object] = {}
    for name, held in fields.items():
        value = held.get("value", held.get("id")) if isinstance(held, Mapping) else held
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, str | int | Decimal):
            texts[name] = str(value)
    return texts


def _instant(value: object, pointer: str) -> datetime | None:
    """ISO 8601, without a zone taken as UTC, or Unix seconds as a number or as digits. Raises Untranslatable."""
    if value is None:
        return None
    try:
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return datetime.fromtimestamp(int(value), UTC)
        instant = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
