"""What the inbox needs of a source, and the reading of bodies that sources share."""

import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import ClassVar, Final, NamedTuple, NoReturn, Protocol, TypeVar

from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal, canonical_deal
from services.tracking.intake.sources.domain import (
    QuarantineReason,
    RecordChange,
    Rejection,
    Remark,
    Source,
    SourceMapping,
    Untranslatable,
)
from services.tracking.intake.sources.source_api import (
    Answer,
    AnySourceApi,
    FetchedRecord,
    GoneRecord,
    UnexpectedAnswer,
)
from shared.kernel.deals import DealKind
from shared.kernel.text import composed

NESTING_LEVELS_MAX: Final = 64
"""Of objects and lists in a document; no source nests a dozen."""

Headers = Mapping[bytes, bytes]
"""Lower-case names."""


class Request(NamedTuple):
    """One delivery as it came over HTTP."""

    method: str
    base_url: str
    """The public address of this service, without a slash at the end: what the sender calls, whatever proxies do."""
    target: str
    """Path and query as they were in the request, still percent-encoded."""
    trail: str
    """What of the path follows the connection, decoded; empty for most sources."""
    headers: Headers
    body: bytes


class SenderRules(NamedTuple):
    """What a connection expects of its sender: the secrets that are valid, and the values it allows by their names."""

    secrets: Sequence[str]
    allowed: Mapping[str, frozenset[str]] = {}

    def allows(self, name: str, value: object) -> bool:
        """Whether a value may come from this sender. What is not restricted allows everything."""
        values = self.allowed.get(name)
        return values is None or composed(str(value)) in values

    def knows(self, secret: bytes) -> bool:
        """Whether it is a secret that is valid. How long this takes reveals nothing about any of them."""
        matches = [hmac.compare_digest(secret, each.encode()) for each in self.secrets]
        return any(matches)


class Reply(NamedTuple):
    """What a sender is answered once its delivery is stored."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Fetch:
    """A record that a delivery only names: it is fetched over the source's API."""

    object_name: str
    external_id: str
    floor: datetime | None = None
    """The record is to be dated no earlier: for a change that leaves the record's own modified time as it was."""
    otherwise: Untranslatable | None = field(default=None, compare=False)
    """What is wrong with the delivery where the record cannot be fetched; None where it just names the record."""


@dataclass(frozen=True, slots=True)
class SeenUser:
    """A user of the source that a delivery states something of."""

    external_id: str
    name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """That something is about what is no record here, by the name the source has for it, such as `Account`."""

    what: str


Statement = CanonicalDeal | CanonicalActivity | RecordChange | Fetch | SeenUser | PassedOver | Remark | Untranslatable
"""One thing that a delivery states, or why one of several records in it cannot be translated."""


class Adapter(Protocol):
    """How one kind of source proves itself, identifies its deliveries and states deals. All of it is pure."""

    source: ClassVar[Source]
    accepted_status: ClassVar[int] = 200
    """What the source is answered once its delivery is stored."""
    allow_keys: ClassVar[Mapping[str, bool]] = {}
    """What a connection may restrict its sender to, by name, and whether it has to."""
    api: ClassVar[AnySourceApi | None] = None
    """How the source is called; None where it sends all there is."""
    merges_records: ClassVar[bool] = False
    """Whether it states `RecordChange`. Then what its API gives is merged too, as a change of all fields."""

    def new_secret(self, entropy: bytes) -> str:
        """A secret of the form the source works with, out of 32 random bytes."""
        ...

    def check_secret(self, value: str) -> None:
        """Raises InvalidSecret unless the source could work with this secret."""
        ...

    def verify(self, request: Request, rules: SenderRules, *, now_seconds: int) -> Rejection | None:
        """Why the delivery is not from the sender of the rules; None when it is."""
        ...

    def dedupe_key(self, request: Request) -> str:
        """The same for every sending of the same delivery, of any length."""
        ...

    def body_to_store(self, request: Request, rules: SenderRules) -> bytes:
        """The body to store: without what may not be stored, and readable once the secret is another one."""
        return request.body

    def reply(self, request: Request, rules: SenderRules, *, now_ms: int, entropy: Callable[[int], bytes]) -> Reply:
        """What to answer a delivery that is stored. `entropy` gives that many random bytes."""
        return Reply(self.accepted_status)

    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        """What a stored body states, where it has several records with why any of them cannot be translated.

        Raises Untranslatable for a body that states nothing else.
        """
        ...

    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        """What a record from the source's API, or one put together from its changes, states. Raises Untranslatable.

        `pointer` is to the record in the body, for what is wrong with it. A record that was put together is as new as
        its floor.
        """
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, "the source has no records to fetch")

    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Statement]:
        """What it states that a record is no more. Raises Untranslatable."""
        fields = {"external_id": gone.external_id, "kind": DealKind.DELETED, "modified_at": gone.at}
        return (canonical_deal(fields, {}, SourceMapping(), pointer="/gone"),)


