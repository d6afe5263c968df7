"""纷享销客 Fxiaoke: event callbacks, signed and encrypted, which name records, and its open API.

Opportunities (`NewOpportunityObj`) and sales orders (`SalesOrderObj`) are deals both, told apart by their `type`,
`opportunity` or `order`: a goal that counts both counts a sale twice. An opportunity's external id is its own, an
order's is `SalesOrderObj:` and its own. An order in effect is won; what was paid for it (`OrderPaymentObj`, and
`PaymentObj` where it is not divided among orders) are its payments. What somebody did (`ActiveRecordObj`) is an
activity.

Days come as milliseconds of a midnight in China, which is where they are read.
"""

import hmac
import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import sha1, sha256
from typing import Annotated, ClassVar, Final, Literal

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import Field, JsonValue, StringConstraints
from typing_extensions import override

from services.tracking.crm.adapter import Adapter, Fetch, Reply, Request, Said, SeenUser, Terms, dated, read_document
from services.tracking.crm.canonical import (
    CUSTOM_FIELDS_MAX,
    CanonicalActivity,
    CanonicalDeal,
    canonical_activity,
    canonical_deal,
    text_of,
)
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
    Token,
    UnexpectedAnswer,
    UserPage,
    Verdict,
)
from shared.kernel.activities import ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError

OPPORTUNITY: Final = "NewOpportunityObj"
ORDER: Final = "SalesOrderObj"
PAYMENT: Final = "PaymentObj"
ORDER_PAYMENT: Final = "OrderPaymentObj"
ACTIVITY: Final = "ActiveRecordObj"

Object = Literal["NewOpportunityObj", "SalesOrderObj", "PaymentObj", "OrderPaymentObj", "ActiveRecordObj"]

_OBJECTS: Final[tuple[Object, ...]] = (ORDER, PAYMENT, ORDER_PAYMENT, OPPORTUNITY, ACTIVITY)
_PAYMENTS: Final = (PAYMENT, ORDER_PAYMENT)
_UNMODIFYING: Final = ("invalid", "recover", "delete")
"""What changes a record without a modification of its own."""
_CHINA: Final = timezone(timedelta(hours=8))
"""All year round."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_MAX: Final = 32_000_000_000_000
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16
_NONCE_BYTES: Final = 8
_SUCCESS: Final = b"success"
_SALES_STATUSES: Final = {
    "1": DealStatus.OPEN,
    "2": DealStatus.WON,
    "3": DealStatus.LOST,
    "4": DealStatus.LOST,
}
"""Under way, won, lost, and void."""
_IN_EFFECT: Final = frozenset({"normal", "in_change"})
_NOT_YET_IN_EFFECT: Final = frozenset({"ineffective", "under_review"})
_INVALID: Final = "invalid"
_CUSTOM_CHARACTERS_MAX: Final = 2000
_NAME_CHARACTERS_MAX: Final = 500
_PARTS: Final = "_payments"
"""Where a fetched order has what was paid for it, each with its object as `_object`."""
_OBJECT: Final = "_object"
_KNOWN_FIELDS: Final = frozenset(
    {
        "_id",
        "name",
        "amount",
        "order_amount",
        "close_date",
        "order_time",
        "sales_stage",
        "sales_stage__r",
        "owner",
        "account_id",
        "account_id__r",
        "probability",
        "create_time",
        "last_modified_time",
        "version",
        "is_deleted",
        "tenant_id",
        "object_describe_api_name",
        "object_describe_id",
    }
)
_ACTIVITY_WORDS: Final = (
    (ActivityType.CALL, ("电话", "通话", "call", "phone")),
    (ActivityType.EMAIL, ("邮件", "mail")),
    (ActivityType.MEETING, ("拜访", "会议", "面谈", "上门", "visit", "meeting")),
)

_TOKEN_PATH: Final = "/cgi/corpAccessToken/get/V2"  # noqa: S105
_GET_PATH: Final = "/cgi/crm/v2/data/get"
_QUERY_PATH: Final = "/cgi/crm/v2/data/query"
_USERS_PATH: Final = "/cgi/user/list"
_WHOLE_COMPANY: Final = 999999
_PAGE_RECORDS: Final = 100
_TOKEN_SECONDS_MAX: Final = 86_400
_OK: Final = 0
_TOKEN_EXPIRED: Final = frozenset({20016, 20005})
_RATE_LIMITED: Final = frozenset({30004, 14001})
_QUOTA_EXHAUSTED: Final = 30002
_TRANSIENT: Final = frozenset({-1, -2, 50009})
_GENERAL_MAX: Final = 30_100
"""Codes up to here, and negative ones, are of calls and access, none of records."""
_GENERAL: Final = frozenset({40010, 50009})
_NO_RIGHT: Final = "权限"
_WINDOW: Final = timedelta(seconds=20)
_DETAIL_CHARACTERS_MAX: Final = 300

Record = Mapping[str, object]


class FxiaokeCredentials(ApiCredentials):
    """A company's own app, and an employee who may see all opportunities, orders and payments."""

    source: Literal["fxiaoke"] = "fxiaoke"
    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = Field(
        "https://open.fxiaoke.com", description="Of the cloud the company is in, as https://open.fxiaoke.com."
    )
    app_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(description="As FSAID_….")
    app_secret: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    permanent_code: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    corp_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(
        description="The company as the open platform names it, as FSCID_…."
    )
    current_open_user_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(
        description="The employee in whose name is asked, as FSUID_…: what they may not see is not found."
    )
    objects: tuple[Object, ...] = Field(
        _OBJECTS, min_length=1, description="What is asked for; leave out what the company does not use."
    )


