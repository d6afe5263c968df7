"""Zoho CRM: watch notifications, which name records, workflow webhooks, which carry what an admin mapped, and its API.

One connection takes both: a body with a `channel_id` is a notification. A notification is proven by the `token` its
channel was opened with, a workflow webhook by the same secret in the header `X-Attain-Secret`, in the query parameter
`secret` or in the body's member `secret`; neither member is kept.

A workflow webhook is to send this, any further field of the deal under its API name:

    {"event": "deal.updated", "secret": "…", "id": "${Deals.Deal Id}", "Deal_Name": "${Deals.Deal Name}",
     "Amount": "${Deals.Amount}", "Stage": "${Deals.Stage}", "Closing_Date": "${Deals.Closing Date}",
     "Owner": "${Deals.Deal Owner}", "Modified_Time": "${Deals.Modified Time}", "Currency": "${Deals.Currency}"}

Its texts are in a user's locale. What can be read in two ways is not read at all: then the deal is asked for, and
without access to the API the delivery is put in quarantine. An admin makes them plain by three more members, typed as
they are: `"decimal_separator": ","`, `"date_format": "dd/MM/yyyy"` (or `MM/dd/yyyy`) and `"time_zone": "Asia/Kolkata"`.

Zoho's times have whole seconds. Among states of one second the last fetched is the newest; a deletion comes after all.
"""

import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from hashlib import sha256
from typing import Annotated, ClassVar, Final, Literal, NamedTuple
from urllib.parse import parse_qs

from pydantic import Field, JsonValue, StringConstraints
from typing_extensions import override

from services.tracking.crm.adapter import Adapter, Fetch, Request, Said, SeenUser, Terms, dated, read_document
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
from services.tracking.crm.locale_texts import DAY_FIRST, MONTH_FIRST, Unreadable, amount_of, day_of, moment_of
from services.tracking.crm.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Channel,
    ChannelTerms,
    Conversation,
    FetchedRecord,
    Gone,
    GoneRecord,
    Judgement,
    RawRecord,
    RecordPage,
    SourceApi,
    Token,
    UnexpectedAnswer,
    UserPage,
    Verdict,
)
from shared.contracts.base import Currency
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealKind, DealStatus
from shared.kernel.errors import FieldError
from shared.kernel.money import AMOUNT_DECIMALS_MAX

_DEALS: Final = "Deals"
_ACTIVITIES: Final = {"Calls": ActivityType.CALL, "Events": ActivityType.MEETING, "Tasks": ActivityType.TASK}
_MODULES: Final = (_DEALS, *_ACTIVITIES)
_OPERATIONS: Final = ("insert", "create", "edit", "update", "delete", "restore")
_DELETIONS: Final = ("deal.delete", "deal.deleted")
_STAGES: Final = {
    "Qualification": DealStatus.OPEN,
    "Needs Analysis": DealStatus.OPEN,
    "Value Proposition": DealStatus.OPEN,
    "Identify Decision Makers": DealStatus.OPEN,
    "Id. Decision Makers": DealStatus.OPEN,
    "Perception Analysis": DealStatus.OPEN,
    "Proposal/Price Quote": DealStatus.OPEN,
    "Negotiation/Review": DealStatus.OPEN,
    "Closed Won": DealStatus.WON,
    "Closed Lost": DealStatus.LOST,
    "Closed-Lost to Competition": DealStatus.LOST,
    "Closed Lost to Competition": DealStatus.LOST,
}
"""Zoho's own stages."""
_LAST_OF_ITS_MOMENT: Final = 1 << 62
"""The sequence of a deletion: after every state that was fetched, whose sequence is milliseconds since 1970."""
_SECRET_HEADER: Final = b"x-attain-secret"
_SECRET: Final = "secret"  # noqa: S105
"""The query parameter and the member of a workflow webhook's body."""
_SECRET_MEMBERS: Final = frozenset({_SECRET, "token"})
_SECRET_CHARACTERS: Final = range(16, 51)
_CUSTOM_CHARACTERS_MAX: Final = 2000
_NAME_CHARACTERS_MAX: Final = 500
_PARAMETERS_MAX: Final = 50
_ID: Final = re.compile(r"[0-9]{1,30}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AMOUNTS: Final = frozenset({"amount", "home_amount"})
_DAYS: Final = frozenset({"expected_close_on", "closed_on"})
_MOMENTS: Final = frozenset({"created_at", "closed_at"})
_PRINTABLE: Final = re.compile(r"[!-~]+")
_SECOND: Final = timedelta(seconds=1)
_MILLISECONDS_MAX: Final = 32_000_000_000_000
_DONE: Final = ActivityStatus.DONE
_CALL_STATES: Final = {
    "scheduled": ActivityStatus.PLANNED,
    "overdue": ActivityStatus.PLANNED,
    "cancelled": ActivityStatus.CANCELLED,
    "canceled": ActivityStatus.CANCELLED,
    "missed": ActivityStatus.CANCELLED,
}
_TASK_STATES: Final = {
    "completed": ActivityStatus.DONE,
    "cancelled": ActivityStatus.CANCELLED,
    "canceled": ActivityStatus.CANCELLED,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOME_CURRENCY: Final = "_home_currency"
"""Where a fetched deal has the currency its exchange rate leads to."""
_KNOWN_FIELDS: Final = frozenset(
    {
        "id",
        "Deal_Name",
        "Amount",
        "Currency",
        "Exchange_Rate",
        "Stage",
        "Probability",
        "Closing_Date",
        "Pipeline",
        "Type",
        "Lead_Source",
        "Owner",
        "Owner_Id",
        "Account_Name",
        "Created_Time",
        "Modified_Time",
        "event",
        "decimal_separator",
        "date_format",
        "time_zone",
        *_SECRET_MEMBERS,
    }
)


class ZohoCredentials(ApiCredentials):
    """A client of the data centre the company's Zoho is in, and a refresh token of a user who may see all deals.

    The token's scopes: ZohoCRM.modules.READ, ZohoCRM.users.READ and ZohoCRM.notifications.ALL.
    """

    source: Literal["zoho"] = "zoho"
    accounts_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = Field(
        "https://accounts.zoho.com", description="Of the data centre, as https://accounts.zoho.eu."
    )
    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)] = Field(
        "https://www.zohoapis.com", description="Of the same data centre, as https://www.zohoapis.eu."
    )
    client_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")]
    client_secret: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    refresh_token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")] = Field(repr=False)
    home_currency: Currency | None = Field(
        None, description="The organisation's home currency, to which a deal's Exchange_Rate converts."
    )


