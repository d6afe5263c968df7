"""Pipedrive: webhooks of version 2, behind HTTP Basic authentication, and its API of version 2.

A webhook tells the whole record, and what it was before. `update_time` has whole seconds, so changes within one are
ordered by the time of the event, in milliseconds. A deletion carries no record: its last state is taken, dated when the
event says. A merge comes as the deletion of one deal and a change of the other; either says both.
"""

import hmac
import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints
from typing_extensions import override

from services.tracking.crm.adapter import (
    Adapter,
    Request,
    Said,
    Terms,
    dated,
    member,
    read_answer,
    read_document,
    read_json,
)
from services.tracking.crm.canonical import canonical_activity, canonical_deal, text_of
from services.tracking.crm.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.crm.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Conversation,
    FetchedRecord,
    Gone,
    GoneRecord,
    Judgement,
    Limit,
    RawRecord,
    RecordPage,
    SourceApi,
    UnexpectedAnswer,
    UserPage,
    Verdict,
)
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError

DEAL: Final = "deal"
ACTIVITY: Final = "activity"

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


_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_PAGE_MAX: Final = 500
_PATHS: Final = {DEAL: "deals", ACTIVITY: "activities"}
_OPTIONAL: Final = frozenset({"archived", "summary"})
"""What a company's plan or the user's permissions may not have, while deals can be read."""
_WALKS: Final = ("deals", "deals/archived")
"""Lists of deals leave out those that are archived."""
_POSITION: Final = re.compile(r"(deals|deals/archived):(.*)", re.DOTALL)


