"""How Zoho CRM is called for deals and activities, and given the address to notify of them: version 7 of its API."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from pydantic import Field, JsonValue
from typing_extensions import override

from services.tracking.intake.sources.adapter import read_answer, read_document_or_empty
from services.tracking.intake.sources.domain import Judgement, Verdict
from services.tracking.intake.sources.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Channel,
    ChannelRequest,
    Conversation,
    Gone,
    Origin,
    Printable,
    RawRecord,
    RecordPage,
    SourceApi,
    Token,
    UnexpectedAnswer,
    UserPage,
)
from services.tracking.intake.sources.values import retry_after, text_or_number
from shared.contracts.base import Currency
from shared.kernel.reading import read_instant, read_whole_number

DEALS: Final = "Deals"
MODULES: Final = (DEALS, "Calls", "Events", "Tasks")
"""Those that deals and activities are in."""
HOME_CURRENCY: Final = "_home_currency"
"""Where a fetched deal has the currency its exchange rate leads to."""


class ZohoCredentials(ApiCredentials):
    """A client of the data centre the company's Zoho is in, and a refresh token of a user who may see all deals.

    The token's scopes: ZohoCRM.modules.READ, ZohoCRM.users.READ and ZohoCRM.notifications.ALL.
    """

    source: Literal["zoho"] = "zoho"
    accounts_url: Origin = Field(
        "https://accounts.zoho.com", description="Of the data centre, as https://accounts.zoho.eu."
    )
    api_url: Origin = Field(
        "https://www.zohoapis.com", description="Of the same data centre, as https://www.zohoapis.eu."
    )
    client_id: Printable
    client_secret: Printable = Field(repr=False)
    refresh_token: Printable = Field(repr=False)
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


class ZohoApi(SourceApi[ZohoCredentials]):
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
    def obtain_token(self, credentials: ZohoCredentials) -> Conversation[Token]:
        answer = yield Call(
            "POST",
            f"{credentials.accounts_url}/oauth/v2/token",
            form={
                "grant_type": "refresh_token",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "refresh_token": credentials.refresh_token,
            },
            endpoint=_TOKEN_ENDPOINT,
        )
        document = read_answer(answer)
        value, seconds = document.get("access_token"), document.get("expires_in", 3600)
        if not isinstance(value, str) or not isinstance(seconds, int) or not 0 < seconds <= _RETRY_SECONDS_MAX:
            raise UnexpectedAnswer("no access_token and expires_in")
        return Token(value, timedelta(seconds=seconds))

    @override
    def authorised(self, call: Call, credentials: ZohoCredentials, token: str | None) -> Call:
        if token is None or call.endpoint == _TOKEN_ENDPOINT:
            return call
        return replace(call, headers={**call.headers, "Authorization": f"Zoho-oauthtoken {token}"})

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        credits_remaining = read_whole_number(answer.headers.get("x-api-credits-remaining"))
        problem = _problem(answer)
        verdict, retry_after = _verdict(call, answer, problem, credits_remaining)
        detail = "" if verdict is Verdict.OK else f"HTTP {answer.status} {problem.text}"[:_DETAIL_CHARACTERS_MAX]
        return Judgement(verdict, retry_after, detail, credits_remaining)

    @override
    def fetch(
        self, credentials: ZohoCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        records, gone = yield from _by_ids(credentials, object_name, external_ids)
        return RecordPage(records, gone)

    @override
    def changed(
        self, credentials: ZohoCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        # Zoho takes records modified after the second it is given.
        walk = _walk(cursor) or _Walk(DEALS, None if since is None else _second(since - timedelta(seconds=1)))
        params = {"fields": "id,Modified_Time", "per_page": str(_PAGE_RECORDS)}
        params |= {"sort_by": "Modified_Time", "sort_order": "asc"}
        if walk.page_token is not None:
            params["page_token"] = walk.page_token
        headers = {} if walk.since is None else {"If-Modified-Since": walk.since}
        url = f"{credentials.api_url}{_API_PATH}/{walk.module}"
        answer = yield Call("GET", url, params, headers, endpoint=_RECORDS_ENDPOINT)
        if _problem(answer).code == _EXPIRED_VALUE:
            if walk.page_token is None:
                raise UnexpectedAnswer(_problem(answer).text)
            return RecordPage(next_cursor=_Walk(walk.module, _before(walk.latest) or walk.since).text())
        listed, info = _listed(answer)
        ids = [text for row in listed if (text := text_or_number(row.get("id"))) is not None]
        records: list[RawRecord] = []
        gone: list[Gone] = []
        for start in range(0, len(ids), _IDS_MAX):
            some, missing = yield from _by_ids(credentials, walk.module, ids[start : start + _IDS_MAX])
            records += some
            gone += missing
        return RecordPage(records, gone, _further(walk, listed, info, since))

    @override
    def deleted(self, credentials: ZohoCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        module, _, page = (cursor or f"{DEALS}:1").partition(":")
        if module not in MODULES or read_whole_number(page) is None:
            raise UnexpectedAnswer("the cursor is not one of deleted records")
        answer = yield Call(
            "GET",
            f"{credentials.api_url}{_API_PATH}/{module}/deleted",
            {"type": "all", "per_page": str(_PAGE_RECORDS), "page": page},
            {"If-Modified-Since": _second(since - timedelta(seconds=1))},
            endpoint=_RECORDS_ENDPOINT,
        )
        listed, info = _listed(answer)
        gone = [
            Gone(module, text, offset_moment(row.get("deleted_time")))
            for row in listed
            if (text := text_or_number(row.get("id"))) is not None
        ]
        if info.get("more_records") is True:
            return RecordPage(gone=gone, next_cursor=f"{module}:{int(page) + 1}")
        upcoming = _module_after(module)
        return RecordPage(gone=gone, next_cursor=None if upcoming is None else f"{upcoming}:1")

    @override
    def count(self, credentials: ZohoCredentials) -> Conversation[int | None]:
        total = 0
        for module in MODULES:
            answer = yield Call(
                "GET", f"{credentials.api_url}{_API_PATH}/{module}/actions/count", endpoint=_RECORDS_ENDPOINT
            )
            if answer.status == 204:
                continue
            number = read_whole_number(read_answer(answer).get("count"))
            if number is None:
                return None
            total += number
        return total

    @override
    def users(self, credentials: ZohoCredentials, cursor: str | None) -> Conversation[UserPage]:
        page = read_whole_number(cursor or "1")
        if page is None:
            raise UnexpectedAnswer("the cursor is not a page of users")
        answer = yield Call(
            "GET",
            f"{credentials.api_url}{_API_PATH}/users",
            {"type": "AllUsers", "per_page": str(_PAGE_RECORDS), "page": str(page)},
            endpoint=_RECORDS_ENDPOINT,
        )
        listed, info = _listed(answer, "users")
        users = [
            ApiUser(
                text,
                text_or_number(row.get("full_name")),
                text_or_number(row.get("email")),
                row.get("status") == "active",
            )
            for row in listed
            if (text := text_or_number(row.get("id"))) is not None
        ]
        return UserPage(users, str(page + 1) if info.get("more_records") is True else None)

    @override
    def open_channel(self, credentials: ZohoCredentials, request: ChannelRequest) -> Conversation[Channel]:
        url = f"{credentials.api_url}{_API_PATH}/actions/watch"
        wanted: JsonValue = {
            "watch": [
                {
                    "channel_id": request.id,
                    "events": [f"{module}.all" for module in MODULES],
                    "channel_expiry": _second(request.expires_at),
                    "token": request.secret,
                    "notify_on_related_action": False,
                    "notify_url": request.notify_url,
                }
            ]
        }
        if request.is_renewal:
            answer = yield Call("PATCH", url, json=wanted, endpoint=_WATCH_ENDPOINT)
            channel = _channel(answer, request)
            if channel is not None:
                return channel
        # What has expired cannot be renewed; opening a channel that is there replaces it.
        answer = yield Call("POST", url, json=wanted, endpoint=_WATCH_ENDPOINT)
        channel = _channel(answer, request)
        if channel is None:
            raise UnexpectedAnswer(f"the channel was not opened: {_problem(answer).text}")
        return channel


def offset_moment(value: object) -> datetime | None:
    """A moment with its offset as Zoho's API writes it; None for anything else."""
    return read_instant(value) if isinstance(value, str) else None