_API_PATH: Final = "/crm/v7"
_PAGE_RECORDS: Final = 200
_IDS_MAX: Final = 100
_WALK_RECORDS_MAX: Final = 90_000
"""A walk is begun anew from where it is before Zoho's limit of 100,000 records a page token."""
_TOKEN_ENDPOINT: Final = "token"  # noqa: S105
_RECORDS_ENDPOINT: Final = "records"
_WATCH_ENDPOINT: Final = "watch"
_EXPIRED_TOKENS: Final = frozenset({"INVALID_TOKEN", "AUTHENTICATION_FAILURE"})
_INVALID_DATA: Final = "INVALID_DATA"
_EXPIRED_VALUE: Final = "EXPIRED_VALUE"
_TOO_MANY_TOKENS: Final = "Access Denied"
_TOKENS_PAUSE: Final = timedelta(minutes=10)
_RETRY_SECONDS_MAX: Final = 86_400
_DETAIL_CHARACTERS_MAX: Final = 300


class _Walk(NamedTuple):
    """Where a walk over the records of the modules is."""

    module: str
    since: str | None
    page_token: str | None = None
    seen: int = 0
    latest: str | None = None
    """The modified time of the last record seen."""

    def text(self) -> str:
        return json.dumps(self)


class ZohoApi(SourceApi):
    """Version 7 of Zoho CRM's API.

    A list has to name its fields, at most 50 of them, while records asked for by their ids come whole: so walks list
    ids and then ask for the records. Page tokens expire after a day; a walk that was paused goes on from the modified
    time it had come to.
    """

    credentials = ZohoCredentials
    concurrent_calls_max = 5
    fetch_ids_max = _IDS_MAX
    channel_lifetime = timedelta(days=7) - timedelta(minutes=15)

    @override
    def obtain_token(self, credentials: ApiCredentials) -> Conversation[Token]:
        known = _known(credentials)
        answer = yield Call(
            "POST",
            f"{known.accounts_url}/oauth/v2/token",
            form={
                "grant_type": "refresh_token",
                "client_id": known.client_id,
                "client_secret": known.client_secret,
                "refresh_token": known.refresh_token,
            },
            endpoint=_TOKEN_ENDPOINT,
        )
        document = _document(answer)
        value, seconds = document.get("access_token"), document.get("expires_in", 3600)
        if not isinstance(value, str) or not isinstance(seconds, int) or not 0 < seconds <= _RETRY_SECONDS_MAX:
            raise UnexpectedAnswer("no access_token and expires_in")
        return Token(value, timedelta(seconds=seconds))

    @override
    def authorised(self, call: Call, credentials: ApiCredentials, token: str | None) -> Call:
        if token is None or call.endpoint == _TOKEN_ENDPOINT:
            return call
        return replace(call, headers={**call.headers, "Authorization": f"Zoho-oauthtoken {token}"})

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        credits_remaining = _whole(answer.headers.get("x-api-credits-remaining"))
        problem = _problem(answer)
        verdict, retry_after = _verdict(call, answer, problem, credits_remaining)
        detail = "" if verdict is Verdict.OK else f"HTTP {answer.status} {problem.text}"[:_DETAIL_CHARACTERS_MAX]
        return Judgement(verdict, retry_after, detail, credits_remaining)

    @override
    def fetch(
        self, credentials: ApiCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        known = _known(credentials)
        records, gone = yield from _by_ids(known, object_name, external_ids)
        return RecordPage(records, gone)

    @override
    def changed(
        self, credentials: ApiCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        known = _known(credentials)
        # Zoho takes records modified after the second it is given.
        walk = _walk(cursor) or _Walk(_DEALS, None if since is None else _second(since - timedelta(seconds=1)))
        params = {"fields": "id,Modified_Time", "per_page": str(_PAGE_RECORDS)}
        params |= {"sort_by": "Modified_Time", "sort_order": "asc"}
        if walk.page_token is not None:
            params["page_token"] = walk.page_token
        headers = {} if walk.since is None else {"If-Modified-Since": walk.since}
        url = f"{known.api_url}{_API_PATH}/{walk.module}"
        answer = yield Call("GET", url, params, headers, endpoint=_RECORDS_ENDPOINT)
        if _problem(answer).code == _EXPIRED_VALUE:
            if walk.page_token is None:
                raise UnexpectedAnswer(_problem(answer).text)
            return RecordPage(next_cursor=_Walk(walk.module, _before(walk.latest) or walk.since).text())
        listed, info = _listed(answer)
        ids = [text for row in listed if (text := _text(row.get("id"))) is not None]
        records: list[RawRecord] = []
        gone: list[Gone] = []
        for start in range(0, len(ids), _IDS_MAX):
            some, missing = yield from _by_ids(known, walk.module, ids[start : start + _IDS_MAX])
            records += some
            gone += missing
        return RecordPage(records, gone, _further(walk, listed, info, since))

    @override
    def deleted(self, credentials: ApiCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        known = _known(credentials)
        module, _, page = (cursor or f"{_DEALS}:1").partition(":")
        if module not in _MODULES or _whole(page) is None:
            raise UnexpectedAnswer("the cursor is not one of deleted records")
        answer = yield Call(
            "GET",
            f"{known.api_url}{_API_PATH}/{module}/deleted",
            {"type": "all", "per_page": str(_PAGE_RECORDS), "page": page},
            {"If-Modified-Since": _second(since - timedelta(seconds=1))},
            endpoint=_RECORDS_ENDPOINT,
        )
        listed, info = _listed(answer)
        gone = [
            Gone(module, text, _iso(row.get("deleted_time")))
            for row in listed
            if (text := _text(row.get("id"))) is not None
        ]
        if info.get("more_records") is True:
            return RecordPage(gone=gone, next_cursor=f"{module}:{int(page) + 1}")
        following = _module_after(module)
        return RecordPage(gone=gone, next_cursor=None if following is None else f"{following}:1")

    @override
    def count(self, credentials: ApiCredentials) -> Conversation[int | None]:
        known = _known(credentials)
        total = 0
        for module in _MODULES:
            answer = yield Call("GET", f"{known.api_url}{_API_PATH}/{module}/actions/count", endpoint=_RECORDS_ENDPOINT)
            if answer.status == 204:
                continue
            number = _whole(_document(answer).get("count"))
            if number is None:
                return None
            total += number
        return total

    @override
    def users(self, credentials: ApiCredentials, cursor: str | None) -> Conversation[UserPage]:
        known = _known(credentials)
        page = _whole(cursor or "1")
        if page is None:
            raise UnexpectedAnswer("the cursor is not a page of users")
        answer = yield Call(
            "GET",
            f"{known.api_url}{_API_PATH}/users",
            {"type": "AllUsers", "per_page": str(_PAGE_RECORDS), "page": str(page)},
            endpoint=_RECORDS_ENDPOINT,
        )
        listed, info = _listed(answer, "users")
        users = [
            ApiUser(text, _text(row.get("full_name")), _text(row.get("email")), row.get("status") == "active")
            for row in listed
            if (text := _text(row.get("id"))) is not None
        ]
        return UserPage(users, str(page + 1) if info.get("more_records") is True else None)

    @override
    def open_channel(self, credentials: ApiCredentials, terms: ChannelTerms) -> Conversation[Channel]:
        known = _known(credentials)
        url = f"{known.api_url}{_API_PATH}/actions/watch"
        wanted: JsonValue = {
            "watch": [
                {
                    "channel_id": terms.id,
                    "events": [f"{module}.all" for module in _MODULES],
                    "channel_expiry": _second(terms.expires_at),
                    "token": terms.secret,
                    "notify_on_related_action": False,
                    "notify_url": terms.notify_url,
                }
            ]
        }
        if terms.is_renewal:
            answer = yield Call("PATCH", url, json=wanted, endpoint=_WATCH_ENDPOINT)
            channel = _channel(answer, terms)
            if channel is not None:
                return channel
        # What has expired cannot be renewed; opening a channel that is there replaces it.
        answer = yield Call("POST", url, json=wanted, endpoint=_WATCH_ENDPOINT)
        channel = _channel(answer, terms)
        if channel is None:
            raise UnexpectedAnswer(f"the channel was not opened: {_problem(answer).text}")
        return channel


class Zoho(Adapter):
    """The adapter. A secret is any text of 16 to 50 characters, as a channel's token is at most 50."""

    source = Source.ZOHO
    allow_keys: ClassVar[Mapping[str, bool]] = {"channel_id": False}
    api = ZohoApi()

    @override
    def new_secret(self, entropy: bytes) -> str:
        return urlsafe_b64encode(entropy).rstrip(b"=").decode()

    @override
    def check_secret(self, value: str) -> None:
        if len(value) not in _SECRET_CHARACTERS or not _PRINTABLE.fullmatch(value):
            raise InvalidSecret(
                "The secret does not fit Zoho CRM.",
                fields=[
                    FieldError(
                        "/secret",
                        "is not a token that Zoho CRM takes",
                        f"{_SECRET_CHARACTERS[0]} to {_SECRET_CHARACTERS[-1]} ASCII characters without spaces",
                    )
                ],
            )

    @override
    def verify(self, request: Request, terms: Terms, *, now_seconds: int) -> Rejection | None:
        document = _document_or_empty(request.body)
        if "channel_id" in document:
            given = [document.get("token")]
            is_allowed = terms.allows("channel_id", document.get("channel_id"))
        else:
            header = request.headers.get(_SECRET_HEADER)
            given = [
                None if header is None else header.decode("latin-1"),
                *_parameters(request.target),
                document.get(_SECRET),
            ]
            is_allowed = True
        texts = [value.encode("utf-8", "surrogatepass") for value in given if isinstance(value, str) and value]
        if not texts:
            return Rejection.HEADERS
        matches = [hmac.compare_digest(text, secret.encode()) for text in texts for secret in terms.secrets]
        return None if any(matches) and is_allowed else Rejection.SIGNATURE

    @override
    def dedupe_key(self, request: Request) -> str:
        document = _document_or_empty(request.body)
        if "channel_id" in document:
            ids = document.get("ids")
            parts = [document.get(name) for name in ("channel_id", "server_time", "operation")]
            parts.append(sorted(map(str, ids)) if isinstance(ids, list) else ids)
            return f"watch:{_digest(json.dumps(parts, default=str).encode())}"
        record_id, modified_at = document.get("id"), document.get("Modified_Time")
        if isinstance(record_id, str | int) and isinstance(modified_at, str) and modified_at:
            # A record that is deleted keeps the modified time of the change before.
            kind = ":deleted" if document.get("event") in _DELETIONS else ""
            return f"deal:{record_id}:{modified_at}{kind}"
        return f"body:{_digest(request.body)}"

    @override
    def kept(self, request: Request, terms: Terms) -> bytes:
        """Without the secret: its member is emptied, everything else stays as it came."""
        document = _document_or_empty(request.body)
        if not _SECRET_MEMBERS & document.keys():
            return request.body
        text = request.body.decode(json.detect_encoding(request.body), "surrogatepass")
        pieces: list[str] = []
        end = 0
        for name, start, stop in _members(text):
            if name in _SECRET_MEMBERS:
                pieces += (text[end:start], '""')
                end = stop
        return "".join((*pieces, text[end:])).encode("utf-8", "surrogatepass")

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Said]:
        document = read_document(body)
        return _notified(document, mapping) if "channel_id" in document else _sent(document, mapping)

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Said]:
        modified_at = _iso(record.raw.get("Modified_Time"))
        if modified_at is None:
            raise Untranslatable(QuarantineReason.MISSING_FIELD, f"{pointer}/Modified_Time", "is not a time")
        version = dated(record, modified_at)
        owner = record.raw.get("Owner")
        said: list[Said] = []
        if record.object_name == _DEALS:
            said.append(_deal(_fields(record.raw, mapping, pointer) | version, record.raw, mapping, pointer))
        elif record.object_name in _ACTIVITIES:
            fields = _activity(record.object_name, record.raw, record.fetched_at) | version
            said.append(canonical_activity(fields, mapping, pointer=pointer))
        else:
            raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, pointer, f"expected one of {', '.join(_MODULES)}")
        if isinstance(owner, Mapping) and (owner_id := _text(owner.get("id"))) is not None:
            said.append(SeenUser(owner_id, _text(owner.get("name")), _text(owner.get("email"))))
        return said

    @override
    def translate_gone(self, gone: GoneRecord, mapping: SourceMapping) -> Sequence[Said]:
        return (_gone(gone.object_name, gone.external_id, gone.at, mapping),)