class PipedriveApi(SourceApi):
    """The API of version 2, and of version 1 for what has no newer. Calls cost tokens of a daily budget."""

    credentials = PipedriveCredentials
    limits = (Limit(20, timedelta(seconds=2)),)

    @override
    def authorised(self, call: Call, credentials: ApiCredentials, token: str | None) -> Call:
        headers = {**call.headers, "x-api-token": _own(credentials).api_token}
        return Call(call.method, call.url, call.params, headers, call.json, call.form, call.endpoint)

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        left = _number(answer.headers.get("x-daily-ratelimit-token-remaining"))
        if 200 <= answer.status < 300:
            return Judgement(Verdict.OK, credits_remaining=left)
        message = _error(answer)
        detail = f"{answer.status}: {message}"[:500]
        if answer.status == 429:
            if left == 0 or "daily" in message.lower():
                return Judgement(Verdict.QUOTA_EXHAUSTED, None, detail, left)
            seconds = _number(answer.headers.get("x-ratelimit-reset", answer.headers.get("retry-after")))
            wait = None if seconds is None else timedelta(seconds=min(seconds, 3600))
            return Judgement(Verdict.RATE_LIMITED, wait, detail, left)
        if answer.status >= 500:
            return Judgement(Verdict.TRANSIENT, None, detail, left)
        is_absent = call.endpoint in _OPTIONAL and answer.status in (402, 403, 404, 410)
        is_gone = call.endpoint == "one" and answer.status in (404, 410)
        return Judgement(Verdict.OK if is_absent or is_gone else Verdict.REFUSED, None, detail, left)

    @override
    def fetch(
        self, credentials: ApiCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        own = _own(credentials)
        path = _PATHS.get(object_name)
        if path is None:
            raise UnexpectedAnswer(f"{object_name} is no deal and no activity")
        ids = sorted({each for each in external_ids if _ID.fullmatch(each)})
        gone = [Gone(object_name, each) for each in external_ids if not _ID.fullmatch(each)]
        found: dict[str, Mapping[str, object]] = {}
        if ids:
            params = {"ids": ",".join(ids), "limit": str(len(ids))}
            found = _listed(read_answer((yield Call("GET", f"{own.api_url}/api/v2/{path}", params))))
        for missing in [each for each in ids if each not in found]:
            # The list leaves out what is deleted, and what is archived too.
            answer = yield Call("GET", f"{own.api_url}/api/v2/{path}/{missing}", endpoint="one")
            if answer.status in (404, 410):
                gone.append(Gone(object_name, missing))
            else:
                found[missing] = _data_of_one(read_answer(answer))
        records = []
        for external_id in ids:
            raw = found.get(external_id)
            if raw is not None and _is_deleted(raw):
                gone.append(Gone(object_name, external_id, _moment_or_none(raw.get("update_time"))))
            elif raw is not None:
                records.append(RawRecord(object_name, external_id, raw))
        return RecordPage(records, gone)

    @override
    def changed(
        self, credentials: ApiCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        position = _POSITION.fullmatch(cursor or "")
        walk, after = (position[1], position[2]) if position else (_WALKS[0], "")
        params = {} if since is None else {"updated_since": _rfc3339(since)}
        endpoint = "archived" if walk == _WALKS[1] else "deals"
        answer = yield _list(_own(credentials), walk, {**params, "sort_by": "update_time"}, after, endpoint=endpoint)
        if answer.status != 200:
            return RecordPage()
        document = read_answer(answer)
        found = _listed(document)
        following = _next_cursor(document)
        if following is not None:
            next_cursor: str | None = f"{walk}:{following}"
        else:
            next_cursor = f"{_WALKS[1]}:" if walk == _WALKS[0] else None
        records = [RawRecord(DEAL, each, raw) for each, raw in found.items() if not _is_deleted(raw)]
        gone = [
            Gone(DEAL, each, _moment_or_none(raw.get("update_time"))) for each, raw in found.items() if _is_deleted(raw)
        ]
        return RecordPage(records, gone, next_cursor)

    @override
    def deleted(self, credentials: ApiCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        params = {"status": "deleted", "updated_since": _rfc3339(since), "sort_by": "update_time"}
        document = read_answer((yield _list(_own(credentials), "deals", params, cursor, endpoint="deals")))
        gone = [Gone(DEAL, each, _moment_or_none(raw.get("update_time"))) for each, raw in _listed(document).items()]
        return RecordPage(gone=gone, next_cursor=_next_cursor(document))

    @override
    def count(self, credentials: ApiCredentials) -> Conversation[int | None]:
        answer = yield Call("GET", f"{_own(credentials).api_url}/api/v1/deals/summary", endpoint="summary")
        data = read_answer(answer).get("data") if answer.status == 200 else None
        total = data.get("total_count") if isinstance(data, Mapping) else None
        return total if isinstance(total, int) else None

    @override
    def users(self, credentials: ApiCredentials, cursor: str | None) -> Conversation[UserPage]:
        document = read_answer((yield Call("GET", f"{_own(credentials).api_url}/api/v1/users")))
        users = [
            ApiUser(user_id, _text(raw.get("name")), _text(raw.get("email")), raw.get("active_flag") is not False)
            for user_id, raw in _listed(document).items()
        ]
        return UserPage(users)


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
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Said]:
        document = read_document(body)
        meta = member(document, "meta")
        entity = meta.get("entity")
        if entity not in (DEAL, ACTIVITY):
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
        fields = _fields(raw, f"/{name}") if entity == DEAL else _activity_fields(raw, f"/{name}")
        fields["sequence"] = int(happened_at.timestamp() * 1000)
        if fields["external_id"] is None:
            fields["external_id"] = text_of(meta.get("entity_id"))
        if entity == ACTIVITY:
            is_deleted = meta.get("action") == "delete" or _is_deleted(raw)
            if is_deleted or fields["modified_at"] is None:
                fields["modified_at"] = happened_at
            fields["is_deleted"] = is_deleted
            return (canonical_activity(fields, mapping, pointer=f"/{name}"),)
        fields |= _change(meta, raw, document.get("previous"))
        if fields["kind"] in (DealKind.DELETED, DealKind.MERGED) or fields["modified_at"] is None:
            fields["modified_at"] = happened_at
        deal = canonical_deal(fields, raw, mapping, pointer=f"/{name}")
        merged_from = text_of(meta.get("merged_from_id"))
        if merged_from is None or meta.get("action") == "delete":
            return (deal,)
        former = {
            "external_id": merged_from,
            "kind": DealKind.MERGED,
            "merged_into": deal.external_id,
            "modified_at": happened_at,
            "sequence": fields["sequence"],
        }
        return (deal, canonical_deal(former, {}, SourceMapping(), pointer="/meta/merged_from_id"))

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Said]:
        raw = record.raw
        if record.object_name not in _PATHS:
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
            return (canonical_deal(fields, raw, mapping, pointer=pointer),)
        return (canonical_activity(fields, mapping, pointer=pointer),)

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Said]:
        if gone.object_name != ACTIVITY:
            return super().translate_gone(gone, mapping)
        fields = {
            "external_id": gone.external_id,
            "is_deleted": True,
            "modified_at": gone.at,
            "type": ActivityType.TASK,
        }
        return (canonical_activity(fields, mapping, pointer="/gone"),)


def _change(meta: Mapping[str, object], raw: Mapping[str, object], previous: object) -> dict[str, object]:
    """What became of the record as a whole."""
    merged_into = meta.get("merged_to_id")
    if meta.get("action") == "delete":
        kind = DealKind.DELETED if merged_into is None else DealKind.MERGED
        return {"kind": kind, "merged_into": text_of(merged_into)}
    if _is_deleted(raw):
        return {"kind": DealKind.DELETED}
    was_deleted = isinstance(previous, Mapping) and _is_deleted(previous)
    return {"kind": DealKind.RESTORED if was_deleted else DealKind.UPSERTED}


def _fields(raw: Mapping[str, object], pointer: str) -> dict[str, object]:
    status = raw.get("status")
    closed = {"won": "won_time", "lost": "lost_time"}.get(str(status))
    return {
        "external_id": text_of(raw.get("id")),
        "modified_at": _instant(raw.get("update_time"), f"{pointer}/update_time"),
        "status": status if isinstance(status, str) and status in _STATUSES else None,
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
        "products": _products(raw.get("products")),
        "custom": _custom(raw.get("custom_fields")),
    }


