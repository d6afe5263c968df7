"""How HubSpot is called for deals, with splits, payments, invoices and what is sold, and activities: its CRM API."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from pydantic import Field, JsonValue
from typing_extensions import override

from services.tracking.intake.sources.adapter import read_answer, read_json
from services.tracking.intake.sources.canonical import CUSTOM_FIELDS_MAX
from services.tracking.intake.sources.domain import Judgement, Limit, Untranslatable, Verdict
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
from services.tracking.intake.sources.values import (
    answered_moment,
    header_number,
    milliseconds_of,
    only_text,
    retry_after,
)
from shared.kernel.activities import ActivityStatus, ActivityType

DEALS: Final = "deals"
LINES: Final = "line_items"
"""What is sold with deals."""
PAYMENTS: Final = "commerce_payments"
"""What was paid for them."""
INVOICES: Final = "invoices"
"""What was invoiced of them."""
RECORD_ID: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
MODIFIED: Final = "hs_lastmodifieddate"
"""The property with the time at which a record was modified."""
_MERGED: Final = "hs_merged_object_ids"
PROPERTIES: Final = (
    "dealname",
    "amount",
    "amount_in_home_currency",
    "dealstage",
    "pipeline",
    "closedate",
    "createdate",
    "dealtype",
    "deal_currency_code",
    "hubspot_owner_id",
    "hubspot_team_id",
    "hs_analytics_source",
    "hs_deal_stage_probability",
    "hs_is_closed",
    "hs_is_closed_won",
    MODIFIED,
    _MERGED,
    "hs_primary_associated_company",
)
"""The properties of a deal that every portal has."""


class ActivityObject(NamedTuple):
    """How HubSpot has one kind of activity."""

    type: ActivityType
    subject: str
    status: str
    statuses: Mapping[str, ActivityStatus]
    otherwise: ActivityStatus
    others: tuple[str, ...] = ()


ACTIVITIES: Final = {
    "calls": ActivityObject(
        ActivityType.CALL,
        "hs_call_title",
        "hs_call_status",
        {"CANCELED": ActivityStatus.CANCELLED, "SCHEDULED": ActivityStatus.PLANNED, "QUEUED": ActivityStatus.PLANNED},
        ActivityStatus.DONE,
        ("hs_call_duration", "hs_call_disposition"),
    ),
    "meetings": ActivityObject(
        ActivityType.MEETING,
        "hs_meeting_title",
        "hs_meeting_outcome",
        {
            "SCHEDULED": ActivityStatus.PLANNED,
            "CANCELED": ActivityStatus.CANCELLED,
            "NO_SHOW": ActivityStatus.CANCELLED,
            "RESCHEDULED": ActivityStatus.CANCELLED,
        },
        ActivityStatus.DONE,
        ("hs_meeting_start_time", "hs_meeting_end_time"),
    ),
    "emails": ActivityObject(
        ActivityType.EMAIL,
        "hs_email_subject",
        "hs_email_status",
        {
            "SCHEDULED": ActivityStatus.PLANNED,
            "SENDING": ActivityStatus.PLANNED,
            "BOUNCED": ActivityStatus.CANCELLED,
            "FAILED": ActivityStatus.CANCELLED,
        },
        ActivityStatus.DONE,
    ),
    "tasks": ActivityObject(
        ActivityType.TASK,
        "hs_task_subject",
        "hs_task_status",
        {"COMPLETED": ActivityStatus.DONE, "DEFERRED": ActivityStatus.CANCELLED},
        ActivityStatus.PLANNED,
    ),
}


class HubspotCredentials(ApiCredentials):
    """The access token of a private app."""

    source: Literal["hubspot"] = "hubspot"
    api_url: Origin = "https://api.hubapi.com"
    access_token: Printable = Field(repr=False)


_PAGE_SEARCH_MAX: Final = 200
_PAGE_LIST_MAX: Final = 100
_WALKS: Final = (DEALS, *ACTIVITIES)
"""The objects walked one after the other."""
PARTS: Final = {
    LINES: ("hs_sku", "hs_product_id", "quantity", "amount", MODIFIED),
    PAYMENTS: (
        "hs_initial_amount",
        "hs_initiated_date",
        "hs_latest_status",
        "hs_refunds_amount",
        "hs_currency_code",
        MODIFIED,
    ),
    INVOICES: ("hs_amount_billed", "hs_invoice_date", "hs_invoice_status", "hs_currency", MODIFIED),
}
"""The objects whose records belong to deals, and what is fetched of each."""
_POSITION: Final = re.compile(r"(?:([a-z_]+)/)?(from|at):([0-9]{1,15})(?::([0-9]{1,20}))?", re.ASCII)
_OPTIONAL: Final = frozenset({"properties", "currency", "account", "splits", "associations", "parts"})
"""What a portal may not have, or the app not be allowed to see, while deals can be read."""
_DAILY: Final = "DAILY"
_PASSING: Final = (423, 477)
"""A record that is locked, and an account that is being moved."""


class _Portal(NamedTuple):
    """What is fetched of deals here, the currency that the portal converts amounts to, and its time zone."""

    properties: tuple[str, ...]
    home_currency: str | None = None
    time_zone: str | None = None


class HubspotApi(SourceApi[HubspotCredentials]):
    """The CRM API of version 3. Search pages start at the last modified time of the page before, not at an offset:
    what is modified meanwhile moves to the end and would shift all others, and no search gives more than 10,000."""

    credentials = HubspotCredentials
    limits = (Limit(100, timedelta(seconds=10)), Limit(4, timedelta(seconds=1), is_per_endpoint=True))

    @override
    def authorised(self, call: Call, credentials: HubspotCredentials, token: str | None) -> Call:
        headers = {**call.headers, "authorization": f"Bearer {credentials.access_token}"}
        if call.json is not None:
            headers["content-type"] = "application/json"
        return replace(call, headers=headers)

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        remaining = header_number(answer, "x-hubspot-ratelimit-daily-remaining")
        if 200 <= answer.status < 300:
            return Judgement(Verdict.OK, credits_remaining=remaining)
        error = _error(answer)
        detail = f"{answer.status} {error.category}: {error.message}"[:500]
        pause = retry_after(answer)
        if answer.status == 401:
            return Judgement(Verdict.TOKEN_EXPIRED, None, detail, remaining)
        if answer.status == 429:
            if error.policy == _DAILY:
                return Judgement(Verdict.QUOTA_EXHAUSTED, pause, detail, remaining)
            interval = header_number(answer, "x-hubspot-ratelimit-interval-milliseconds")
            if pause is None and interval is not None:
                pause = timedelta(milliseconds=min(interval, 60_000))
            return Judgement(Verdict.RATE_LIMITED, pause, detail, remaining)
        if answer.status >= 500 or answer.status in _PASSING:
            return Judgement(Verdict.TRANSIENT, pause, detail, remaining)
        is_unseen = answer.status == 403 and _is_of_no_deals(call)
        is_absent = is_unseen or (call.endpoint in _OPTIONAL and answer.status in (400, 403, 404))
        is_none_found = call.endpoint == "read" and answer.status == 404 and error.category == "OBJECT_NOT_FOUND"
        verdict = Verdict.OK if is_absent or is_none_found else Verdict.REFUSED
        return Judgement(verdict, pause, detail, remaining)

    @override
    def fetch(
        self, credentials: HubspotCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        ids = sorted({each for each in external_ids if RECORD_ID.fullmatch(each)})
        gone = [Gone(object_name, each) for each in external_ids if not RECORD_ID.fullmatch(each)]
        if not ids:
            return RecordPage(gone=gone)
        if object_name in PARTS:
            page = yield from self._deals_of_parts(credentials, object_name, ids)
            return RecordPage(page.records, [*gone, *page.gone])
        activity = ACTIVITIES.get(object_name)
        if activity is None and object_name != DEALS:
            raise UnexpectedAnswer(f"{object_name} is no deal and no activity")
        portal = (yield from _portal(credentials)) if activity is None else _Portal(_properties_of(activity))
        found = yield from _read(credentials, object_name, ids, portal.properties, archived=False)
        elsewhere = {each for raw in found.values() for each in merged_ids(raw)}
        missing = [each for each in ids if each not in found and each not in elsewhere]
        if missing:
            archived = yield from _read(credentials, object_name, missing, portal.properties, archived=True)
            gone += [
                Gone(object_name, each, answered_moment(archived.get(each, {}).get("archivedAt"))) for each in missing
            ]
        if activity is None:
            records = yield from _with_parts(credentials, portal, found)
        else:
            records = yield from _with_deals(credentials, object_name, found)
        return RecordPage(records, gone)

    def _deals_of_parts(self, own: HubspotCredentials, part: str, ids: Sequence[str]) -> Conversation[RecordPage]:
        """The deals that lines, payments or invoices belong to. Those of quotes and of nothing have none."""
        deals = yield from _associated(own, part, DEALS, ids)
        named = sorted({each for some in deals.values() for each in some})
        records: list[RawRecord] = []
        gone: list[Gone] = []
        for start in range(0, len(named), _PAGE_LIST_MAX):
            page = yield from self.fetch(own, DEALS, named[start : start + _PAGE_LIST_MAX])
            records += page.records
            gone += page.gone
        return RecordPage(records, gone)

    @override
    def changed(
        self, credentials: HubspotCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        position = _POSITION.fullmatch(cursor or "")
        begin = 0 if since is None else max(0, int(since.timestamp() * 1000))
        walks = _WALKS if since is None else (DEALS, *PARTS, *ACTIVITIES)
        walk = position[1] if position and position[1] in walks else DEALS
        phase, at, after = (position[2], int(position[3]), position[4]) if position else ("from", begin, None)
        activity = ACTIVITIES.get(walk)
        if walk in PARTS:
            portal = _Portal((MODIFIED,))
        else:
            portal = (yield from _portal(credentials)) if activity is None else _Portal(_properties_of(activity))
        if phase == "at":
            filters = [_filter(MODIFIED, "EQ", str(at)), _filter("hs_object_id", "GT", after or "0")]
            answer = yield _search(credentials, walk, filters, "hs_object_id", portal.properties)
        else:
            answer = yield _search(credentials, walk, [_filter(MODIFIED, "GTE", str(at))], MODIFIED, portal.properties)
        found = _results(read_answer(answer)) if answer.status == 200 else {}
        gone: Sequence[Gone] = ()
        if walk in PARTS:
            page = yield from self._deals_of_parts(credentials, walk, list(found))
            records, gone = page.records, page.gone
        elif activity is None:
            records = yield from _with_parts(credentials, portal, found)
        else:
            records = yield from _with_deals(credentials, walk, found)
        upcoming = _next_position(phase, at, found) if answer.status == 200 else None
        if upcoming is None and (later := _walk_after(walk, walks)) is not None:
            return RecordPage(records, gone, f"{later}/from:{begin}")
        return RecordPage(records, gone, None if upcoming is None else f"{walk}/{upcoming}")

    @override
    def deleted(self, credentials: HubspotCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        head, _, after = (cursor or "").rpartition("/")
        walk = head if head in ACTIVITIES else DEALS
        params = {"archived": "true", "limit": str(_PAGE_LIST_MAX), "properties": MODIFIED}
        if after:
            params["after"] = after
        answer = yield Call("GET", f"{credentials.api_url}/crm/v3/objects/{walk}", params, endpoint="list")
        document: Mapping[str, object] = read_answer(answer) if answer.status == 200 else {"results": []}
        dates = {external_id: answered_moment(raw.get("archivedAt")) for external_id, raw in _results(document).items()}
        gone = [Gone(walk, external_id, at) for external_id, at in dates.items() if at is None or at >= since]
        upcoming = _after(document)
        if upcoming is None and (later := _walk_after(walk, _WALKS)) is not None:
            return RecordPage(gone=gone, next_cursor=f"{later}/")
        return RecordPage(gone=gone, next_cursor=None if upcoming is None else f"{walk}/{upcoming}")

    @override
    def count(self, credentials: HubspotCredentials) -> Conversation[int | None]:
        number = 0
        for walk in _WALKS:
            url = f"{credentials.api_url}/crm/v3/objects/{walk}/search"
            answer = yield Call("POST", url, json={"limit": 1}, endpoint="search")
            if answer.status != 200:
                continue
            total = read_answer(answer).get("total")
            if not isinstance(total, int):
                return None
            number += total
        return number

    @override
    def users(self, credentials: HubspotCredentials, cursor: str | None) -> Conversation[UserPage]:
        params = {"limit": str(_PAGE_LIST_MAX)}
        if cursor is not None:
            params["after"] = cursor
        answer = read_answer((yield Call("GET", f"{credentials.api_url}/crm/v3/owners", params, endpoint="owners")))
        users = []
        for owner_id, raw in _results(answer).items():
            names = [raw.get("firstName"), raw.get("lastName")]
            name = " ".join(each for each in names if isinstance(each, str) and each)
            is_active = raw.get("archived") is not True
            users.append(ApiUser(owner_id, name or None, only_text(raw.get("email")), is_active))
        return UserPage(users, _after(answer))


def merged_ids(raw: Mapping[str, object]) -> list[str]:
    """The deals that a deal was made of."""
    properties = raw.get("properties")
    listed = properties.get(_MERGED) if isinstance(properties, Mapping) else None
    return [each for each in listed.split(";") if RECORD_ID.fullmatch(each)] if isinstance(listed, str) else []


def _portal(own: HubspotCredentials) -> Conversation[_Portal]:
    properties = list(PROPERTIES)
    answer = yield Call("GET", f"{own.api_url}/crm/v3/properties/deals", endpoint="properties")
    if answer.status == 200:
        listed = read_answer(answer).get("results")
        names = [
            str(each.get("name"))
            for each in (listed if isinstance(listed, list) else ())
            if isinstance(each, Mapping) and each.get("hubspotDefined") is not True and each.get("archived") is not True
        ]
        properties += sorted(name for name in names if name not in PROPERTIES)[:CUSTOM_FIELDS_MAX]
    answer = yield Call("GET", f"{own.api_url}/settings/v3/currencies/company-currency", endpoint="currency")
    code = read_answer(answer).get("currencyCode") if answer.status == 200 else None
    answer = yield Call("GET", f"{own.api_url}/account-info/v3/details", endpoint="account")
    zone = read_answer(answer).get("timeZone") if answer.status == 200 else None
    return _Portal(tuple(properties), only_text(code), only_text(zone))


def _properties_of(activity: ActivityObject) -> tuple[str, ...]:
    return (MODIFIED, "hs_timestamp", "hubspot_owner_id", activity.subject, activity.status, *activity.others)


def _read(
    own: HubspotCredentials,
    object_name: str,
    ids: Sequence[str],
    properties: Sequence[str],
    *,
    archived: bool,
    endpoint: str = "read",
) -> Conversation[dict[str, Mapping[str, object]]]:
    """The records with these ids, by the ids they have now."""
    answer = yield Call(
        "POST",
        f"{own.api_url}/crm/v3/objects/{object_name}/batch/read",
        {"archived": "true"} if archived else {},
        json={"inputs": [{"id": each} for each in ids], "properties": list(properties)},
        endpoint=endpoint,
    )
    if answer.status not in (200, 207):
        return {}
    document = read_answer(answer)
    errors = document.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if not isinstance(error, Mapping) or error.get("category") != "OBJECT_NOT_FOUND":
            raise UnexpectedAnswer(f"some of the records could not be read: {str(error)[:300]}")
    return _results(document)


def _with_parts(
    own: HubspotCredentials, portal: _Portal, found: Mapping[str, Mapping[str, object]]
) -> Conversation[list[RawRecord]]:
    """Deals with how they are split, what is sold with them, paid and invoiced, as far as the app may see it."""
    splits = yield from _splits(own, list(found))
    lines = yield from _parts(own, LINES, list(found))
    payments = yield from _parts(own, PAYMENTS, list(found))
    invoices = yield from _parts(own, INVOICES, list(found))
    return [
        RawRecord(
            DEALS,
            deal_id,
            {
                **raw,
                "_home_currency": portal.home_currency,
                "_splits": splits.get(deal_id) or [],
                "_lines": lines.get(deal_id, []),
                "_payments": payments.get(deal_id, []),
                "_invoices": invoices.get(deal_id, []),
                "_time_zone": portal.time_zone,
            },
        )
        for deal_id, raw in found.items()
    ]


def _splits(own: HubspotCredentials, ids: Sequence[str]) -> Conversation[dict[str, object]]:
    """How deals are split, by their ids."""
    splits: dict[str, object] = {}
    for start in range(0, len(ids), _PAGE_LIST_MAX):
        answer = yield Call(
            "POST",
            f"{own.api_url}/crm/v3/objects/deals/splits/batch/read",
            json={"inputs": [{"id": each} for each in ids[start : start + _PAGE_LIST_MAX]]},
            endpoint="splits",
        )
        if answer.status not in (200, 207):
            break
        splits |= {deal_id: raw.get("splits") for deal_id, raw in _results(read_answer(answer)).items()}
    return splits


def _parts(
    own: HubspotCredentials, part: str, ids: Sequence[str]
) -> Conversation[dict[str, list[Mapping[str, object]]]]:
    """What of another object belongs to deals, by the deals' ids."""
    part_ids = yield from _associated(own, DEALS, part, ids)
    wanted = sorted({each for some in part_ids.values() for each in some})
    found: dict[str, Mapping[str, object]] = {}
    for start in range(0, len(wanted), _PAGE_LIST_MAX):
        some = wanted[start : start + _PAGE_LIST_MAX]
        found |= yield from _read(own, part, some, PARTS[part], archived=False, endpoint="parts")
    return {deal_id: [found[each] for each in some if each in found] for deal_id, some in part_ids.items()}