def _notified(document: Mapping[str, object], mapping: SourceMapping) -> Sequence[Said]:
    """What a notification says: which records to ask for, and which are gone. Raises Untranslatable."""
    module = document.get("module")
    if isinstance(module, Mapping):
        module = module.get("api_name")
    if module not in _MODULES:
        return ()
    operation = document.get("operation")
    if operation not in _OPERATIONS:
        raise Untranslatable(QuarantineReason.UNKNOWN_TYPE, "/operation", f"expected one of {', '.join(_OPERATIONS)}")
    ids = document.get("ids")
    if not isinstance(ids, list):
        raise Untranslatable(QuarantineReason.MISSING_FIELD, "/ids", "is not a list of ids")
    told = [_record_id(each, f"/ids/{index}") for index, each in enumerate(ids)]
    named = dict.fromkeys(told)
    if operation not in ("delete", "restore"):
        return [Fetch(str(module), record_id) for record_id in named]
    at = _server_time(document)
    if operation == "restore":
        return [Fetch(str(module), record_id, floor=at) for record_id in named]
    return [_gone(str(module), record_id, at, mapping) for record_id in named]


def _sent(document: Mapping[str, object], mapping: SourceMapping) -> Sequence[Said]:
    """What a workflow webhook says: the deal as far as it was mapped, and that all of it may be asked for.

    Raises Untranslatable.
    """
    event = document.get("event")
    if isinstance(event, str) and not event.startswith("deal."):
        return ()
    record_id = _record_id(document.get("id"), "/id")
    try:
        deal = _told_deal(document, record_id, mapping, is_deleted=event in _DELETIONS)
    except Untranslatable as problem:
        return (Fetch(_DEALS, record_id, otherwise=problem),)
    return (deal, Fetch(_DEALS, record_id))


