"""How Fxiaoke is called for opportunities, orders, both with their parts, and activities: its open API."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, StringConstraints
from typing_extensions import override

from services.tracking.intake.sources.adapter import read_answer, read_document
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
    Token,
    UnexpectedAnswer,
    UserPage,
)
from services.tracking.intake.sources.values import milliseconds_of, text_or_number
from shared.kernel.reading import read_unix_milliseconds, read_whole_number

OPPORTUNITY: Final = "NewOpportunityObj"
ORDER: Final = "SalesOrderObj"
PAYMENT: Final = "PaymentObj"
ORDER_PAYMENT: Final = "OrderPaymentObj"
INVOICE: Final = "InvoiceApplicationObj"
ACTIVITY: Final = "ActiveRecordObj"

ORDER_LINE: Final = "SalesOrderProductObj"
OPPORTUNITY_LINE: Final = "NewOpportunityLinesObj"

Object = Literal[
    "NewOpportunityObj",
    "SalesOrderObj",
    "PaymentObj",
    "OrderPaymentObj",
    "ActiveRecordObj",
    "SalesOrderProductObj",
    "NewOpportunityLinesObj",
    "InvoiceApplicationObj",
]

_MOST_HAVE: Final[tuple[Object, ...]] = (ORDER, PAYMENT, ORDER_PAYMENT, OPPORTUNITY, ACTIVITY)
OBJECTS: Final[tuple[Object, ...]] = (*_MOST_HAVE, ORDER_LINE, OPPORTUNITY_LINE, INVOICE)
_ORDERS_PART: Final = (ORDER, "order_id")
BELONGING: Final = {
    PAYMENT: _ORDERS_PART,
    ORDER_PAYMENT: _ORDERS_PART,
    ORDER_LINE: _ORDERS_PART,
    INVOICE: _ORDERS_PART,
    OPPORTUNITY_LINE: (OPPORTUNITY, "new_opportunity_id"),
}
"""They are no records of their own but parts of deals: of which object, and the field that names the deal."""
_LINES_OF: Final = {BELONGING[each][0]: each for each in (ORDER_LINE, OPPORTUNITY_LINE)}
"""The object of what is sold with deals."""
_INVALID: Final = "invalid"
PARTS: Final = "_payments"
"""Where a fetched order has what was paid for it."""
LINES: Final = "_lines"
"""Where a fetched deal has what is sold with it."""
INVOICES: Final = "_invoices"
"""Where a fetched order has what was invoiced of it."""
PART_OBJECT: Final = "_object"
"""Where each of these has the object it is of."""

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
    api_url: Origin = Field(
        "https://open.fxiaoke.com", description="Of the cloud the company is in, as https://open.fxiaoke.com."
    )
    app_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(description="As FSAID_….")
    app_secret: Printable = Field(repr=False)
    permanent_code: Printable = Field(repr=False)
    corp_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(
        description="The company as the open platform names it, as FSCID_…."
    )
    current_open_user_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] = Field(
        description="The employee in whose name calls are made, as FSUID_…: what they may not see is not found."
    )
    objects: tuple[Object, ...] = Field(
        _MOST_HAVE,
        min_length=1,
        description=(
            "What is fetched; leave out what the company does not use, and add what is sold with its deals,"
            f" {ORDER_LINE} and {OPPORTUNITY_LINE}, and what is invoiced of its orders, {INVOICE}."
        ),
    )


class FxiaokeApi(SourceApi[FxiaokeCredentials]):
    """The open API. Every answer is an HTTP 200; what it means is its `errorCode`.

    Walks go by `_id`, which the source documents for any depth: an offset ends at 10,000 records.
    """

    credentials = FxiaokeCredentials
    limits = (Limit(100, _WINDOW, is_per_endpoint=True),)
    fetch_ids_max = _PAGE_RECORDS

    @override
    def obtain_token(self, credentials: FxiaokeCredentials) -> Conversation[Token]:
        answer = yield Call(
            "POST",
            f"{credentials.api_url}{_TOKEN_PATH}",
            json={
                "appId": credentials.app_id,
                "appSecret": credentials.app_secret,
                "permanentCode": credentials.permanent_code,
            },
            endpoint=_TOKEN_PATH,
        )
        document = read_answer(answer)
        value, seconds = document.get("corpAccessToken"), read_whole_number(document.get("expiresIn"))
        if not isinstance(value, str) or not value or seconds is None or not 0 < seconds <= _TOKEN_SECONDS_MAX:
            raise UnexpectedAnswer("no corpAccessToken and expiresIn")
        if document.get("corpId") != credentials.corp_id:
            raise UnexpectedAnswer("the access is to another company than corp_id names")
        return Token(value, timedelta(seconds=seconds))

    @override
    def authorised(self, call: Call, credentials: FxiaokeCredentials, token: str | None) -> Call:
        if token is None or call.endpoint == _TOKEN_PATH or not isinstance(call.json, dict):
            return call
        body: JsonValue = {
            "corpAccessToken": token,
            "corpId": credentials.corp_id,
            "currentOpenUserId": credentials.current_open_user_id,
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
        self, credentials: FxiaokeCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        if object_name not in OBJECTS:
            raise UnexpectedAnswer(f"{object_name} is not among {', '.join(OBJECTS)}")
        rows = yield from _by_ids(credentials, object_name, external_ids)
        found = {row["_id"] for row in rows}
        gone = [Gone(object_name, each) for each in external_ids if each not in found]
        page = yield from _whole_records(credentials, object_name, rows)
        return RecordPage(page.records, [*gone, *page.gone])

    @override
    def changed(
        self, credentials: FxiaokeCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        # Of everything there is, deals come with their parts.
        walked = [each for each in credentials.objects if since is not None or each not in BELONGING]
        filters = [] if since is None else [_filter("last_modified_time", "GTE", str(milliseconds_of(since)))]
        object_name, rows, upcoming = yield from _walked(credentials, walked, filters, cursor)
        if object_name is None:
            return RecordPage()
        page = yield from _whole_records(credentials, object_name, rows)
        return replace(page, next_cursor=upcoming)

    @override
    def deleted(self, credentials: FxiaokeCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        walked = [each for each in credentials.objects if each not in BELONGING]
        filters = [
            _filter("life_status", "EQ", _INVALID),
            _filter("last_modified_time", "GTE", str(milliseconds_of(since))),
        ]
        object_name, rows, upcoming = yield from _walked(credentials, walked, filters, cursor)
        if object_name is None:
            return RecordPage()
        gone = [
            Gone(object_name, str(row["_id"]), read_unix_milliseconds(row.get("last_modified_time")))
            for row in rows
            if is_gone(row)
        ]
        return RecordPage(gone=gone, next_cursor=upcoming)

    @override
    def count(self, credentials: FxiaokeCredentials) -> Conversation[int | None]:
        total = 0
        for object_name in credentials.objects:
            if object_name in BELONGING:
                continue
            data = yield from _queried(credentials, object_name, [], limit=1, is_counted=True)
            number = read_whole_number(data.get("total"))
            if number is None:
                return None
            total += number
        return total

    @override
    def users(self, credentials: FxiaokeCredentials, cursor: str | None) -> Conversation[UserPage]:
        answer = yield Call(
            "POST",
            f"{credentials.api_url}{_USERS_PATH}",
            json={"departmentId": _WHOLE_COMPANY, "fetchChild": True, "showDepartmentIdsDetail": False},
            endpoint=_USERS_PATH,
        )
        document = read_answer(answer)
        listed = next((document[name] for name in ("userList", "userlist") if name in document), None)
        if not isinstance(listed, list):
            raise UnexpectedAnswer("userList is not a list")
        return UserPage(
            [
                ApiUser(
                    text,
                    text_or_number(row.get("name")) or text_or_number(row.get("nickName")),
                    text_or_number(row.get("email")),
                    row.get("isStop") is not True,
                )
                for row in listed
                if isinstance(row, Mapping) and (text := text_or_number(row.get("openUserId"))) is not None
            ]
        )


def is_gone(raw: Record) -> bool:
    """Whether a record was made invalid or deleted."""
    return raw.get("life_status") == _INVALID or raw.get("is_deleted") in (True, "true", "1")


def _code(document: Record) -> int | None:
    code = document.get("errorCode")
    if isinstance(code, str) and re.fullmatch(r"-?[0-9]{1,9}", code):
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _message(document: Record) -> str:
    return (
        text_or_number(document.get("errorMessage"))
        or text_or_number(document.get("errorDescription"))
        or "no errorMessage"
    )


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
    data = read_answer(answer).get("data")
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
    upcoming = list(walked).index(object_name) + 1
    return object_name, rows, walked[upcoming] if upcoming < len(walked) else None


def _by_ids(credentials: FxiaokeCredentials, object_name: str, ids: Sequence[str]) -> Conversation[list[Record]]:
    """The records of these ids that there are. What a query leaves out, as it may the invalid, is fetched alone."""
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
        document = read_answer(answer)
        record = document.get("data") if _code(document) == _OK else None
        if isinstance(record, Mapping) and record.get("_id") == each:
            rows.append(record)
    return rows


def _whole_records(
    credentials: FxiaokeCredentials, object_name: str, rows: Sequence[Record]
) -> Conversation[RecordPage]:
    """Records with their parts; of parts, the deals that they are of."""
    if object_name in BELONGING:
        deal_object, _ = BELONGING[object_name]
        deal_ids = yield from _deals_of(credentials, object_name, rows)
        deals: list[Record] = []
        for start in range(0, len(deal_ids), _PAGE_RECORDS):
            deals += yield from _by_ids(credentials, deal_object, deal_ids[start : start + _PAGE_RECORDS])
        found = {deal["_id"] for deal in deals}
        gone = [Gone(deal_object, each) for each in deal_ids if each not in found]
        page = yield from _whole_records(credentials, deal_object, deals)
        return replace(page, gone=[*gone, *page.gone])
    parts: dict[str, dict[str, list[Record]]] = {}
    for start in range(0, len(rows), _PAGE_RECORDS):
        ids = [str(row["_id"]) for row in rows[start : start + _PAGE_RECORDS]]
        if object_name == ORDER:
            parts.setdefault(PARTS, {}).update((yield from _paid(credentials, ids)))
        if (line_object := _LINES_OF.get(object_name)) in credentials.objects:
            parts.setdefault(LINES, {}).update((yield from _of_deals(credentials, line_object, ids)))
        if object_name == ORDER and INVOICE in credentials.objects:
            parts.setdefault(INVOICES, {}).update((yield from _of_deals(credentials, INVOICE, ids)))
    return RecordPage(
        [
            RawRecord(
                object_name,
                str(row["_id"]),
                {**row, **{name: each.get(str(row["_id"]), []) for name, each in parts.items()}},
            )
            for row in rows
        ]
    )


def _of_deals(
    credentials: FxiaokeCredentials, part_object: str, ids: Sequence[str]
) -> Conversation[dict[str, list[Record]]]:
    """What is sold with each of at most a hundred deals, or invoiced of it."""
    _, field = BELONGING[part_object]
    found: dict[str, list[Record]] = {}
    for line in (yield from _every(credentials, part_object, [_filter(field, "IN", *ids)])):
        for deal_id in ids_in(line, field):
            found.setdefault(deal_id, []).append(line)
    return found


def _deals_of(credentials: FxiaokeCredentials, object_name: str, rows: Sequence[Record]) -> Conversation[list[str]]:
    """The ids of the deals that parts are of; those of a payment that is divided are in its own parts."""
    _, field = BELONGING[object_name]
    named = [each for row in rows for each in ids_in(row, field)]
    if object_name == PAYMENT and rows and ORDER_PAYMENT in credentials.objects:
        for start in range(0, len(rows), _PAGE_RECORDS):
            ids = [str(row["_id"]) for row in rows[start : start + _PAGE_RECORDS]]
            parts = yield from _every(credentials, ORDER_PAYMENT, [_filter("payment_id", "IN", *ids)])
            named += [each for part in parts for each in ids_in(part, "order_id")]
    return list(dict.fromkeys(named))


def ids_in(row: Record, field: str) -> list[str]:
    """The ids in a field, of which there may be several."""
    value = row.get(field)
    return [
        text for each in (value if isinstance(value, list) else [value]) if (text := text_or_number(each)) is not None
    ]


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
            payment_id = text_or_number(part.get("payment_id"))
            for order_id in ids_in(part, "order_id"):
                found.setdefault(order_id, []).append({**part, PART_OBJECT: ORDER_PAYMENT})
                if payment_id is None:
                    unlinked.add(order_id)
            if payment_id is not None:
                divided.add(payment_id)
    if PAYMENT in credentials.objects:
        payments = yield from _every(credentials, PAYMENT, of_these)
        divided |= yield from _divided(credentials, [row for row in payments if row["_id"] not in divided])
        for payment in payments:
            if payment["_id"] not in divided:
                for order_id in set(ids_in(payment, "order_id")) - unlinked:
                    found.setdefault(order_id, []).append({**payment, PART_OBJECT: PAYMENT})
    return found


def _divided(credentials: FxiaokeCredentials, payments: Sequence[Record]) -> Conversation[set[str]]:
    """The ids of the payments that have parts, of whichever orders."""
    found: set[str] = set()
    if ORDER_PAYMENT in credentials.objects:
        for start in range(0, len(payments), _PAGE_RECORDS):
            ids = [str(row["_id"]) for row in payments[start : start + _PAGE_RECORDS]]
            parts = yield from _every(credentials, ORDER_PAYMENT, [_filter("payment_id", "IN", *ids)])
            found |= {text for part in parts if (text := text_or_number(part.get("payment_id"))) is not None}
    return found
