"""How Pipedrive is called for deals and activities: version 2 of its API."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import Field
from typing_extensions import override

from services.tracking.intake.sources.adapter import read_answer, read_json
from services.tracking.intake.sources.domain import Judgement, Limit, QuarantineReason, Untranslatable, Verdict
from services.tracking.intake.sources.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Conversation,
    Gone,
    Origin,
    Printable,
    RawRecord,
    RecordPage,
    SourceApi,
    UnexpectedAnswer,
    UserPage,
)
from services.tracking.intake.sources.values import header_number, only_text, retry_after
from shared.kernel.reading import read_instant, read_unix_seconds

DEAL: Final = "deal"
ACTIVITY: Final = "activity"
PRODUCTS: Final = "_products"
"""Where a fetched deal has what is sold with it."""


class PipedriveCredentials(ApiCredentials):
    """The personal API token of a user who may see all deals."""

    source: Literal["pipedrive"] = "pipedrive"
    api_url: Origin = Field(description="The company's domain, as https://company.pipedrive.com.")
    api_token: Printable = Field(repr=False)


_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_PAGE_MAX: Final = 500
_IDS_MAX: Final = 100
_PATHS: Final = {DEAL: "deals", ACTIVITY: "activities"}
_OPTIONAL: Final = frozenset({"archived", "activities", "summary", "products"})
"""What a company's plan or the user's permissions may not have, while deals can be read."""
_WALKS: Final = {"deals": "deals", "deals/archived": "archived", "activities": "activities"}
"""The lists walked one after the other, and their endpoints. Lists of deals leave out those that are archived."""
_POSITION: Final = re.compile(r"(deals|deals/archived|activities):(.*)", re.DOTALL)


class PipedriveApi(SourceApi[PipedriveCredentials]):
    """The API of version 2, and of version 1 for what has no newer. Calls cost tokens of a daily budget."""

    credentials = PipedriveCredentials
    limits = (Limit(20, timedelta(seconds=2)),)

    @override
    def authorised(self, call: Call, credentials: PipedriveCredentials, token: str | None) -> Call:
        headers = {**call.headers, "x-api-token": credentials.api_token}
        return replace(call, headers=headers)

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        left = header_number(answer, "x-daily-ratelimit-token-remaining")
        if 200 <= answer.status < 300:
            return Judgement(Verdict.OK, credits_remaining=left)
        message = _error(answer)
        detail = f"{answer.status}: {message}"[:500]
        if answer.status == 401:
            return Judgement(Verdict.TOKEN_EXPIRED, None, detail, left)
        if answer.status == 429:
            if left == 0 or "daily" in message.lower():
                return Judgement(Verdict.QUOTA_EXHAUSTED, None, detail, left)
            seconds = header_number(answer, "x-ratelimit-reset")
            wait = retry_after(answer) if seconds is None else timedelta(seconds=min(seconds, 3600))
            return Judgement(Verdict.RATE_LIMITED, wait, detail, left)
        if answer.status >= 500:
            return Judgement(Verdict.TRANSIENT, None, detail, left)
        is_absent = call.endpoint in _OPTIONAL and answer.status in (402, 403, 404, 410)
        is_missing = call.endpoint == "one" and answer.status in (404, 410)
        return Judgement(Verdict.OK if is_absent or is_missing else Verdict.REFUSED, None, detail, left)

    @override
    def fetch(
        self, credentials: PipedriveCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        path = _PATHS.get(object_name)
        if path is None:
            raise UnexpectedAnswer(f"{object_name} is no deal and no activity")
        ids = sorted({each for each in external_ids if _ID.fullmatch(each)})
        gone = [Gone(object_name, each) for each in external_ids if not _ID.fullmatch(each)]
        found: dict[str, Mapping[str, object]] = {}
        if ids:
            params = {"ids": ",".join(ids), "limit": str(len(ids))}
            found = _listed(read_answer((yield Call("GET", f"{credentials.api_url}/api/v2/{path}", params))))
        for missing in [each for each in ids if each not in found]:
            # The list leaves out what is deleted, and what is archived too.
            answer = yield Call("GET", f"{credentials.api_url}/api/v2/{path}/{missing}", endpoint="one")
            if answer.status in (404, 410):
                gone.append(Gone(object_name, missing))
            else:
                found[missing] = _data_of_one(read_answer(answer))
        records = []
        for external_id in ids:
            raw = found.get(external_id)
            if raw is not None and is_gone(raw):
                gone.append(Gone(object_name, external_id, _moment_or_none(raw.get("update_time"))))
            elif raw is not None:
                records.append(RawRecord(object_name, external_id, raw))
        return RecordPage((yield from _with_products(credentials, records)), gone)

    @override
    def changed(
        self, credentials: PipedriveCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        position = _POSITION.fullmatch(cursor or "")
        walk, after = (position[1], position[2]) if position else ("deals", "")
        params = {} if since is None else {"updated_since": _rfc3339(since)}
        answer = yield _list(credentials, walk, {**params, "sort_by": "update_time"}, after, endpoint=_WALKS[walk])
        document = read_answer(answer) if answer.status == 200 else {}
        found = _listed(document)
        upcoming = _next_cursor(document)
        if upcoming is not None:
            next_cursor: str | None = f"{walk}:{upcoming}"
        else:
            later = list(_WALKS)[list(_WALKS).index(walk) + 1 :]
            next_cursor = f"{later[0]}:" if later else None
        name = ACTIVITY if walk == "activities" else DEAL
        records = [RawRecord(name, each, raw) for each, raw in found.items() if not is_gone(raw)]
        gone = [
            Gone(name, each, _moment_or_none(raw.get("update_time"))) for each, raw in found.items() if is_gone(raw)
        ]
        return RecordPage((yield from _with_products(credentials, records)), gone, next_cursor)

    @override
    def deleted(
        self, credentials: PipedriveCredentials, since: datetime, cursor: str | None
    ) -> Conversation[RecordPage]:
        params = {"status": "deleted", "updated_since": _rfc3339(since), "sort_by": "update_time"}
        document = read_answer((yield _list(credentials, "deals", params, cursor, endpoint="deals")))
        gone = [Gone(DEAL, each, _moment_or_none(raw.get("update_time"))) for each, raw in _listed(document).items()]
        return RecordPage(gone=gone, next_cursor=_next_cursor(document))

    @override
    def count(self, credentials: PipedriveCredentials) -> Conversation[int | None]:
        answer = yield Call("GET", f"{credentials.api_url}/api/v1/deals/summary", endpoint="summary")
        data = read_answer(answer).get("data") if answer.status == 200 else None
        total = data.get("total_count") if isinstance(data, Mapping) else None
        return total if isinstance(total, int) else None

    @override
    def users(self, credentials: PipedriveCredentials, cursor: str | None) -> Conversation[UserPage]:
        document = read_answer((yield Call("GET", f"{credentials.api_url}/api/v1/users")))
        users = [
            ApiUser(
                user_id, only_text(raw.get("name")), only_text(raw.get("email")), raw.get("active_flag") is not False
            )
            for user_id, raw in _listed(document).items()
        ]
        return UserPage(users)


def is_gone(raw: Mapping[str, object]) -> bool:
    """Whether a record is there only to say that it was deleted."""
    return raw.get("status") == "deleted" or raw.get("is_deleted") is True


def instant_of(value: object, pointer: str) -> datetime | None:
    """ISO 8601, without a zone taken as UTC, or Unix seconds as a number or as digits. Raises Untranslatable."""
    if value is None:
        return None
    instant = read_unix_seconds(value) or read_instant(str(value), assume_utc=True)
    if instant is None:
        raise Untranslatable(QuarantineReason.INVALID_FIELD, pointer, "is not a time")
    return instant


def _list(
    own: PipedriveCredentials, path: str, params: Mapping[str, str], cursor: str | None, *, endpoint: str
) -> Call:
    paged = {**params, "sort_direction": "asc", "limit": str(_PAGE_MAX)}
    return Call(
        "GET", f"{own.api_url}/api/v2/{path}", paged | ({"cursor": cursor} if cursor else {}), endpoint=endpoint
    )


def _with_products(own: PipedriveCredentials, records: Sequence[RawRecord]) -> Conversation[list[RawRecord]]:
    """Records, the deals among them with what is sold with them, where the company has that and the user may see it."""
    products: dict[str, list[Mapping[str, object]]] = {}
    ids = [each.external_id for each in records if each.object_name == DEAL]
    for start in range(0, len(ids), _IDS_MAX):
        named, cursor, is_last = ",".join(ids[start : start + _IDS_MAX]), "", False
        while not is_last:
            params = {"deal_ids": named, "limit": str(_PAGE_MAX), **({"cursor": cursor} if cursor else {})}
            answer = yield Call("GET", f"{own.api_url}/api/v2/deals/products", params, endpoint="products")
            document = read_answer(answer) if answer.status == 200 else {}
            for line in _listed(document).values():
                products.setdefault(str(line.get("deal_id")), []).append(line)
            cursor = _next_cursor(document) or ""
            is_last = not cursor
    return [
        replace(each, raw={**each.raw, PRODUCTS: products.get(each.external_id, [])})
        if each.object_name == DEAL
        else each
        for each in records
    ]


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
        return instant_of(value, "")
    except Untranslatable as error:
        raise UnexpectedAnswer(f"{str(value)[:100]} is not a time") from error


def _error(answer: Answer) -> str:
    with suppress(Untranslatable):
        document = read_json(answer.body)
        if isinstance(document, Mapping):
            return " ".join(str(document[name]) for name in ("error", "error_info", "message") if document.get(name))
    return ""