def _told_deal(
    document: Mapping[str, object], record_id: str, mapping: SourceMapping, *, is_deleted: bool
) -> CanonicalDeal:
    """The deal in the texts of a workflow webhook. Raises Untranslatable."""
    raw = {name: _told(value, f"/{name}") for name, value in document.items() if name not in _SECRET_MEMBERS}
    reader = _Reader(
        _choice(raw, "decimal_separator", (".", ",")),
        _choice(raw, "date_format", (DAY_FIRST, MONTH_FIRST)),
        _text(raw.get("time_zone")),
    )
    modified_at = reader.moment(raw, "Modified_Time")
    if modified_at is None:
        raise Untranslatable(QuarantineReason.MISSING_FIELD, "/Modified_Time", "is missing")
    if is_deleted:
        return _gone_deal(record_id, modified_at, mapping)
    plain = {
        **raw,
        "id": record_id,
        "Amount": reader.amount(raw, "Amount"),
        "Probability": _percent(raw.get("Probability")),
        "Closing_Date": reader.day(raw, "Closing_Date"),
        "Exchange_Rate": None,
    }
    for name, path in mapping.fields.items():
        if path not in raw:
            continue
        if name in _AMOUNTS:
            plain[path] = reader.amount(raw, path)
        elif name in _DAYS:
            plain[path] = reader.day(raw, path)
        elif name in _MOMENTS:
            plain[path] = reader.moment(raw, path)
    fields = _fields(plain, mapping, "") | {
        "modified_at": modified_at,
        "created_at": reader.moment(raw, "Created_Time"),
        "owner_external_id": _text(raw.get("Owner_Id")) or _text(raw.get("Owner")),
    }
    return _deal(fields, plain, mapping, "")