class FxiaokeApi(SourceApi):
    """The open API. Every answer is an HTTP 200; what it means is its `errorCode`.

    Walks go by `_id`, which the source documents for any depth: an offset ends at 10,000 records.
    """

    credentials = FxiaokeCredentials
    limits = (Limit(100, _WINDOW, is_per_endpoint=True),)
    fetch_ids_max = _PAGE_RECORDS

    @override
    def obtain_token(self, credentials: ApiCredentials) -> Conversation[Token]:
        known = _known(credentials)
        answer = yield Call(
            "POST",
            f"{known.api_url}{_TOKEN_PATH}",
            json={"appId": known.app_id, "appSecret": known.app_secret, "permanentCode": known.permanent_code},
            endpoint=_TOKEN_PATH,
        )
        document = _document(answer)
        value, seconds = document.get("corpAccessToken"), _whole(document.get("expiresIn"))
        if not isinstance(value, str) or not value or seconds is None or not 0 < seconds <= _TOKEN_SECONDS_MAX:
            raise UnexpectedAnswer("no corpAccessToken and expiresIn")
        if document.get("corpId") != known.corp_id:
            raise UnexpectedAnswer("the access is to another company than corp_id names")
        return Token(value, timedelta(seconds=seconds))

    @override
    def authorised(self, call: Call, credentials: ApiCredentials, token: str | None) -> Call:
        known = _known(credentials)
        if token is None or call.endpoint == _TOKEN_PATH or not isinstance(call.json, dict):
            return call
        body: JsonValue = {
            "corpAccessToken": token,
            "corpId": known.corp_id,
            "currentOpenUserId": known.current_open_user_id,
            **call.json,
        }
        return replace(call, json=body)

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        if answer.status != 200:
            detail = f"HTTP {answer.status}"
            if answer.status == 429:
                return Judgement(Verdict.RATE_LIMITED, _WINDOW, detail)
            is_passing = answer.status == 408 or answer.status >= 500
            return Judgement(Verdict.TRANSIENT if is_passing else Verdict.REFUSED, None, detail)
        try:
            document = read_document(answer.body)
        except Untranslatable:
            return Judgement(Verdict.REFUSED, None, "the answer is no JSON: is api_url the open platform's?")
        code = _code(document)
        detail = f"{code}: {_message(document)}"[:_DETAIL_CHARACTERS_MAX]
        if code == _OK or _is_about_record(call, document):
            return Judgement(Verdict.OK)
        if code in _TOKEN_EXPIRED and call.endpoint != _TOKEN_PATH:
            return Judgement(Verdict.TOKEN_EXPIRED, None, detail)
        if code in _RATE_LIMITED:
            return Judgement(Verdict.RATE_LIMITED, _WINDOW, detail)
        if code == _QUOTA_EXHAUSTED:
            return Judgement(Verdict.QUOTA_EXHAUSTED, None, detail)
        return Judgement(Verdict.TRANSIENT if code in _TRANSIENT else Verdict.REFUSED, None, detail)

    @override
    def fetch(
        self, credentials: ApiCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        known = _known(credentials)
        if object_name not in _OBJECTS:
            raise UnexpectedAnswer(f"{object_name} is not among {', '.join(_OBJECTS)}")
        rows = yield from _by_ids(known, object_name, external_ids)
        found = {row["_id"] for row in rows}
        gone = [Gone(object_name, each) for each in external_ids if each not in found]
        page = yield from _whole_records(known, object_name, rows)
        return RecordPage(page.records, [*gone, *page.gone])

    @override
    def changed(
        self, credentials: ApiCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        known = _known(credentials)
        # Of everything there is, orders come with what was paid for them.
        walked = [each for each in known.objects if since is not None or each not in _PAYMENTS]
        filters = [] if since is None else [_filter("last_modified_time", "GTE", _milliseconds(since))]
        object_name, rows, following = yield from _walked(known, walked, filters, cursor)
        if object_name is None:
            return RecordPage()
        page = yield from _whole_records(known, object_name, rows)
        return replace(page, next_cursor=following)

    @override
    def deleted(self, credentials: ApiCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        known = _known(credentials)
        walked = [each for each in known.objects if each not in _PAYMENTS]
        filters = [
            _filter("life_status", "EQ", _INVALID),
            _filter("last_modified_time", "GTE", _milliseconds(since)),
        ]
        object_name, rows, following = yield from _walked(known, walked, filters, cursor)
        if object_name is None:
            return RecordPage()
        gone = [
            Gone(object_name, str(row["_id"]), _instant(row.get("last_modified_time"))) for row in rows if _is_gone(row)
        ]
        return RecordPage(gone=gone, next_cursor=following)

    @override
    def count(self, credentials: ApiCredentials) -> Conversation[int | None]:
        known = _known(credentials)
        total = 0
        for object_name in known.objects:
            if object_name in _PAYMENTS:
                continue
            data = yield from _queried(known, object_name, [], limit=1, is_counted=True)
            number = _whole(data.get("total"))
            if number is None:
                return None
            total += number
        return total

    @override
    def users(self, credentials: ApiCredentials, cursor: str | None) -> Conversation[UserPage]:
        known = _known(credentials)
        answer = yield Call(
            "POST",
            f"{known.api_url}{_USERS_PATH}",
            json={"departmentId": _WHOLE_COMPANY, "fetchChild": True, "showDepartmentIdsDetail": False},
            endpoint=_USERS_PATH,
        )
        document = _document(answer)
        listed = next((document[name] for name in ("userList", "userlist") if name in document), None)
        if not isinstance(listed, list):
            raise UnexpectedAnswer("userList is not a list")
        return UserPage(
            [
                ApiUser(
                    text,
                    _text(row.get("name")) or _text(row.get("nickName")),
                    _text(row.get("email")),
                    row.get("isStop") is not True,
                )
                for row in listed
                if isinstance(row, Mapping) and (text := _text(row.get("openUserId"))) is not None
            ]
        )


class Fxiaoke(Adapter):
    """The adapter. A secret is the callback's key: 32 bytes in Base64, whose text signs and whose bytes encrypt."""

    source = Source.FXIAOKE
    allow_keys: ClassVar[Mapping[str, bool]] = {"enterprise_account": True}
    api = FxiaokeApi()

    @override
    def new_secret(self, entropy: bytes) -> str:
        return b64encode(entropy).decode()

    @override
    def check_secret(self, value: str) -> None:
        if _key(value) is None:
            raise InvalidSecret(
                "The secret does not fit Fxiaoke.",
                fields=[FieldError("/secret", "is not a callback's key", f"{_KEY_BYTES} bytes in Base64")],
            )

    @override
    def verify(self, request: Request, terms: Terms, *, now_seconds: int) -> Rejection | None:
        envelope = _document_or_empty(request.body)
        signature = envelope.get("signature")
        signed = _signed_text(envelope)
        if signed is None or not isinstance(signature, str) or not signature.isascii():
            return Rejection.HEADERS
        if _signing_secret(signed, signature, terms) is None:
            return Rejection.SIGNATURE
        is_allowed = terms.allows("enterprise_account", envelope.get("enterpriseAccount"))
        return None if is_allowed else Rejection.SIGNATURE

    @override
    def dedupe_key(self, request: Request) -> str:
        message_id = _document_or_empty(request.body).get("messageId")
        if isinstance(message_id, str) and message_id:
            return f"message:{message_id}"
        return f"body:{sha256(request.body).hexdigest()}"

    @override
    def kept(self, request: Request, terms: Terms) -> bytes:
        """The content decrypted, so that it reads after a rotation; the envelope where that cannot be done."""
        envelope = _document_or_empty(request.body)
        secret = _secret_of(envelope, terms)
        content = None if secret is None else _decrypted(envelope.get("encryptedContent"), secret)
        if content is None:
            return request.body
        try:
            document = read_document(content)
        except Untranslatable:
            return request.body
        added = {
            name: envelope[name]
            for name in ("enterpriseAccount", "messageId", "retryTimes")
            if name in envelope and name not in document
        }
        head = json.dumps(added, default=str)[:-1]
        text = content.decode(json.detect_encoding(content), "surrogatepass").strip()
        return f"{head}{', ' if added and document else ''}{text[1:]}".encode("utf-8", "surrogatepass")

    @override
    def reply(self, request: Request, terms: Terms, *, now_ms: int, entropy: Callable[[int], bytes]) -> Reply:
        secret = _secret_of(_document_or_empty(request.body), terms)
        if secret is None:
            return Reply(self.accepted_status)
        nonce = entropy(_NONCE_BYTES).hex()
        result = b64encode(_encrypted(_SUCCESS, secret)).decode()
        body = {
            "timestamp": now_ms,
            "nonce": nonce,
            "encryptedResult": result,
            "signature": _sha1(f"{now_ms}{nonce}{result}{secret}"),
        }
        return Reply(self.accepted_status, json.dumps(body, separators=(",", ":")).encode(), "application/json")

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Said]:
        event = read_document(body)
        if "encryptedContent" in event:
            raise Untranslatable(
                QuarantineReason.INVALID_FIELD,
                "/encryptedContent",
                "was signed with the connection's key but is not a JSON object encrypted with it",
            )
        object_name = event.get("apiName")
        if object_name not in _OBJECTS or not isinstance(object_name, str):
            return ()
        data_id, kind = event.get("dataId"), event.get("eventType")
        if not isinstance(data_id, str) or not _ID.fullmatch(data_id):
            raise Untranslatable(QuarantineReason.INVALID_FIELD, "/dataId", "is not the id of a record")
        if not isinstance(kind, str) or not kind:
            raise Untranslatable(QuarantineReason.MISSING_FIELD, "/eventType", "is missing")
        if not kind.lower().startswith(_UNMODIFYING):
            return (Fetch(object_name, data_id),)
        at = _instant(event.get("timestamp"))
        if at is None:
            raise Untranslatable(QuarantineReason.INVALID_FIELD, "/timestamp", "is not a time in milliseconds")
        if kind.lower().startswith("delete") and object_name not in _PAYMENTS:
            return _gone(object_name, data_id, at, mapping)
        return (Fetch(object_name, data_id, floor=at),)

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Said]:
        raw = record.raw
        parts = _parts(raw)
        times = [_instant(each.get("last_modified_time")) for each in (raw, *parts)]
        if times[0] is None:
            raise Untranslatable(
                QuarantineReason.MISSING_FIELD, f"{pointer}/last_modified_time", "is not a time in milliseconds"
            )
        # What is paid changes the order, although it leaves the order's own time as it was.
        version = dated(record, max(time for time in times if time is not None))
        said: list[Said] = []
        match record.object_name:
            case "NewOpportunityObj":
                said.append(_opportunity(raw, version, mapping, pointer))
            case "SalesOrderObj":
                said.append(_order(raw, parts, version, mapping, pointer))
            case "ActiveRecordObj":
                said.append(_activity(raw, version, mapping, pointer))
            case _:
                raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, "is no deal and no activity")
        owner, label = _owner(raw), raw.get("owner__r")
        if owner is not None:
            name = label.get("name") if isinstance(label, Mapping) else label
            said.append(SeenUser(owner, _text(name), None))
        return said

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Said]:
        return () if gone.object_name in _PAYMENTS else _gone(gone.object_name, gone.external_id, gone.at, mapping)