def _with_deals(
    own: HubspotCredentials, object_name: str, found: Mapping[str, Mapping[str, object]]
) -> Conversation[list[RawRecord]]:
    """Activities with the deals they are about."""
    deals = yield from _associated(own, object_name, DEALS, list(found))
    return [
        RawRecord(object_name, external_id, {**raw, "_deals": deals.get(external_id, [])})
        for external_id, raw in found.items()
    ]


def _associated(
    own: HubspotCredentials, object_name: str, other: str, ids: Sequence[str]
) -> Conversation[dict[str, list[str]]]:
    """The ids of the records of another object that records are associated with, by the ids of these.

    What does not fit into an answer has pages of its own for each record.
    """
    associated: dict[str, set[str]] = {}
    inputs: list[JsonValue] = [{"id": each} for each in ids]
    while inputs:
        url = f"{own.api_url}/crm/v4/associations/{object_name}/{other}/batch/read"
        answer = yield Call("POST", url, json={"inputs": inputs}, endpoint="associations")
        listed = read_answer(answer).get("results") if answer.status in (200, 207) else None
        inputs = []
        for each in listed if isinstance(listed, list) else ():
            source, targets = (each.get("from"), each.get("to")) if isinstance(each, Mapping) else (None, None)
            if isinstance(source, Mapping) and isinstance(targets, list):
                named = {str(target.get("toObjectId")) for target in targets if isinstance(target, Mapping)}
                external_id, after = str(source.get("id")), _after(each)
                associated.setdefault(external_id, set()).update(filter(RECORD_ID.fullmatch, named))
                if after is not None:
                    inputs.append({"id": external_id, "after": after})
    return {each: sorted(named) for each, named in associated.items()}


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}