PartT = TypeVar("PartT")


def statements_of_each(parts: Iterable[PartT], say: Callable[[PartT], Iterable[Statement]]) -> list[Statement]:
    """What each of a delivery's records states: one that cannot be translated stops no other.

    Raises Untranslatable where there is just one.
    """
    listed = list(parts)
    if len(listed) == 1:
        return list(say(listed[0]))
    statements: list[Statement] = []
    for part in listed:
        try:
            statements += list(say(part))
        except Untranslatable as problem:
            statements.append(problem)
        except Exception as error:
            statements.append(unforeseen(error))
    return statements


def unforeseen(error: Exception) -> Untranslatable:
    """That an adapter failed in a way it does not foresee; the cause is for the log."""
    problem = Untranslatable(QuarantineReason.ADAPTER_FAILED, "", type(error).__name__)
    problem.__cause__ = error
    return problem


def dated(record: FetchedRecord, modified_at: datetime) -> dict[str, object]:
    """The version of a record: modified when it states, no earlier than its floor; among equals the last fetched."""
    floor = record.floor
    return {
        "modified_at": modified_at if floor is None else max(modified_at, floor),
        "sequence": int(record.fetched_at.timestamp() * 1000) if record.sequence is None else record.sequence,
    }


def digest(data: bytes) -> str:
    """What to call bytes that have no name of their own: the same for the same bytes."""
    return sha256(data).hexdigest()


def read_json(body: bytes) -> object:
    """JSON in UTF-8, its numbers with a fraction as exact decimals. Raises Untranslatable.

    Refused are also NaN and infinities, exponents that no decimal has, more than `NESTING_LEVELS_MAX` levels of objects
    and lists, so that whoever walks a document can recurse, and the NUL character, which no text of ours can have. Lone
    surrogates are left in where they are escaped: the canonical records refuse them, and whoever encodes a text before
    has to allow for them.
    """
    try:
        text = body.decode("utf-8-sig")
        document: object = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Untranslatable(QuarantineReason.NOT_JSON, "", str(error)) from error
    except InvalidOperation as error:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, "", "a number has too large an exponent") from error
    # Few bodies have that many brackets at all, however they are nested.
    if body.count(b"{") + body.count(b"[") > NESTING_LEVELS_MAX and _is_nested_deeper(document, NESTING_LEVELS_MAX):
        detail = f"is nested deeper than {NESTING_LEVELS_MAX} levels"
        raise Untranslatable(QuarantineReason.INVALID_FIELD, "", detail)
    if _NUL_ESCAPE in body and _contains_nul(document):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, "", "a text has the NUL character")
    return document


def read_document(body: bytes) -> Mapping[str, object]:
    """A JSON object, as `read_json` reads it. Raises Untranslatable."""
    document = read_json(body)
    if not isinstance(document, dict):
        raise Untranslatable(QuarantineReason.NOT_JSON, "", "the body is not a JSON object")
    return document


def read_document_or_empty(body: bytes) -> Mapping[str, object]:
    """A JSON object, as `read_json` reads it; one without members for anything else."""
    try:
        return read_document(body)
    except Untranslatable:
        return {}


def read_answer(answer: Answer) -> Mapping[str, object]:
    """The JSON object that a source's API answered, as `read_json` reads it. Raises UnexpectedAnswer."""
    try:
        return read_document(answer.body)
    except Untranslatable as error:
        raise UnexpectedAnswer(f"the answer is not a JSON object: {error.detail}") from error


def member(document: Mapping[str, object], name: str, *, pointer: str = "") -> Mapping[str, object]:
    """The object under a name. Raises Untranslatable."""
    value = document.get(name)
    if isinstance(value, dict):
        return value
    reason = QuarantineReason.MISSING_FIELD if value is None else QuarantineReason.INVALID_FIELD
    raise Untranslatable(reason, f"{pointer}/{name}", "is not an object")


def _is_nested_deeper(document: object, levels: int) -> bool:
    level = [document]
    for _ in range(levels + 1):
        dicts = [part for part in level if isinstance(part, dict)]
        lists = [part for part in level if isinstance(part, list)]
        if not dicts and not lists:
            return False
        level = [*(each for part in dicts for each in part.values()), *(each for part in lists for each in part)]
    return True


_NUL_ESCAPE: Final = b"\\u0000"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _contains_nul(value: object) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_contains_nul(part) for item in value.items() for part in item)
        case list():
            return any(_contains_nul(item) for item in value)
        case _:
            return False