def _second(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


class _Problem(NamedTuple):
    """What is wrong by an answer, for those who read it."""

    code: str
    text: str


def _problem(answer: Answer) -> _Problem:
    """The error of an answer, which may be of the whole, or of the first of its items."""
    document = read_document_or_empty(answer.body)
    watched = document.get("watch")
    if isinstance(watched, list) and watched and isinstance(watched[0], Mapping):
        document = watched[0]
    if document.get("status") == "success":
        return _Problem("", "")
    code = text_or_number(document.get("code")) or text_or_number(document.get("error")) or ""
    message = text_or_number(document.get("message")) or text_or_number(document.get("error_description")) or ""
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
        verdict = Verdict.QUOTA_EXHAUSTED if credits_remaining == 0 else Verdict.RATE_LIMITED
        return verdict, retry_after(answer)
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
    """Whether a refusal is about the requested records, which the conversation deals with."""
    return (code == _INVALID_DATA and "ids" in call.params) or (code == _EXPIRED_VALUE and "page_token" in call.params)


def _by_ids(
    credentials: ZohoCredentials, module: str, ids: Sequence[str]
) -> Conversation[tuple[list[RawRecord], list[Gone]]]:
    """Records by their ids, and those of the ids that there are none of."""
    if module not in MODULES:
        raise UnexpectedAnswer(f"{module} is not among {', '.join(MODULES)}")
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
    home = {} if module != DEALS or credentials.home_currency is None else {HOME_CURRENCY: credentials.home_currency}
    found = {text: {**row, **home} for row in listed if (text := text_or_number(row.get("id"))) is not None}
    return (
        [RawRecord(module, each, found[each]) for each in ids if each in found],
        [Gone(module, each) for each in ids if each not in found],
    )


def _listed(answer: Answer, name: str = "data") -> tuple[list[Mapping[str, object]], Mapping[str, object]]:
    """The rows of an answer and what it states of them; nothing where it is empty. Raises UnexpectedAnswer."""
    if answer.status in (204, 304):
        return [], {}
    document = read_answer(answer)
    rows, info = document.get(name), document.get("info")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise UnexpectedAnswer(f"{name} is not a list of objects")
    return rows, info if isinstance(info, Mapping) else {}


def _further(
    walk: _Walk, listed: Sequence[Mapping[str, object]], info: Mapping[str, object], since: datetime | None
) -> str | None:
    """Where a walk goes on: with the next page, anew from here, with the next module, or not at all."""
    if info.get("more_records") is True:
        latest = (text_or_number(listed[-1].get("Modified_Time")) if listed else None) or walk.latest
        token = text_or_number(info.get("next_page_token"))
        seen = walk.seen + len(listed)
        if token is None:
            raise UnexpectedAnswer("there are more records but no next_page_token")
        if seen >= _WALK_RECORDS_MAX and _before(latest) not in (None, walk.since):
            return _Walk(walk.module, _before(latest)).text()
        return _Walk(walk.module, walk.since, token, seen, latest).text()
    upcoming = _module_after(walk.module)
    if upcoming is None:
        return None
    return _Walk(upcoming, None if since is None else _second(since - timedelta(seconds=1))).text()


def _module_after(module: str) -> str | None:
    upcoming = MODULES.index(module) + 1
    return MODULES[upcoming] if upcoming < len(MODULES) else None


def _before(latest: str | None) -> str | None:
    moment = offset_moment(latest)
    return None if moment is None else _second(moment - timedelta(seconds=1))


def _walk(cursor: str | None) -> _Walk | None:
    if cursor is None:
        return None
    walk = _Walk(*json.loads(cursor))
    if walk.module not in MODULES:
        raise UnexpectedAnswer("the cursor is not one of changed records")
    return walk


def _channel(answer: Answer, request: ChannelRequest) -> Channel | None:
    """The channel with the expiry that Zoho gave it; None when it is not there."""
    if answer.status >= 400 or _problem(answer).code:
        return None
    watched = read_answer(answer).get("watch")
    first = watched[0] if isinstance(watched, list) and watched else None
    details = first.get("details") if isinstance(first, Mapping) else None
    events = details.get("events") if isinstance(details, Mapping) else None
    if not isinstance(events, list):
        raise UnexpectedAnswer("the answer does not state the channel's events")
    expiries = [offset_moment(event.get("channel_expiry")) for event in events if isinstance(event, Mapping)]
    known = [expiry for expiry in expiries if expiry is not None]
    if not known or len(known) < len(MODULES):
        raise UnexpectedAnswer("the channel is not open for every module")
    return Channel(request.id, min(known))
