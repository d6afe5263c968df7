"""Pipedrive: webhooks of version 2 and of version 1, behind HTTP Basic authentication.

A webhook tells the whole record, and what it was before. `update_time` has whole seconds, so changes within one are
ordered by the time of the event, in milliseconds. A deletion carries no record: its last state is taken, where that is
told, dated when the event says. A merge comes as the deletion of one deal and a change of the other; either says both.
Version 1 says the same in other words, and is read as if it were version 2.
"""

import json
import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from typing_extensions import override

from services.tracking.intake.sources.adapter import (
    Adapter,
    Fetch,
    PassedOver,
    Request,
    SenderRules,
    Statement,
    dated,
    digest,
    member,
    read_document,
)
from services.tracking.intake.sources.canonical import canonical_activity, canonical_deal, product_line, text_of
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.pipedrive.api import ACTIVITY, DEAL, PRODUCTS, PipedriveApi, instant_of, is_gone
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError
from shared.kernel.reading import read_unix_milliseconds, read_whole_number

_ACTIONS: Final = ("create", "change", "delete")
_ACTIONS_OF_VERSION_1: Final = {"added": "create", "updated": "change", "merged": "change", "deleted": "delete"}
_NOT_COUNTED: Final = frozenset(
    {
        "activityType",
        "board",
        "lead",
        "note",
        "organization",
        "person",
        "phase",
        "pipeline",
        "product",
        "project",
        "stage",
        "task",
        "user",
    }
)
"""The entities of webhooks that are no records here."""
_CUSTOM_KEY: Final = re.compile(r"[0-9a-f]{40}")
"""What version 1 calls a custom field, beside the others."""
_STATUSES: Final = frozenset(status.value for status in DealStatus)
_USER: Final = "attain"
_PASSWORD_CHARACTERS_MIN: Final = 16


class Pipedrive(Adapter):
    """The adapter. A secret is `user:password`, as the webhook's http_auth_user and http_auth_password."""

    source = Source.PIPEDRIVE
    api = PipedriveApi()

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
    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        scheme, _, encoded = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            return Rejection.HEADERS
        try:
            given = b64decode(encoded.strip(), validate=True)
        except Base64Error:
            return Rejection.HEADERS
        return None if rules.knows(given) else Rejection.SIGNATURE

    @override
    def dedupe_key(self, request: Request) -> str:
        try:
            document = read_document(request.body)
            meta = member(document, "meta")
        except Untranslatable:
            return f"body:{digest(request.body)}"
        if _is_version_1(document):
            # Its meta names the record, not the event; every attempt is the same but for its number.
            names = ("action", "object", "id", "timestamp", "timestamp_micro", "webhook_id")
            states = [document.get("current"), document.get("previous"), *(meta.get(name) for name in names)]
            return f"v1:{digest(json.dumps(states, default=str).encode())}"
        known = meta.get("id")
        return f"meta:{known}" if isinstance(known, str | int) else f"body:{digest(request.body)}"

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        document = _as_version_2(read_document(body))
        meta = member(document, "meta")
        entity = meta.get("entity")
        if isinstance(entity, str) and entity in _NOT_COUNTED:
            return (PassedOver(entity),)
        if entity not in (DEAL, ACTIVITY):
            raise Untranslatable(
                QuarantineReason.UNKNOWN_TYPE,
                "/meta/entity",
                "is not what Pipedrive's webhooks of version 2 are about, such as deal or activity; have it send those",
            )
        if meta.get("action") not in _ACTIONS:
            raise Untranslatable(
                QuarantineReason.UNKNOWN_TYPE, "/meta/action", f"expected one of {', '.join(_ACTIONS)}"
            )
        name = "previous" if document.get("data") is None else "data"
        # For a deletion the meta has everything that has to be known.
        is_stated = document.get(name) is not None or meta.get("action") != "delete"
        raw = member(document, name) if is_stated else {}
        happened_at = instant_of(meta.get("timestamp"), "/meta/timestamp")
        if happened_at is None:
            raise Untranslatable(QuarantineReason.MISSING_FIELD, "/meta/timestamp", "is missing")
        fields = _fields(raw, f"/{name}") if entity == DEAL else _activity_fields(raw, f"/{name}")
        fields["sequence"] = int(happened_at.timestamp() * 1000)
        if fields["external_id"] is None:
            fields["external_id"] = text_of(meta.get("entity_id"))
        if entity == ACTIVITY:
            is_deleted = meta.get("action") == "delete" or is_gone(raw)
            if is_deleted or fields["modified_at"] is None:
                fields["modified_at"] = happened_at
            fields["is_deleted"] = is_deleted
            return (canonical_activity(fields, mapping, pointer=f"/{name}"),)
        fields |= _change(meta, raw, document.get("previous"))
        if fields["kind"] in (DealKind.DELETED, DealKind.MERGED) or fields["modified_at"] is None:
            fields["modified_at"] = happened_at
        deal = canonical_deal(fields, raw, mapping, pointer=f"/{name}")
        statement: Statement = deal
        if (
            mapping.asks_products
            and raw.get("products") is None
            and deal.kind not in (DealKind.DELETED, DealKind.MERGED)
        ):
            # What brings a deal back is not before its deletion, which is dated when it happened.
            statement = Fetch(DEAL, deal.external_id, happened_at if deal.kind is DealKind.RESTORED else None)
        merged_from = text_of(meta.get("merged_from_id"))
        if merged_from is None or meta.get("action") == "delete":
            return (statement,)
        former = {
            "external_id": merged_from,
            "kind": DealKind.MERGED,
            "merged_into": deal.external_id,
            "modified_at": happened_at,
            "sequence": fields["sequence"],
        }
        return (statement, canonical_deal(former, {}, SourceMapping(), pointer="/meta/merged_from_id"))

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        raw = record.raw
        if record.object_name not in (DEAL, ACTIVITY):
            raise Untranslatable(
                QuarantineReason.UNKNOWN_TYPE, pointer, f"{record.object_name} is no deal and no activity"
            )
        is_deal = record.object_name == DEAL
        fields = _fields(raw, pointer) if is_deal else _activity_fields(raw, pointer)
        modified_at = fields["modified_at"]
        if not isinstance(modified_at, datetime):
            raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/update_time", "is missing")
        fields |= dated(record, modified_at)
        if is_deal:
            if mapping.asks_products:
                fields["products"] = _products(raw.get(PRODUCTS))
            return (canonical_deal(fields, raw, mapping, pointer=pointer),)
        return (canonical_activity(fields, mapping, pointer=pointer),)

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Statement]:
        if gone.object_name != ACTIVITY:
            return super().translate_gone(gone, mapping)
        fields = {
            "external_id": gone.external_id,
            "is_deleted": True,
            "modified_at": gone.at,
            "type": ActivityType.TASK,
        }
        return (canonical_activity(fields, mapping, pointer="/gone"),)