def _opportunity(raw: Record, version: dict[str, object], mapping: SourceMapping, pointer: str) -> CanonicalDeal:
    """Raises Untranslatable."""
    stage = _text(raw.get("sales_stage__r"))
    code = _text(raw.get("sales_stage"))
    status = _SALES_STATUSES.get(_text(raw.get("sales_status")) or "")
    if code is not None:
        status = mapping.stages.get(code, status)
    fields: dict[str, object] = {
        "type": "opportunity",
        "external_id": _text(raw.get("_id")),
        "status": status,
        "amount": _amount(raw.get("amount")),
        "stage": stage or code,
        "pipeline": _label(raw, "sales_process_id"),
        "probability": _amount(raw.get("probability")),
    }
    return _deal(raw, fields | version, mapping, pointer, day="close_date")


def _order(
    raw: Record, parts: Sequence[Record], version: dict[str, object], mapping: SourceMapping, pointer: str
) -> CanonicalDeal:
    """Raises Untranslatable."""
    stage = _text(raw.get("life_status"))
    status = DealStatus.WON if stage is None or stage in _IN_EFFECT else None
    currency = _text(raw.get("mc_currency"))
    payments = [
        _payment(part, currency, f"{pointer}/{_PARTS}/{index}")
        for index, part in enumerate(parts)
        if not _is_gone(part) and _text(part.get("life_status")) not in _NOT_YET_IN_EFFECT
        if _amount(part.get("payment_amount")) is not None
    ]
    fields: dict[str, object] = {
        "type": "order",
        "external_id": _external_id(ORDER, raw.get("_id")),
        "status": DealStatus.OPEN if stage in _NOT_YET_IN_EFFECT else status,
        "amount": _amount(raw.get("order_amount")),
        "stage": stage,
        "payments": payments,
    }
    return _deal(raw, fields | version, mapping, pointer, day="order_time")