def _is_deleted(raw: Mapping[str, object]) -> bool:
    return raw.get("status") == "deleted" or raw.get("is_deleted") is True


def _products(held: object) -> list[dict[str, object]]:
    """The lines of a deal, where they are told."""
    return [
        {
            "sku": text_of(line.get("code") or line.get("product_id") or line.get("id")),
            "quantity": line.get("quantity", 1),
            "amount": line.get("sum"),
        }
        for line in (held if isinstance(held, list) else ())
        if isinstance(line, Mapping)
    ]


_ACTIVITY_TYPES: Final = {
    "call": ActivityType.CALL,
    "meeting": ActivityType.MEETING,
    "lunch": ActivityType.MEETING,
    "email": ActivityType.EMAIL,
}
_CLOCK: Final = re.compile(r"([0-9]{1,3}):([0-9]{2})(?::[0-9]{2})?", re.ASCII)


def _activity_fields(raw: Mapping[str, object], pointer: str) -> dict[str, object]:
    is_done = raw.get("done") in (True, 1)
    duration = _CLOCK.fullmatch(str(raw.get("duration")))
    subject = raw.get("subject")
    return {
        "external_id": text_of(raw.get("id")),
        "modified_at": _instant(raw.get("update_time"), f"{pointer}/update_time"),
        "type": _ACTIVITY_TYPES.get(str(raw.get("type")), ActivityType.TASK),
        "status": ActivityStatus.DONE if is_done else ActivityStatus.PLANNED,
        "owner_external_id": text_of(raw.get("owner_id", raw.get("user_id"))),
        "subject": subject[:500] if isinstance(subject, str) else None,
        "occurred_at": _due(raw, pointer) or _instant(raw.get("marked_as_done_time"), f"{pointer}/marked_as_done_time"),
        "duration_seconds": int(duration[1]) * 3600 + int(duration[2]) * 60 if duration else None,
        "deal_external_id": text_of(raw.get("deal_id")),
        "account_id": text_of(raw.get("org_id")),
        "custom": _custom(raw.get("custom_fields")),
    }


def _due(raw: Mapping[str, object], pointer: str) -> datetime | None:
    """The day and time of an activity, which Pipedrive has in UTC. Raises Untranslatable."""
    day, clock = raw.get("due_date"), _CLOCK.fullmatch(str(raw.get("due_time")))
    if not isinstance(day, str) or not day:
        return None
    moment = _instant(day, f"{pointer}/due_date")
    if moment is None or clock is None:
        return moment
    try:
        return datetime.combine(moment.date(), time(int(clock[1]), int(clock[2])), UTC)
    except ValueError:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, f"{pointer}/due_time", "is not a time") from None


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


def _own(credentials: ApiCredentials) -> PipedriveCredentials:
    if not isinstance(credentials, PipedriveCredentials):
        raise TypeError(f"credentials of {credentials.source}")
    return credentials


def _list(
    own: PipedriveCredentials, path: str, params: Mapping[str, str], cursor: str | None, *, endpoint: str
) -> Call:
    paged = {**params, "sort_direction": "asc", "limit": str(_PAGE_MAX)}
    return Call(
        "GET", f"{own.api_url}/api/v2/{path}", paged | ({"cursor": cursor} if cursor else {}), endpoint=endpoint
    )


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _listed(document: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    data = document.get("data")
    if data is None:
        return {}
    if not isinstance(data, list):
        raise UnexpectedAnswer("the answer has no list of data")
    found: dict[str, Mapping[str, object]] = {}
    for each in data:
        external_id = str(each.get("id")) if isinstance(each, Mapping) else ""
        if not _ID.fullmatch(external_id):
            raise UnexpectedAnswer("a record has no id")
        found[external_id] = each
    return found


def _data_of_one(document: Mapping[str, object]) -> Mapping[str, object]:
    data = document.get("data")
    if not isinstance(data, Mapping):
        raise UnexpectedAnswer("the answer has no data")
    return data


def _next_cursor(document: Mapping[str, object]) -> str | None:
    more = document.get("additional_data")
    cursor = more.get("next_cursor") if isinstance(more, Mapping) else None
    return cursor if isinstance(cursor, str) and cursor else None


def _moment_or_none(value: object) -> datetime | None:
    try:
        return _instant(value, "")
    except Untranslatable as error:
        raise UnexpectedAnswer(f"{str(value)[:100]} is not a time") from error


def _error(answer: Answer) -> str:
    with suppress(Untranslatable):
        document = read_json(answer.body)
        if isinstance(document, Mapping):
            return " ".join(str(document[name]) for name in ("error", "error_info", "message") if document.get(name))
    return ""


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
