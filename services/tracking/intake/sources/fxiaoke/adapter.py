"""纷享销客 Fxiaoke: event callbacks, signed and encrypted, which name records.

Opportunities (`NewOpportunityObj`) and sales orders (`SalesOrderObj`) are deals both, distinguished by their `type`,
`opportunity` or `order`: a goal that counts both counts a sale twice. An opportunity's external id is its own, an
order's is `SalesOrderObj:` and its own. An order in effect is won; what was paid for it (`OrderPaymentObj`, and
`PaymentObj` where it is not divided among orders) are its payments, and what was invoiced of it
(`InvoiceApplicationObj`) are its invoices where the mapping names their fields. What somebody did (`ActiveRecordObj`)
is an activity.

Days come as milliseconds of a midnight in China, which is where they are read.
"""

import hmac
import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from hashlib import sha1
from typing import ClassVar, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from typing_extensions import override

from services.tracking.intake.sources.adapter import (
    Adapter,
    Fetch,
    PassedOver,
    Reply,
    Request,
    SeenUser,
    SenderRules,
    Statement,
    dated,
    digest,
    read_document,
    read_document_or_empty,
)
from services.tracking.intake.sources.canonical import (
    CanonicalActivity,
    CanonicalDeal,
    TeamMember,
    canonical_activity,
    canonical_deal,
    product_line,
)
from services.tracking.intake.sources.domain import (
    InvalidSecret,
    QuarantineReason,
    Rejection,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.fxiaoke.api import (
    ACTIVITY,
    BELONGING,
    INVOICES,
    LINES,
    OBJECTS,
    OPPORTUNITY,
    ORDER,
    PART_OBJECT,
    PARTS,
    PAYMENT,
    FxiaokeApi,
    Record,
    ids_in,
    is_gone,
)
from services.tracking.intake.sources.source_api import FetchedRecord, GoneRecord
from services.tracking.intake.sources.values import custom_texts, text_or_number
from shared.kernel.activities import ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError
from shared.kernel.reading import read_unix_milliseconds

_UNMODIFYING: Final = ("invalid", "recover", "delete")
"""What changes a record without a modification of its own."""
_CHINA: Final = timezone(timedelta(hours=8))
"""All year round."""
_OBJECT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TOLERANCE_MS: Final = 900_000
"""How old or early the signed time of a callback may be. Each sending has its own, some minutes after the change."""
_SIGNED_PARTS: Final = {
    "timestamp": re.compile(r"[0-9]{13}", re.ASCII),
    "nonce": re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII),
    "messageId": re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII),
    "retryTimes": re.compile(r"[0-9]{1,4}", re.ASCII),
    "enterpriseAccount": re.compile(r"[A-Za-z0-9_.@-]{1,100}", re.ASCII),
    "encryptedContent": re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)"),
}
"""The parts of a callback that are signed, in their order, and their forms."""
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
    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        envelope = read_document_or_empty(request.body)
        signature = envelope.get("signature")
        signed = _signed_text(envelope)
        if signed is None or not isinstance(signature, str) or not signature.isascii():
            return Rejection.HEADERS
        if abs(int(str(envelope["timestamp"])) - now_seconds * 1000) > _TOLERANCE_MS:
            return Rejection.TIMESTAMP
        secret = _signing_secret(signed, signature, rules)
        if secret is None or not _names_its_message(envelope, secret):
            return Rejection.SIGNATURE
        is_allowed = rules.allows("enterprise_account", envelope.get("enterpriseAccount"))
        return None if is_allowed else Rejection.NOT_ALLOWED

    @override
    def dedupe_key(self, request: Request) -> str:
        message_id = read_document_or_empty(request.body).get("messageId")
        if isinstance(message_id, str) and message_id:
            return f"message:{message_id}"
        return f"body:{digest(request.body)}"

    @override
    def body_to_store(self, request: Request, rules: SenderRules) -> bytes:
        """The content decrypted, so that it reads after a rotation; the envelope where that cannot be done."""
        envelope = read_document_or_empty(request.body)
        secret = _secret_of(envelope, rules)
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
    def reply(self, request: Request, rules: SenderRules, *, now_ms: int, entropy: Callable[[int], bytes]) -> Reply:
        secret = _secret_of(read_document_or_empty(request.body), rules)
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
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        event = read_document(body)
        if "encryptedContent" in event:
            raise Untranslatable(
                QuarantineReason.INVALID_FIELD,
                "/encryptedContent",
                "was signed with the connection's key but is not a JSON object encrypted with it",
            )
        object_name = event.get("apiName")
        if not isinstance(object_name, str) or not _OBJECT_NAME.fullmatch(object_name):
            raise Untranslatable(
                QuarantineReason.UNKNOWN_TYPE, "/apiName", f"names no object of Fxiaoke, such as {OPPORTUNITY}"
            )
        if object_name not in OBJECTS:
            return (PassedOver(object_name),)
        data_id, kind = event.get("dataId"), event.get("eventType")
        if not isinstance(data_id, str) or not _ID.fullmatch(data_id):
            raise Untranslatable(QuarantineReason.INVALID_FIELD, "/dataId", "is not the id of a record")
        if not isinstance(kind, str) or not kind:
            raise Untranslatable(QuarantineReason.MISSING_FIELD, "/eventType", "is missing")
        if not kind.lower().startswith(_UNMODIFYING):
            return (Fetch(object_name, data_id),)
        at = read_unix_milliseconds(event.get("timestamp"))
        if at is None:
            raise Untranslatable(QuarantineReason.INVALID_FIELD, "/timestamp", "is not a time in milliseconds")
        if kind.lower().startswith("delete") and object_name not in BELONGING:
            return _gone(object_name, data_id, at, mapping)
        return (Fetch(object_name, data_id, floor=at),)

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        raw = record.raw
        parts = _parts(raw, PARTS)
        belonging = (raw, *parts, *_parts(raw, LINES), *_parts(raw, INVOICES))
        times = [read_unix_milliseconds(each.get("last_modified_time")) for each in belonging]
        if times[0] is None:
            raise Untranslatable(
                QuarantineReason.MISSING_FIELD, f"{pointer}/last_modified_time", "is not a time in milliseconds"
            )
        # What belongs to a deal changes it, although it leaves the deal's own time as it was.
        version = dated(record, max(time for time in times if time is not None))
        statements: list[Statement] = []
        match record.object_name:
            case "NewOpportunityObj":
                statements.append(_opportunity(raw, version, mapping, pointer))
            case "SalesOrderObj":
                statements.append(_order(raw, parts, version, mapping, pointer))
            case "ActiveRecordObj":
                statements.append(_activity(raw, version, mapping, pointer))
            case _:
                raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, "is no deal and no activity")
        owner, label = _owner(raw), raw.get("owner__r")
        if owner is not None:
            name = label.get("name") if isinstance(label, Mapping) else label
            statements.append(SeenUser(owner, text_or_number(name), None))
        return statements

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Statement]:
        return () if gone.object_name in BELONGING else _gone(gone.object_name, gone.external_id, gone.at, mapping)