def _deal(raw: Record, fields: Record, mapping: SourceMapping, pointer: str, *, day: str) -> CanonicalDeal:
    """A deal, whose day is when it closed once it has, else when it is expected to. Raises Untranslatable."""
    on = _day(raw.get(day), f"{pointer}/{day}")
    common = {
        "kind": DealKind.DELETED if _is_gone(raw) else DealKind.UPSERTED,
        "owner_external_id": _owner(raw),
        "name": _text(raw.get("name")),
        "currency": _text(raw.get("mc_currency")),
        "created_at": _instant(raw.get("create_time")),
        "expected_close_on": on,
        "closed_on": on,
        "account_id": _text(raw.get("account_id")),
        "account_name": _label(raw, "account_id") if "account_id__r" in raw else None,
        "custom": _custom(raw, mapping),
    }
    deal = canonical_deal({**common, **fields}, raw, mapping, pointer=pointer)
    other = "closed_on" if deal.status in (DealStatus.OPEN, None) else "expected_close_on"
    return deal if other in mapping.fields else deal.model_copy(update={other: None})


def _payment(part: Record, currency: str | None, pointer: str) -> dict[str, object]:
    """Raises Untranslatable."""
    if part.get(_OBJECT) == PAYMENT and len(_order_ids(part)) > 1:
        raise Untranslatable(
            QuarantineReason.INVALID_FIELD,
            f"{pointer}/order_id",
            "is several orders, and no parts say how much of each",
        )
    paid_on = _day(part.get("payment_time"), f"{pointer}/payment_time")
    if paid_on is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/payment_time", "is missing")
    other = _text(part.get("mc_currency"))
    if other is not None and currency is not None and other != currency:
        raise Untranslatable(
            QuarantineReason.INVALID_FIELD, f"{pointer}/mc_currency", "is another currency than the order's"
        )
    return {"paid_on": paid_on, "amount": _amount(part.get("payment_amount"))}