class _Reader(NamedTuple):
    """Reads the texts of a workflow webhook, as plainly as the webhook says how they are written."""

    decimal_separator: str | None
    date_format: str | None
    time_zone: str | None

    def amount(self, raw: Mapping[str, object], name: str) -> object:
        """Also a number, as it is. Raises Untranslatable."""
        value = raw.get(name)
        with _reading(name):
            return amount_of(value, decimal_separator=self.decimal_separator) if isinstance(value, str) else value

    def day(self, raw: Mapping[str, object], name: str) -> str | None:
        """In ISO 8601. Raises Untranslatable."""
        text = _text(raw.get(name))
        with _reading(name):
            return None if text is None else day_of(text, date_format=self.date_format).isoformat()

    def moment(self, raw: Mapping[str, object], name: str) -> datetime | None:
        """Raises Untranslatable."""
        text = _text(raw.get(name))
        with _reading(name):
            return None if text is None else moment_of(text, date_format=self.date_format, time_zone=self.time_zone)


def _fields(raw: Mapping[str, object], mapping: SourceMapping, pointer: str) -> dict[str, object]:
    """The fields of a deal. Raises Untranslatable."""
    stage = _text(raw.get("Stage"))
    owner, account = raw.get("Owner"), raw.get("Account_Name")
    closing = _day(raw.get("Closing_Date"), f"{pointer}/Closing_Date")
    home_currency = raw.get(_HOME_CURRENCY)
    return {
        "external_id": _text(raw.get("id")),
        "status": _status(stage, raw.get("Probability")),
        "owner_external_id": _text(owner.get("id")) if isinstance(owner, Mapping) else None,
        "name": _text(raw.get("Deal_Name")),
        "amount": raw.get("Amount"),
        "currency": _text(raw.get("Currency")),
        "home_amount": _home_amount(raw) if home_currency or "home_currency" in mapping.fields else None,
        "home_currency": home_currency,
        "created_at": _iso(raw.get("Created_Time")),
        "expected_close_on": closing,
        "closed_on": closing,
        "stage": stage,
        "pipeline": _named(raw.get("Pipeline")),
        "probability": raw.get("Probability"),
        "type": _named(raw.get("Type")),
        "channel": _named(raw.get("Lead_Source")),
        "account_id": _text(account.get("id")) if isinstance(account, Mapping) else None,
        "account_name": _named(account),
        "custom": _custom(raw, mapping),
    }