def _walk_after(walk: str, walks: Sequence[str]) -> str | None:
    later = walks[walks.index(walk) + 1 :]
    return later[0] if later else None


def _is_of_no_deals(call: Call) -> bool:
    """Whether a call walks through activities or parts of deals, which an app need not be allowed to see."""
    return call.endpoint in ("search", "list") and not call.url.rpartition("/objects/")[2].startswith(DEALS)


def _search(
    own: HubspotCredentials, walk: str, filters: Sequence[Mapping[str, str]], sort: str, properties: Sequence[str]
) -> Call:
    return Call(
        "POST",
        f"{own.api_url}/crm/v3/objects/{walk}/search",
        json={
            "filterGroups": [{"filters": [dict(each) for each in filters]}],
            "sorts": [{"propertyName": sort, "direction": "ASCENDING"}],
            "properties": list(properties),
            "limit": _PAGE_SEARCH_MAX,
        },
        endpoint="search",
    )


def _next_position(phase: str, at: int, found: Mapping[str, Mapping[str, object]]) -> str | None:
    """Where the walk goes on. A page that is full of one moment is followed by the rest of that moment, by id."""
    is_full = len(found) >= _PAGE_SEARCH_MAX
    if phase == "at":
        return f"at:{at}:{max(int(each) for each in found)}" if is_full else f"from:{at + 1}"
    if not is_full:
        return None
    last = max(_modified_ms(raw) for raw in found.values())
    return f"from:{last}" if last > at else f"at:{at}:0"