def _activity(raw: Record, version: dict[str, object], mapping: SourceMapping, pointer: str) -> CanonicalActivity:
    """Raises Untranslatable."""
    kind = _label(raw, "active_record_type") or ""
    word = kind.lower()
    related = _related(raw)
    fields = {
        "external_id": _text(raw.get("_id")),
        "is_deleted": _is_gone(raw),
        "type": next(
            (each for each, words in _ACTIVITY_WORDS if any(part in word for part in words)), ActivityType.TASK
        ),
        "owner_external_id": _owner(raw),
        "subject": _text(raw.get("name")),
        "occurred_at": _instant(raw.get("create_time")),
        "outcome": kind or None,
        "deal_external_id": related.get(OPPORTUNITY) or _external_id(ORDER, related.get(ORDER)),
        "account_id": related.get("AccountObj"),
    }
    return canonical_activity({**fields, **version}, mapping, pointer=pointer)


def _related(raw: Record) -> dict[str, str]:
    """The records that an activity is about: one id for each object."""
    found: dict[str, str] = {}
    listed = raw.get("related_object_data")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping):
            name, record_id = _text(each.get("describe_api_name")), _text(each.get("id"))
            if name is not None and record_id is not None:
                found.setdefault(name, record_id)
    named = raw.get("related_object")
    for name, ids in named.items() if isinstance(named, Mapping) else ():
        first = _text(ids[0] if isinstance(ids, list) and ids else ids)
        if first is not None:
            found.setdefault(name, first)
    return found


def _gone(object_name: str, record_id: str, at: datetime, mapping: SourceMapping) -> Sequence[Said]:
    """That a record is no more. Raises Untranslatable."""
    if object_name == ACTIVITY:
        activity = {"external_id": record_id, "modified_at": at, "is_deleted": True, "type": ActivityType.TASK}
        return (canonical_activity(activity, mapping, pointer=""),)
    deal = {"external_id": _external_id(object_name, record_id), "modified_at": at, "kind": DealKind.DELETED}
    return (canonical_deal(deal, {}, mapping, pointer=""),)


def _external_id(object_name: str, record_id: object) -> str | None:
    text = _text(record_id)
    return f"{ORDER}:{text}" if object_name == ORDER and text is not None else text