def _deal(
    fields: Mapping[str, object], raw: Mapping[str, object], mapping: SourceMapping, pointer: str
) -> CanonicalDeal:
    """The deal; its closing date is when it closed once it has, else when it is expected to. Raises Untranslatable."""
    deal = canonical_deal(fields, raw, mapping, pointer=pointer)
    other = "closed_on" if deal.status is DealStatus.OPEN else "expected_close_on"
    return deal if other in mapping.fields else deal.model_copy(update={other: None})


def _status(stage: str | None, probability: object) -> DealStatus | None:
    """Zoho's own stages, and any that is neither certain nor impossible is open; of others the mapping has to say."""
    known = _STAGES.get(stage or "")
    if known is not None or stage is None:
        return known
    percent = _decimal(probability)
    return DealStatus.OPEN if percent is not None and 0 < percent < 100 else None


def _home_amount(raw: Mapping[str, object]) -> Decimal | None:
    """The amount by the record's own rate, which says how much of its currency one of the home currency is."""
    amount, rate = _decimal(raw.get("Amount")), _decimal(raw.get("Exchange_Rate"))
    if amount is None or rate is None or rate <= 0:
        return None
    with localcontext() as context:
        context.prec = 40
        try:
            return (amount / rate).quantize(Decimal(1).scaleb(-AMOUNT_DECIMALS_MAX))
        except ArithmeticError:
            return None


def _custom(raw: Mapping[str, object], mapping: SourceMapping) -> dict[str, object]:
    """Every other field with a plain value or the name of a record, those that are mapped first, no long text."""
    texts: dict[str, object] = {}
    names = sorted(raw.keys() - _KNOWN_FIELDS, key=lambda name: (name not in mapping.custom_fields, name))
    for name in names:
        value = raw[name]
        text = ("true" if value else "false") if isinstance(value, bool) else _named(value)
        if name[:1] in ("$", "_") or text is None or not 0 < len(text) <= _CUSTOM_CHARACTERS_MAX:
            continue
        if len(name) <= _NAME_CHARACTERS_MAX and len(texts) < CUSTOM_FIELDS_MAX:
            texts[name] = text
    return texts


def _activity(module: str, raw: Mapping[str, object], fetched_at: datetime) -> dict[str, object]:
    what, owner = raw.get("What_Id"), raw.get("Owner")
    what_id = _text(what.get("id")) if isinstance(what, Mapping) else None
    about = raw.get("$se_module")
    fields: dict[str, object] = {
        "external_id": _text(raw.get("id")),
        "type": _ACTIVITIES[module],
        "owner_external_id": _text(owner.get("id")) if isinstance(owner, Mapping) else None,
        "deal_external_id": what_id if about == _DEALS else None,
        "account_id": what_id if about == "Accounts" else None,
    }
    match module:
        case "Calls":
            state = _named(raw.get("Outgoing_Call_Status")) or _named(raw.get("Call_Status")) or ""
            outcome = _named(raw.get("Call_Result")) or _named(raw.get("Call_Outcome")) or state or None
            seconds = _whole(raw.get("Call_Duration_in_seconds"))
            is_missed = (_named(raw.get("Call_Type")) or "").lower() == "missed"
            fields |= {
                "subject": _text(raw.get("Subject")),
                "status": _CALL_STATES.get(state.lower(), ActivityStatus.CANCELLED if is_missed else _DONE),
                "occurred_at": _iso(raw.get("Call_Start_Time")),
                "duration_seconds": seconds,
                "outcome": "Missed" if is_missed and outcome is None else outcome,
            }
        case "Events":
            start, end = _iso(raw.get("Start_DateTime")), _iso(raw.get("End_DateTime"))
            is_over = end is None or end <= fetched_at
            fields |= {
                "subject": _text(raw.get("Event_Title")) or _text(raw.get("Subject")),
                "status": _DONE if is_over else ActivityStatus.PLANNED,
                "occurred_at": start,
                "duration_seconds": None if start is None or end is None else max(0, (end - start) // _SECOND),
            }
        case _:
            state = _named(raw.get("Status")) or ""
            fields |= {
                "subject": _text(raw.get("Subject")),
                "status": _TASK_STATES.get(state.lower(), ActivityStatus.PLANNED),
                "occurred_at": _iso(raw.get("Closed_Time")),
                "outcome": state or None,
            }
    return fields


def _gone(module: str, external_id: str, at: datetime, mapping: SourceMapping) -> CanonicalDeal | CanonicalActivity:
    """That a record is no more. Raises Untranslatable."""
    if module in _ACTIVITIES:
        fields = {"external_id": external_id, "is_deleted": True, "type": _ACTIVITIES[module]}
        return canonical_activity(fields | _gone_version(at), mapping, pointer="")
    return _gone_deal(external_id, at, mapping)


def _gone_deal(external_id: str, at: datetime, mapping: SourceMapping) -> CanonicalDeal:
    fields = {"external_id": external_id, "kind": DealKind.DELETED}
    return canonical_deal(fields | _gone_version(at), {}, mapping, pointer="")


def _gone_version(at: datetime) -> dict[str, object]:
    return {"modified_at": at, "sequence": _LAST_OF_ITS_MOMENT}


def _told(value: object, pointer: str) -> object:
    """A value of a template: None when it is empty. Raises Untranslatable when it was not filled in."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("${"):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is a merge field that Zoho did not fill in")
    return None if text in ("", "null") else text


def _choice(raw: Mapping[str, object], name: str, accepted: Sequence[str]) -> str | None:
    value = raw.get(name)
    if value is None or value in accepted:
        return None if value is None else str(value)
    raise Untranslatable(QuarantineReason.INVALID_FIELD, f"/{name}", f"expected one of {' '.join(accepted)}")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What cannot be read is said of the field. Raises Untranslatable."""
    try:
        yield
    except Unreadable as error:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, f"/{name}", str(error)) from error