def _modified_ms(raw: Mapping[str, object]) -> int:
    properties = raw.get("properties")
    at = answered_moment(properties.get(MODIFIED) if isinstance(properties, Mapping) else None)
    if at is None:
        raise UnexpectedAnswer(f"a record has no {MODIFIED}")
    return milliseconds_of(at)


def _results(document: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    results = document.get("results")
    if not isinstance(results, list):
        raise UnexpectedAnswer("the answer has no results")
    found: dict[str, Mapping[str, object]] = {}
    for each in results:
        external_id = str(each.get("id")) if isinstance(each, Mapping) else ""
        if not RECORD_ID.fullmatch(external_id):
            raise UnexpectedAnswer("a result has no id")
        found[external_id] = each
    return found


def _after(document: Mapping[str, object]) -> str | None:
    """Where the next page of a list begins."""
    paging = document.get("paging")
    upcoming = paging.get("next") if isinstance(paging, Mapping) else None
    after = upcoming.get("after") if isinstance(upcoming, Mapping) else None
    return None if after is None else str(after)


class _Error(NamedTuple):
    category: str
    message: str
    policy: str


def _error(answer: Answer) -> _Error:
    with suppress(Untranslatable):
        document = read_json(answer.body)
        if isinstance(document, Mapping):
            category = document.get("category") or document.get("errorType") or ""
            return _Error(str(category), str(document.get("message") or ""), str(document.get("policyName") or ""))
    return _Error("", "", "")