def _is_gone(raw: Record) -> bool:
    return raw.get("life_status") == _INVALID or raw.get("is_deleted") in (True, "true", "1")


def _parts(raw: Record) -> list[Record]:
    listed = raw.get(_PARTS)
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _owner(raw: Record) -> str | None:
    owner = raw.get("owner")
    return _text(owner[0]) if isinstance(owner, list) and owner else _text(owner)


def _label(raw: Record, name: str) -> str | None:
    """What a field is shown as, where that is told, else its value."""
    shown = raw.get(f"{name}__r")
    if isinstance(shown, Mapping):
        shown = shown.get("name") or shown.get("label")
    return _text(shown) or _text(raw.get(name))


def _custom(raw: Record, mapping: SourceMapping) -> dict[str, object]:
    """Every other field with a plain value, those that are mapped first, no long text."""
    texts: dict[str, object] = {}
    names = sorted(raw.keys() - _KNOWN_FIELDS, key=lambda name: (name not in mapping.custom_fields, name))
    for name in names:
        value = raw[name]
        text = ("true" if value else "false") if isinstance(value, bool) else _text(value)
        if name.startswith("_") or text is None or len(text) > _CUSTOM_CHARACTERS_MAX:
            continue
        if len(name) <= _NAME_CHARACTERS_MAX and len(texts) < CUSTOM_FIELDS_MAX:
            texts[name] = text
    return texts


def _amount(value: object) -> object:
    """As it is: a number in a text. None for an empty one."""
    return None if value == "" else value


def _text(value: object) -> str | None:
    """A text, or a number as one; None for anything else and for nothing."""
    text = text_of(value)
    return text if isinstance(text, str) and text else None