def _opportunity(raw: Record, version: dict[str, object], mapping: SourceMapping, pointer: str) -> CanonicalDeal:
    """Raises Untranslatable."""
    stage = text_or_number(raw.get("sales_stage__r"))
    code = text_or_number(raw.get("sales_stage"))
    status = _SALES_STATUSES.get(text_or_number(raw.get("sales_status")) or "")
    status = mapping.status_of(code, status)
    fields: dict[str, object] = {
        "type": "opportunity",
        "external_id": text_or_number(raw.get("_id")),
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
    stage = text_or_number(raw.get("life_status"))
    status = DealStatus.WON if stage is None or stage in _IN_EFFECT else None
    currency = text_or_number(raw.get("mc_currency"))
    payments = [
        _payment(part, currency, f"{pointer}/{PARTS}/{index}")
        for index, part in enumerate(parts)
        if _is_in_effect(part)
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
    if INVOICES in raw:
        raw = {**raw, INVOICES: [each for each in _parts(raw, INVOICES) if _is_in_effect(each)]}
    return _deal(raw, fields | version, mapping, pointer, day="order_time")


def _is_in_effect(part: Record) -> bool:
    return not is_gone(part) and text_or_number(part.get("life_status")) not in _NOT_YET_IN_EFFECT


def _deal(raw: Record, fields: Record, mapping: SourceMapping, pointer: str, *, day: str) -> CanonicalDeal:
    """A deal, whose day is when it closed once it has, else when it is expected to. Raises Untranslatable."""
    on = _day(raw.get(day), f"{pointer}/{day}")
    common = {
        "kind": DealKind.DELETED if is_gone(raw) else DealKind.UPSERTED,
        "owner_external_id": _owner(raw),
        "products": list(_products(raw)),
        "name": text_or_number(raw.get("name")),
        "currency": text_or_number(raw.get("mc_currency")),
        "created_at": read_unix_milliseconds(raw.get("create_time")),
        "expected_close_on": on,
        "closed_on": on,
        "account_id": text_or_number(raw.get("account_id")),
        "account_name": _label(raw, "account_id") if "account_id__r" in raw else None,
        "custom": _custom(raw, mapping),
    }
    deal = canonical_deal(
        {**common, **fields},
        raw,
        mapping,
        pointer=pointer,
        team=list(_team(raw)),
        owner_teams=[*_texts(raw.get("owner_department")), *_texts(raw.get("data_own_department"))],
    )
    other = "closed_on" if deal.status in (DealStatus.OPEN, None) else "expected_close_on"
    return deal if other in mapping.fields else deal.model_copy(update={other: None})


def _payment(part: Record, currency: str | None, pointer: str) -> dict[str, object]:
    """Raises Untranslatable."""
    if part.get(PART_OBJECT) == PAYMENT and len(ids_in(part, "order_id")) > 1:
        raise Untranslatable(
            QuarantineReason.INVALID_FIELD,
            f"{pointer}/order_id",
            "is several orders, and no parts say how much of each",
        )
    paid_on = _day(part.get("payment_time"), f"{pointer}/payment_time")
    if paid_on is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/payment_time", "is missing")
    other = text_or_number(part.get("mc_currency"))
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
        "external_id": text_or_number(raw.get("_id")),
        "is_deleted": is_gone(raw),
        "type": next(
            (each for each, words in _ACTIVITY_WORDS if any(part in word for part in words)), ActivityType.TASK
        ),
        "owner_external_id": _owner(raw),
        "subject": text_or_number(raw.get("name")),
        "occurred_at": read_unix_milliseconds(raw.get("create_time")),
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
            name, record_id = text_or_number(each.get("describe_api_name")), text_or_number(each.get("id"))
            if name is not None and record_id is not None:
                found.setdefault(name, record_id)
    named = raw.get("related_object")
    for name, ids in named.items() if isinstance(named, Mapping) else ():
        first = text_or_number(ids[0] if isinstance(ids, list) and ids else ids)
        if first is not None:
            found.setdefault(name, first)
    return found


def _gone(object_name: str, record_id: str, at: datetime, mapping: SourceMapping) -> Sequence[Statement]:
    """That a record is no more. Raises Untranslatable."""
    if object_name == ACTIVITY:
        activity = {"external_id": record_id, "modified_at": at, "is_deleted": True, "type": ActivityType.TASK}
        return (canonical_activity(activity, mapping, pointer=""),)
    deal = {"external_id": _external_id(object_name, record_id), "modified_at": at, "kind": DealKind.DELETED}
    return (canonical_deal(deal, {}, mapping, pointer=""),)


def _external_id(object_name: str, record_id: object) -> str | None:
    text = text_or_number(record_id)
    return f"{ORDER}:{text}" if object_name == ORDER and text is not None else text


def _products(raw: Record) -> Iterator[dict[str, object]]:
    for line in _parts(raw, LINES):
        if not is_gone(line):
            amount = line.get("subtotal", line.get("total_amount"))
            yield product_line(line.get("product_id") or line.get("_id"), line.get("quantity"), amount)


def _parts(raw: Record, name: str) -> list[Record]:
    listed = raw.get(name)
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _owner(raw: Record) -> str | None:
    owner = raw.get("owner")
    return text_or_number(owner[0]) if isinstance(owner, list) and owner else text_or_number(owner)


def _team(raw: Record) -> Iterator[TeamMember]:
    """The members of a record's team and their roles, the owner's among them."""
    team = raw.get("relevant_team")
    for each in team if isinstance(team, list) else ():
        role = text_or_number(each.get("teamMemberRole")) if isinstance(each, Mapping) else None
        if role is not None:
            yield from (TeamMember(user, role) for user in _texts(each.get("teamMemberEmployee")))


def _texts(value: object) -> list[str]:
    """A text, or those of a list."""
    listed = value if isinstance(value, list) else [value]
    return [text for each in listed if (text := text_or_number(each)) is not None]


def _label(raw: Record, name: str) -> str | None:
    """What a field is shown as, where that is stated, else its value."""
    shown = raw.get(f"{name}__r")
    if isinstance(shown, Mapping):
        shown = shown.get("name") or shown.get("label")
    return text_or_number(shown) or text_or_number(raw.get(name))


def _custom(raw: Record, mapping: SourceMapping) -> dict[str, object]:
    """Every other field with a plain value."""
    others = {name: value for name, value in raw.items() if name not in _KNOWN_FIELDS and not name.startswith("_")}
    return custom_texts(others, mapping)


def _amount(value: object) -> object:
    """As it is: a number in a text. None for an empty one."""
    return None if value == "" else value


def _day(value: object, pointer: str) -> date | None:
    """The day in China at milliseconds since 1970. Raises Untranslatable."""
    if value is None or value == "":
        return None
    moment = read_unix_milliseconds(value)
    if moment is None:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time in milliseconds")
    return moment.astimezone(_CHINA).date()


def _signed_text(envelope: Record) -> str | None:
    """What is signed, but for the key at its end; None where a part is missing, or is not of its form."""
    parts: list[str] = []
    for name, form in _SIGNED_PARTS.items():
        value = envelope.get(name)
        if name == "retryTimes" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int) or not form.fullmatch(str(value)):
            return None
        parts.append(str(value))
    return "".join(parts)


def _names_its_message(envelope: Record, secret: str) -> bool:
    """Whether a callback goes by the name of the message that is encrypted in it, where that has one.

    What is signed is joined without anything in between, so that the same signature fits other parts of the same
    letters; what is encrypted cannot be changed without the key.
    """
    content = _decrypted(envelope.get("encryptedContent"), secret)
    named = None if content is None else read_document_or_empty(content).get("messageId")
    return named is None or named == envelope.get("messageId")


def _signing_secret(signed: str, signature: str, rules: SenderRules) -> str | None:
    """The secret that a text is signed with; each is tried, whichever it is."""
    given = signature.lower().encode()
    matching = [secret for secret in rules.secrets if hmac.compare_digest(_sha1(f"{signed}{secret}").encode(), given)]
    return matching[0] if matching else None


def _secret_of(envelope: Record, rules: SenderRules) -> str | None:
    signature, signed = envelope.get("signature"), _signed_text(envelope)
    if signed is None or not isinstance(signature, str):
        return None
    return _signing_secret(signed, signature, rules)


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