def _day(value: object, pointer: str) -> str | None:
    """A day in ISO 8601. Raises Untranslatable."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _DAY.fullmatch(value):
        return value
    raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a day such as 2026-03-31")


def _percent(value: object) -> object:
    return value.removesuffix("%").strip() if isinstance(value, str) else value


def _record_id(value: object, pointer: str) -> str:
    """The id of a record. Raises Untranslatable."""
    text = _text(value)
    if text is None or not _ID.fullmatch(text):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not the id of a record")
    return text


def _server_time(document: Mapping[str, object]) -> datetime:
    value = document.get("server_time")
    milliseconds = _whole(value)
    if milliseconds is None or milliseconds > _MILLISECONDS_MAX:
        reason = QuarantineReason.MISSING_FIELD if value is None else QuarantineReason.INVALID_FIELD
        raise Untranslatable(reason, "/server_time", "is not a time in milliseconds")
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _text(value: object) -> str | None:
    """A text, or a number as one; None for anything else and for nothing."""
    text = text_of(value)
    return text if isinstance(text, str) and text else None


def _named(value: object) -> str | None:
    """A text, or the name of a record that is looked up."""
    return _text(value.get("name")) if isinstance(value, Mapping) else _text(value)


def _whole(value: object) -> int | None:
    """A whole number that is not negative, also as digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _decimal(value: object) -> Decimal | None:
    """A finite number of a size there is."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= 30 else None


def _iso(value: object) -> datetime | None:
    """A moment with its offset as Zoho's API writes it; None for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _second(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _parameters(target: str) -> Sequence[str]:
    """The secrets among the query parameters of a request."""
    try:
        return parse_qs(target.partition("?")[2], max_num_fields=_PARAMETERS_MAX).get(_SECRET, ())
    except ValueError:
        return ()