def _whole(value: object) -> int | None:
    """A whole number that is not negative, also as digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _instant(value: object) -> datetime | None:
    """The moment of milliseconds since 1970; None for anything else."""
    milliseconds = _whole(value)
    if milliseconds is None or milliseconds > _MILLISECONDS_MAX:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _day(value: object, pointer: str) -> date | None:
    """The day in China at milliseconds since 1970. Raises Untranslatable."""
    if value is None or value == "":
        return None
    moment = _instant(value)
    if moment is None:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time in milliseconds")
    return moment.astimezone(_CHINA).date()


def _milliseconds(moment: datetime) -> str:
    return str((moment - _EPOCH) // timedelta(milliseconds=1))


def _document_or_empty(body: bytes) -> Record:
    try:
        return read_document(body)
    except Untranslatable:
        return {}


def _signed_text(envelope: Record) -> str | None:
    """What is signed, but for the key at its end; None where a part is missing."""
    parts: list[str] = []
    for name in ("timestamp", "nonce", "messageId", "retryTimes", "enterpriseAccount", "encryptedContent"):
        value = envelope.get(name)
        if name == "retryTimes" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        parts.append(str(value))
    return "".join(parts)


def _signing_secret(signed: str, signature: str, terms: Terms) -> str | None:
    """The secret that a text is signed with; each is tried, whichever it is."""
    given = signature.lower().encode()
    matching = [secret for secret in terms.secrets if hmac.compare_digest(_sha1(f"{signed}{secret}").encode(), given)]
    return matching[0] if matching else None


def _secret_of(envelope: Record, terms: Terms) -> str | None:
    signature, signed = envelope.get("signature"), _signed_text(envelope)
    if signed is None or not isinstance(signature, str):
        return None
    return _signing_secret(signed, signature, terms)


def _sha1(text: str) -> str:
    # The source signs so; the key at the end keeps its weakness from mattering to a forger.
    return sha1(text.encode("utf-8", "surrogatepass")).hexdigest()  # noqa: S324


def _key(secret: str) -> bytes | None:
    """The bytes of a key; None for what is not one."""
    try:
        key = b64decode(secret.encode("ascii"), validate=True)
    except (Base64Error, UnicodeEncodeError):
        return None
    return key if len(key) == _KEY_BYTES else None


def _cipher(secret: str) -> Cipher[CBC] | None:
    key = _key(secret)
    return None if key is None else Cipher(AES(key), CBC(key[:_BLOCK_BYTES]))


def _decrypted(encrypted: object, secret: str) -> bytes | None:
    """What was encrypted with a key; None where it was not."""
    cipher = _cipher(secret)
    if cipher is None or not isinstance(encrypted, str):
        return None
    unpadder = PKCS7(_BLOCK_BYTES * 8).unpadder()
    decryptor = cipher.decryptor()
    try:
        padded = decryptor.update(b64decode(encrypted, validate=True)) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        return None


def _encrypted(data: bytes, secret: str) -> bytes:
    cipher = _cipher(secret)
    if cipher is None:
        return b""
    padder = PKCS7(_BLOCK_BYTES * 8).padder()
    encryptor = cipher.encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def _known(credentials: ApiCredentials) -> FxiaokeCredentials:
    if not isinstance(credentials, FxiaokeCredentials):
        raise UnexpectedAnswer("the credentials are not of Fxiaoke")
    return credentials


def _document(answer: Answer) -> Record:
    """The JSON object of an answer. Raises UnexpectedAnswer."""
    try:
        return read_document(answer.body)
    except Untranslatable as error:
        raise UnexpectedAnswer(error.detail) from error


def _code(document: Record) -> int | None:
    code = document.get("errorCode")
    if isinstance(code, str) and re.fullmatch(r"-?[0-9]{1,9}", code):
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _message(document: Record) -> str:
    return _text(document.get("errorMessage")) or _text(document.get("errorDescription")) or "no errorMessage"


def _is_about_record(call: Call, document: Record) -> bool:
    """Whether a refusal to give one record is about that record, and not about the access to it.

    The source documents no code for a record that is not there. Taken for one is only what is no general code and does
    not speak of a missing right: else a right taken away would delete every deal.
    """
    code = _code(document)
    if call.endpoint != _GET_PATH or code is None or code <= _GENERAL_MAX or code in _GENERAL:
        return False
    return _NO_RIGHT not in _message(document)


def _filter(name: str, operator: str, *values: str) -> dict[str, JsonValue]:
    return {"field_name": name, "field_values": list(values), "operator": operator}


def _queried(
    credentials: FxiaokeCredentials,
    object_name: str,
    filters: Sequence[dict[str, JsonValue]],
    *,
    limit: int = _PAGE_RECORDS,
    is_counted: bool = False,
) -> Conversation[Record]:
    """What a query gives, in the order of `_id`."""
    answer = yield Call(
        "POST",
        f"{credentials.api_url}{_QUERY_PATH}",
        json={
            "data": {
                "dataObjectApiName": object_name,
                "find_explicit_total_num": is_counted,
                "search_query_info": {
                    "limit": limit,
                    "offset": 0,
                    "filters": list(filters),
                    "orders": [{"fieldName": "_id", "isAsc": True}],
                },
            }
        },
        endpoint=_QUERY_PATH,
    )
    data = _document(answer).get("data")
    if not isinstance(data, Mapping):
        raise UnexpectedAnswer("data is not an object")
    return data


def _rows(data: Record) -> list[Record]:
    """The records of a query. Raises UnexpectedAnswer."""
    listed = data.get("dataList", [data] if "_id" in data else [])
    if not isinstance(listed, list):
        raise UnexpectedAnswer("data/dataList is not a list")
    rows = [row for row in listed if isinstance(row, Mapping) and isinstance(row.get("_id"), str)]
    if len(rows) < len(listed):
        raise UnexpectedAnswer("data/dataList has a record without an _id")
    return rows


def _every(
    credentials: FxiaokeCredentials, object_name: str, filters: Sequence[dict[str, JsonValue]]
) -> Conversation[list[Record]]:
    """All records that pass the filters."""
    found: list[Record] = []
    after: list[dict[str, JsonValue]] = []
    while True:
        data = yield from _queried(credentials, object_name, [*filters, *after])
        rows = _rows(data)
        found += rows
        if len(rows) < _PAGE_RECORDS:
            return found
        after = [_filter("_id", "GT", str(rows[-1]["_id"]))]


def _walked(
    credentials: FxiaokeCredentials,
    walked: Sequence[str],
    filters: Sequence[dict[str, JsonValue]],
    cursor: str | None,
) -> Conversation[tuple[str | None, list[Record], str | None]]:
    """The next page of a walk over objects: which one, its records, and where to go on."""
    if not walked:
        return None, [], None
    object_name, _, last = (cursor or walked[0]).partition("|")
    if object_name not in walked:
        raise UnexpectedAnswer("the cursor is not one of this walk")
    after = [_filter("_id", "GT", last)] if last else []
    data = yield from _queried(credentials, object_name, [*filters, *after])
    rows = _rows(data)
    if len(rows) == _PAGE_RECORDS:
        return object_name, rows, f"{object_name}|{rows[-1]['_id']}"
    following = list(walked).index(object_name) + 1
    return object_name, rows, walked[following] if following < len(walked) else None


def _by_ids(credentials: FxiaokeCredentials, object_name: str, ids: Sequence[str]) -> Conversation[list[Record]]:
    """The records of these ids that there are. What a query leaves out, as it may the invalid, is asked for alone."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return []
    data = yield from _queried(credentials, object_name, [_filter("_id", "IN", *wanted)])
    rows = [row for row in _rows(data) if row["_id"] in set(wanted)]
    found = {row["_id"] for row in rows}
    for each in wanted:
        if each in found:
            continue
        answer = yield Call(
            "POST",
            f"{credentials.api_url}{_GET_PATH}",
            json={"data": {"dataObjectApiName": object_name, "objectDataId": each}},
            endpoint=_GET_PATH,
        )
        document = _document(answer)
        record = document.get("data") if _code(document) == _OK else None
        if isinstance(record, Mapping) and record.get("_id") == each:
            rows.append(record)
    return rows