def _is_version_1(document: Mapping[str, object]) -> bool:
    """Whether a webhook is of version 1, which has what a record is now under `current`."""
    meta = document.get("meta")
    return "current" in document and isinstance(meta, Mapping) and "entity" not in meta


def _as_version_2(document: Mapping[str, object]) -> Mapping[str, object]:
    """The document of a webhook as version 2 has it. Raises Untranslatable."""
    if not _is_version_1(document):
        return document
    meta = member(document, "meta")
    micro, action = read_whole_number(meta.get("timestamp_micro")), meta.get("action")
    seconds = instant_of(meta.get("timestamp"), "/meta/timestamp")
    happened_at = seconds if micro is None else read_unix_milliseconds(micro // 1000)
    return {
        "meta": {
            **meta,
            "action": _ACTIONS_OF_VERSION_1.get(str(action), action),
            "entity": meta.get("object"),
            "entity_id": meta.get("id"),
            "timestamp": None if happened_at is None else happened_at.isoformat(),
        },
        "data": None if action == "deleted" else _record_as_version_2(document.get("current")),
        "previous": _record_as_version_2(document.get("previous")),
    }


def _record_as_version_2(raw: object) -> object:
    if not isinstance(raw, Mapping):
        return raw
    deleted = raw.get("deleted") is True or raw.get("active_flag") is False
    custom = {name: value for name, value in raw.items() if _CUSTOM_KEY.fullmatch(name)}
    owner_id = raw.get("user_id") if raw.get("owner_id") is None else raw.get("owner_id")
    return {
        **raw,
        **{name: _id_of(raw.get(name)) for name in ("org_id", "person_id", "deal_id") if name in raw},
        "owner_id": _id_of(owner_id),
        "is_deleted": deleted,
        "custom_fields": custom,
    }


def _id_of(value: object) -> object:
    """An id, also of a record of which version 1 states more."""
    return value.get("id", value.get("value")) if isinstance(value, Mapping) else value


def _change(meta: Mapping[str, object], raw: Mapping[str, object], previous: object) -> dict[str, object]:
    """What became of the record as a whole."""
    merged_into = meta.get("merged_to_id")
    if meta.get("action") == "delete":
        kind = DealKind.DELETED if merged_into is None else DealKind.MERGED
        return {"kind": kind, "merged_into": text_of(merged_into)}
    if is_gone(raw):
        return {"kind": DealKind.DELETED}
    was_deleted = isinstance(previous, Mapping) and is_gone(previous)
    return {"kind": DealKind.RESTORED if was_deleted else DealKind.UPSERTED}


def _fields(raw: Mapping[str, object], pointer: str) -> dict[str, object]:
    status = raw.get("status")
    closed = {"won": "won_time", "lost": "lost_time"}.get(str(status))
    return {
        "external_id": text_of(raw.get("id")),
        "modified_at": instant_of(raw.get("update_time"), f"{pointer}/update_time"),
        "status": status if isinstance(status, str) and status in _STATUSES else None,
        "owner_external_id": text_of(raw.get("owner_id")),
        "name": raw.get("title"),
        "amount": raw.get("value"),
        "currency": raw.get("currency"),
        "created_at": instant_of(raw.get("add_time"), f"{pointer}/add_time"),
        "expected_close_on": raw.get("expected_close_date"),
        "closed_at": None if closed is None else instant_of(raw.get(closed), f"{pointer}/{closed}"),
        "stage": text_of(raw.get("stage_id")),
        "pipeline": text_of(raw.get("pipeline_id")),
        "probability": raw.get("probability"),
        "channel": text_of(raw.get("channel")),
        "account_id": text_of(raw.get("org_id")),
        "products": _products(raw.get("products")),
        "custom": _custom(raw.get("custom_fields")),
    }


def _products(lines: object) -> list[dict[str, object]]:
    """The lines of a deal, where they are stated."""
    return [
        product_line(
            line.get("code") or line.get("product_id") or line.get("id"), line.get("quantity"), line.get("sum")
        )
        for line in (lines if isinstance(lines, list) else ())
        if isinstance(line, Mapping) and line.get("is_enabled") is not False
    ]


_ACTIVITY_TYPES: Final = {
    "call": ActivityType.CALL,
    "meeting": ActivityType.MEETING,
    "lunch": ActivityType.MEETING,
    "email": ActivityType.EMAIL,
}
_CLOCK: Final = re.compile(r"([0-9]{1,3}):([0-9]{2})(?::([0-9]{2}))?", re.ASCII)


def _activity_fields(raw: Mapping[str, object], pointer: str) -> dict[str, object]:
    is_done = raw.get("done") in (True, 1)
    duration = _CLOCK.fullmatch(str(_clock(raw.get("duration"))))
    subject = raw.get("subject")
    return {
        "external_id": text_of(raw.get("id")),
        "modified_at": instant_of(raw.get("update_time"), f"{pointer}/update_time"),
        "type": _ACTIVITY_TYPES.get(str(raw.get("type")), ActivityType.TASK),
        "status": ActivityStatus.DONE if is_done else ActivityStatus.PLANNED,
        "owner_external_id": text_of(raw.get("owner_id", raw.get("user_id"))),
        "subject": subject[:500] if isinstance(subject, str) else None,
        "occurred_at": _due(raw, pointer)
        or instant_of(raw.get("marked_as_done_time"), f"{pointer}/marked_as_done_time"),
        "duration_seconds": int(duration[1]) * 3600 + int(duration[2]) * 60 + int(duration[3] or 0)
        if duration
        else None,
        "deal_external_id": text_of(raw.get("deal_id")),
        "account_id": text_of(raw.get("org_id")),
        "custom": _custom(raw.get("custom_fields")),
    }


def _due(raw: Mapping[str, object], pointer: str) -> datetime | None:
    """The day and time of an activity, which Pipedrive has in UTC unless it names a zone. Raises Untranslatable."""
    due_time = raw.get("due_time")
    day, clock = raw.get("due_date"), _CLOCK.fullmatch(str(_clock(due_time)))
    if not isinstance(day, str) or not day:
        return None
    moment = instant_of(day, f"{pointer}/due_date")
    if moment is None or clock is None:
        return moment
    zone = due_time.get("timezone_id") if isinstance(due_time, Mapping) else None
    try:
        local = datetime.combine(
            moment.date(),
            time(int(clock[1]), int(clock[2]), int(clock[3] or 0)),
            ZoneInfo(zone) if isinstance(zone, str) and zone else UTC,
        )
        return local.astimezone(UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, f"{pointer}/due_time", "is not a time") from None


def _clock(due_time: object) -> object:
    """A time of day or a length of time: the API has it plainly, webhooks of version 2 as an object with its zone."""
    return due_time.get("value") if isinstance(due_time, Mapping) else due_time


def _custom(fields: object) -> dict[str, object]:
    """Custom fields as texts: plain values, and the `value` or `id` of those that come as objects."""
    if not isinstance(fields, Mapping):
        return {}
    texts: dict[str, object] = {}
    for name, field in fields.items():
        value = field.get("value", field.get("id")) if isinstance(field, Mapping) else field
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, str | int | Decimal):
            texts[name] = str(value)
    return texts