def _document_or_empty(body: bytes) -> Mapping[str, object]:
    try:
        return read_document(body)
    except Untranslatable:
        return {}


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """The members of a JSON object, which the text is: the name, and where the value begins and ends."""
    decoder = json.JSONDecoder()
    at = _after_space(text, text.index("{") + 1)
    while text[at] == '"':
        name, at = decoder.raw_decode(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, at = decoder.raw_decode(text, start)
        yield name, start, at
        at = _after_space(text, at)
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at


def _known(credentials: ApiCredentials) -> ZohoCredentials:
    if not isinstance(credentials, ZohoCredentials):
        raise UnexpectedAnswer("the credentials are not of Zoho CRM")
    return credentials


def _document(answer: Answer) -> Mapping[str, object]:
    """The JSON object of an answer. Raises UnexpectedAnswer."""
    try:
        return read_document(answer.body)
    except Untranslatable as error:
        raise UnexpectedAnswer(error.detail) from error


class _Problem(NamedTuple):
    """What an answer says is wrong, for those who read it."""

    code: str
    text: str


def _problem(answer: Answer) -> _Problem:
    """The error of an answer, which may be of the whole, or of the first of its items."""
    document = _document_or_empty(answer.body)
    watched = document.get("watch")
    if isinstance(watched, list) and watched and isinstance(watched[0], Mapping):
        document = watched[0]
    if document.get("status") == "success":
        return _Problem("", "")
    code = _text(document.get("code")) or _text(document.get("error")) or ""
    message = _text(document.get("message")) or _text(document.get("error_description")) or ""
    return _Problem(code, f"{code}: {message}" if message else code)


def _verdict(
    call: Call, answer: Answer, problem: _Problem, credits_remaining: int | None
) -> tuple[Verdict, timedelta | None]:
    status = answer.status
    if call.endpoint == _TOKEN_ENDPOINT and problem.code == _TOO_MANY_TOKENS:
        return Verdict.RATE_LIMITED, _TOKENS_PAUSE
    if call.endpoint == _TOKEN_ENDPOINT and status < 500 and problem.code:
        return Verdict.REFUSED, None
    if status == 429:
        seconds = _whole(answer.headers.get("retry-after"))
        pause = None if seconds is None else timedelta(seconds=min(seconds, _RETRY_SECONDS_MAX))
        return Verdict.QUOTA_EXHAUSTED if credits_remaining == 0 else Verdict.RATE_LIMITED, pause
    if 200 <= status < 300 or status == 304:
        return Verdict.OK, None
    if status == 401 and problem.code in _EXPIRED_TOKENS:
        return Verdict.TOKEN_EXPIRED, None
    if status == 408 or status >= 500:
        return Verdict.TRANSIENT, None
    if call.endpoint == _RECORDS_ENDPOINT and status in (400, 404) and _is_of_records(call, problem.code):
        return Verdict.OK, None
    if call.endpoint == _WATCH_ENDPOINT and status == 400:
        return Verdict.OK, None
    return Verdict.REFUSED, None


def _is_of_records(call: Call, code: str) -> bool:
    """Whether a refusal is about the records asked for, which the conversation deals with."""
    return (code == _INVALID_DATA and "ids" in call.params) or (code == _EXPIRED_VALUE and "page_token" in call.params)


def _by_ids(
    credentials: ZohoCredentials, module: str, ids: Sequence[str]
) -> Conversation[tuple[list[RawRecord], list[Gone]]]:
    """Records by their ids, and those of the ids that there are none of."""
    if module not in _MODULES:
        raise UnexpectedAnswer(f"{module} is not among {', '.join(_MODULES)}")
    answer = yield Call(
        "GET",
        f"{credentials.api_url}{_API_PATH}/{module}",
        {"ids": ",".join(ids), "per_page": str(_PAGE_RECORDS)},
        endpoint=_RECORDS_ENDPOINT,
    )
    if _problem(answer).code == _INVALID_DATA:
        if len(ids) == 1:
            return [], [Gone(module, ids[0])]
        # One id that Zoho cannot take refuses all of them.
        half = len(ids) // 2
        records, gone = yield from _by_ids(credentials, module, ids[:half])
        others, missing = yield from _by_ids(credentials, module, ids[half:])
        return records + others, gone + missing
    listed, _ = _listed(answer)
    home = {} if module != _DEALS or credentials.home_currency is None else {_HOME_CURRENCY: credentials.home_currency}
    found = {text: {**row, **home} for row in listed if (text := _text(row.get("id"))) is not None}
    return (
        [RawRecord(module, each, found[each]) for each in ids if each in found],
        [Gone(module, each) for each in ids if each not in found],
    )


def _listed(answer: Answer, name: str = "data") -> tuple[list[Mapping[str, object]], Mapping[str, object]]:
    """The rows of an answer and what it says of them; nothing where it is empty. Raises UnexpectedAnswer."""
    if answer.status in (204, 304):
        return [], {}
    document = _document(answer)
    rows, info = document.get(name), document.get("info")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise UnexpectedAnswer(f"{name} is not a list of objects")
    return rows, info if isinstance(info, Mapping) else {}


def _further(
    walk: _Walk, listed: Sequence[Mapping[str, object]], info: Mapping[str, object], since: datetime | None
) -> str | None:
    """Where a walk goes on: with the next page, anew from here, with the next module, or not at all."""
    if info.get("more_records") is True:
        latest = (_text(listed[-1].get("Modified_Time")) if listed else None) or walk.latest
        token = _text(info.get("next_page_token"))
        seen = walk.seen + len(listed)
        if token is None:
            raise UnexpectedAnswer("there are more records but no next_page_token")
        if seen >= _WALK_RECORDS_MAX and _before(latest) not in (None, walk.since):
            return _Walk(walk.module, _before(latest)).text()
        return _Walk(walk.module, walk.since, token, seen, latest).text()
    following = _module_after(walk.module)
    if following is None:
        return None
    return _Walk(following, None if since is None else _second(since - timedelta(seconds=1))).text()


def _module_after(module: str) -> str | None:
    following = _MODULES.index(module) + 1
    return _MODULES[following] if following < len(_MODULES) else None


def _before(latest: str | None) -> str | None:
    moment = _iso(latest)
    return None if moment is None else _second(moment - timedelta(seconds=1))


def _walk(cursor: str | None) -> _Walk | None:
    if cursor is None:
        return None
    walk = _Walk(*json.loads(cursor))
    if walk.module not in _MODULES:
        raise UnexpectedAnswer("the cursor is not one of changed records")
    return walk


def _channel(answer: Answer, terms: ChannelTerms) -> Channel | None:
    """The channel with the expiry that Zoho gave it; None when it is not there."""
    if answer.status >= 400 or _problem(answer).code:
        return None
    watched = _document(answer).get("watch")
    first = watched[0] if isinstance(watched, list) and watched else None
    details = first.get("details") if isinstance(first, Mapping) else None
    events = details.get("events") if isinstance(details, Mapping) else None
    if not isinstance(events, list):
        raise UnexpectedAnswer("the answer does not tell the channel's events")
    expiries = [_iso(event.get("channel_expiry")) for event in events if isinstance(event, Mapping)]
    known = [expiry for expiry in expiries if expiry is not None]
    if not known or len(known) < len(_MODULES):
        raise UnexpectedAnswer("the channel is not open for every module")
    return Channel(terms.id, min(known))