def _whole_records(
    credentials: FxiaokeCredentials, object_name: str, rows: Sequence[Record]
) -> Conversation[RecordPage]:
    """Records with their parts; of parts, the orders that they are of."""
    if object_name in _PAYMENTS:
        order_ids = yield from _orders_of(credentials, object_name, rows)
        orders: list[Record] = []
        for start in range(0, len(order_ids), _PAGE_RECORDS):
            orders += yield from _by_ids(credentials, ORDER, order_ids[start : start + _PAGE_RECORDS])
        found = {order["_id"] for order in orders}
        gone = [Gone(ORDER, each) for each in order_ids if each not in found]
        page = yield from _whole_records(credentials, ORDER, orders)
        return replace(page, gone=[*gone, *page.gone])
    paid: dict[str, list[Record]] = {}
    if object_name == ORDER and rows:
        paid = yield from _paid(credentials, [str(row["_id"]) for row in rows])
    return RecordPage(
        [
            RawRecord(
                object_name,
                str(row["_id"]),
                {**row, _PARTS: paid.get(str(row["_id"]), [])} if object_name == ORDER else row,
            )
            for row in rows
        ]
    )


def _orders_of(credentials: FxiaokeCredentials, object_name: str, rows: Sequence[Record]) -> Conversation[list[str]]:
    """The ids of the orders that payments are of; those of a payment that is divided stand in its parts."""
    named = [each for row in rows for each in _order_ids(row)]
    if object_name == PAYMENT and rows and ORDER_PAYMENT in credentials.objects:
        for start in range(0, len(rows), _PAGE_RECORDS):
            ids = [str(row["_id"]) for row in rows[start : start + _PAGE_RECORDS]]
            parts = yield from _every(credentials, ORDER_PAYMENT, [_filter("payment_id", "IN", *ids)])
            named += [each for part in parts for each in _order_ids(part)]
    return list(dict.fromkeys(named))


def _order_ids(row: Record) -> list[str]:
    value = row.get("order_id")
    return [text for each in (value if isinstance(value, list) else [value]) if (text := _text(each)) is not None]


def _paid(credentials: FxiaokeCredentials, order_ids: Sequence[str]) -> Conversation[dict[str, list[Record]]]:
    """What was paid for each of at most a hundred orders, each sum once.

    A payment that is divided among orders counts by its parts, one without parts as a whole.
    """
    found: dict[str, list[Record]] = {}
    divided: set[str] = set()
    unlinked: set[str] = set()
    of_these = [_filter("order_id", "IN", *order_ids)]
    if ORDER_PAYMENT in credentials.objects:
        parts = yield from _every(credentials, ORDER_PAYMENT, of_these)
        for part in parts:
            payment_id = _text(part.get("payment_id"))
            for order_id in _order_ids(part):
                found.setdefault(order_id, []).append({**part, _OBJECT: ORDER_PAYMENT})
                if payment_id is None:
                    unlinked.add(order_id)
            if payment_id is not None:
                divided.add(payment_id)
    if PAYMENT in credentials.objects:
        payments = yield from _every(credentials, PAYMENT, of_these)
        divided |= yield from _divided(credentials, [row for row in payments if row["_id"] not in divided])
        for payment in payments:
            if payment["_id"] not in divided:
                for order_id in set(_order_ids(payment)) - unlinked:
                    found.setdefault(order_id, []).append({**payment, _OBJECT: PAYMENT})
    return found


def _divided(credentials: FxiaokeCredentials, payments: Sequence[Record]) -> Conversation[set[str]]:
    """The ids of the payments that have parts, of whichever orders."""
    found: set[str] = set()
    if ORDER_PAYMENT in credentials.objects:
        for start in range(0, len(payments), _PAGE_RECORDS):
            ids = [str(row["_id"]) for row in payments[start : start + _PAGE_RECORDS]]
            parts = yield from _every(credentials, ORDER_PAYMENT, [_filter("payment_id", "IN", *ids)])
            found |= {text for part in parts if (text := _text(part.get("payment_id"))) is not None}
    return found
