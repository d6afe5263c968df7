"""How Salesforce is called for opportunities, with what belongs to them, tasks and events: its REST API.

An id of 15 characters and the one of 18 that it begins are the same record; here it always has 18.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, StringConstraints
from typing_extensions import override

from services.tracking.intake.sources.adapter import read_answer, read_json
from services.tracking.intake.sources.canonical import CUSTOM_FIELDS_MAX
from services.tracking.intake.sources.domain import Judgement, Untranslatable, Verdict
from services.tracking.intake.sources.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Conversation,
    Gone,
    Origin,
    RawRecord,
    RecordPage,
    SourceApi,
    Token,
    UnexpectedAnswer,
    UserPage,
)
from services.tracking.intake.sources.values import answered_moment, only_text, retry_after
from shared.kernel.ids import salesforce_id
from shared.kernel.reading import read_http_date

OPPORTUNITY: Final = "Opportunity"
TASK: Final = "Task"
EVENT: Final = "Event"
ACTIVITIES: Final = (TASK, EVENT)
CURRENCY: Final = "CurrencyIsoCode"
"""The field that organisations of several currencies have."""
SPLITS: Final = "OpportunitySplits"
"""Where a fetched opportunity has its splits."""
TEAM_MEMBERS: Final = "OpportunityTeamMembers"
"""Where it has its team."""
LINES: Final = "OpportunityLineItems"
"""Where it has the products that are sold with it."""


class Part(NamedTuple):
    """What belongs to an opportunity and has a time of its own: where one has it, and what is fetched of it."""

    relation: str
    fields: str


PARTS: Final = {
    "OpportunitySplit": Part(
        SPLITS,
        "Id, SplitOwnerId, SplitPercentage, SplitAmount, SplitTypeId, SplitType.DeveloperName, SplitType.MasterLabel,"
        " SystemModstamp",
    ),
    "OpportunityTeamMember": Part(TEAM_MEMBERS, "Id, UserId, TeamMemberRole, SystemModstamp"),
    "OpportunityLineItem": Part(LINES, "Id, Product2Id, ProductCode, Quantity, TotalPrice, SystemModstamp"),
}
"""By the names of their objects; an organisation need not have them."""


def record_id(value: object) -> str | None:
    """An id in its form of 18 characters; None for what is not one, also by its check characters."""
    return salesforce_id(value) if isinstance(value, str) else None


class SalesforceCredentials(ApiCredentials):
    """An app with the client-credentials flow, run as a user who may see all opportunities."""

    source: Literal["salesforce"] = "salesforce"
    instance_url: Origin = Field(description="My Domain, as https://company.my.salesforce.com.")
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    client_secret: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(repr=False)
    api_version: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]\.0$")] = "62.0"


_PAGE_RECORDS_MAX: Final = 200
_PAGE_USERS_MAX: Final = 1000
_TOKEN_LIFETIME: Final = timedelta(hours=1)
"""Taken where no answer states it: it depends on the organisation's settings. One that ends sooner is refused."""
_DELETED_AGE_MAX: Final = timedelta(days=30) - timedelta(minutes=5)
_DELETED_SPAN_MIN: Final = timedelta(minutes=2)
_USAGE: Final = re.compile(r"(?<![\w-])api-usage=(\d+)/(\d+)")
_POSITION: Final = re.compile(rf"(all|{'|'.join((*PARTS, *ACTIVITIES))}):(\S*):([A-Za-z0-9]{{18}})?")
_TOKEN_ENDPOINT: Final = "token"  # noqa: S105
_STANDARD_FIELDS: Final = (
    "Id",
    "Name",
    "AccountId",
    "Account.Id",
    "Account.Name",
    "Amount",
    "CloseDate",
    "CreatedDate",
    "ForecastCategory",
    "ForecastCategoryName",
    "IsClosed",
    "IsDeleted",
    "IsWon",
    "LeadSource",
    "OwnerId",
    "Probability",
    "StageName",
    "SystemModstamp",
    "Type",
)
_OBJECTS: Final = (OPPORTUNITY, *ACTIVITIES)
"""Those that are walked, one after the other."""
_ACTIVITY_FIELDS: Final = {
    TASK: (
        "Id, OwnerId, WhatId, AccountId, Subject, Status, TaskSubtype, ActivityDate, CompletedDateTime,"
        " CallDurationInSeconds, CallDisposition, IsDeleted, SystemModstamp"
    ),
    EVENT: (
        "Id, OwnerId, WhatId, AccountId, Subject, StartDateTime, ActivityDateTime, ActivityDate, DurationInMinutes,"
        " EventSubtype, IsDeleted, SystemModstamp"
    ),
}
_BUSY: Final = frozenset({"SERVER_UNAVAILABLE", "UNABLE_TO_LOCK_ROW", "QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG"})


class _Shape(NamedTuple):
    """What this organisation has of an opportunity and the user may see."""

    columns: str
    parts: tuple[str, ...]


class SalesforceApi(SourceApi[SalesforceCredentials]):
    """SOQL over REST. Every page starts behind the last record of the one before, so that none of them can expire."""

    credentials = SalesforceCredentials

    @override
    def obtain_token(self, credentials: SalesforceCredentials) -> Conversation[Token]:
        answer = yield Call(
            "POST",
            f"{credentials.instance_url}/services/oauth2/token",
            form={
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
            },
            endpoint=_TOKEN_ENDPOINT,
        )
        given = read_answer(answer)
        token, seconds = given.get("access_token"), given.get("expires_in")
        if not isinstance(token, str) or not token:
            raise UnexpectedAnswer("the token endpoint gave no access_token")
        lifetime = timedelta(seconds=seconds) if isinstance(seconds, int) and 0 < seconds < 10**6 else _TOKEN_LIFETIME
        return Token(token, lifetime)

    @override
    def authorised(self, call: Call, credentials: SalesforceCredentials, token: str | None) -> Call:
        if token is None or call.endpoint == _TOKEN_ENDPOINT:
            return call
        return replace(call, headers={**call.headers, "authorization": f"Bearer {token}"})

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        remaining = _calls_remaining(answer)
        if 200 <= answer.status < 300:
            return Judgement(Verdict.OK, credits_remaining=remaining)
        code, message = _error(answer)
        detail = f"{answer.status} {code}: {message}"[:500]
        return Judgement(_verdict(call, answer.status, code, message), retry_after(answer), detail, remaining)

    @override
    def fetch(
        self, credentials: SalesforceCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        wanted = {external_id: record_id(external_id) for external_id in external_ids}
        ids = sorted({each for each in wanted.values() if each is not None})
        found: dict[str, Mapping[str, object]] = {}
        if ids and object_name in PARTS:
            return (yield from self._opportunities_of_parts(credentials, object_name, ids))
        if ids and object_name == OPPORTUNITY:
            shape = yield from _shape(credentials)
            query = f"SELECT {shape.columns} FROM Opportunity WHERE Id IN ({_quoted(ids)})"
            found = yield from _found(credentials, query, len(ids))
        elif ids and object_name in ACTIVITIES:
            query = f"SELECT {_ACTIVITY_FIELDS[object_name]} FROM {object_name} WHERE Id IN ({_quoted(ids)})"
            found = yield from _found(credentials, query, len(ids))
        records, gone = [], []
        for external_id, whole_id in wanted.items():
            raw = found.get(whole_id or "")
            if raw is None:
                gone.append(Gone(object_name, whole_id or external_id))
            elif raw.get("IsDeleted") is True:
                gone.append(Gone(object_name, whole_id or external_id, answered_moment(raw.get("SystemModstamp"))))
            else:
                records.append(RawRecord(object_name, whole_id or external_id, raw))
        return RecordPage(records, gone)

    def _opportunities_of_parts(
        self, own: SalesforceCredentials, object_name: str, ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        query = f"SELECT Id, OpportunityId FROM {object_name} WHERE Id IN ({_quoted(ids)})"
        parts = yield from _found(own, query, len(ids))
        opportunities = {record_id(part.get("OpportunityId")) for part in parts.values()}
        page = yield from self.fetch(own, OPPORTUNITY, sorted(each for each in opportunities if each is not None))
        return RecordPage(page.records, [*page.gone, *(Gone(object_name, each) for each in ids if each not in parts)])

    @override
    def changed(
        self, credentials: SalesforceCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        phase, stamp, after = _position(cursor)
        if phase in ACTIVITIES:
            return (yield from _changed_activities(credentials, phase, since, stamp, after))
        shape = yield from _shape(credentials)
        if phase in shape.parts and since is not None:
            # What belongs to an opportunity can change and leave the opportunity's credentials time as it was.
            behind = f" AND Id > '{after}'" if after else ""
            query = (
                f"SELECT {shape.columns} FROM Opportunity WHERE Id IN (SELECT OpportunityId FROM {phase}"
                f" WHERE SystemModstamp >= {_literal(since)}){behind} ORDER BY Id LIMIT {_PAGE_RECORDS_MAX}"
            )
        else:
            query = (
                f"SELECT {shape.columns} FROM Opportunity{_modified(since, stamp, after)}"
                f" ORDER BY SystemModstamp, Id LIMIT {_PAGE_RECORDS_MAX}"
            )
        # What is in the recycle bin comes with it: the deletions of the latest minute come from nowhere else.
        answer = read_answer((yield _query(credentials, query, with_deleted=phase == "all" and since is not None)))
        found = yield from _whole_records(credentials, answer)
        records, gone = _present_and_gone(OPPORTUNITY, found)
        is_last = answer.get("done") is not False and len(found) < _PAGE_RECORDS_MAX
        if found and not is_last:
            last_id, last = list(found.items())[-1]
            return RecordPage(records, gone, f"{phase}:{_literal_of(last)}:{last_id}")
        phases = ["all", *(shape.parts if since is not None else ()), TASK]
        upcoming = phases[phases.index(phase) + 1] if phase in phases else TASK
        return RecordPage(records, gone, f"{upcoming}::")

    @override
    def deleted(
        self, credentials: SalesforceCredentials, since: datetime, cursor: str | None
    ) -> Conversation[RecordPage]:
        name = cursor if cursor in ACTIVITIES else OPPORTUNITY
        # The end has to be stated and not to be in the future; any answer has the time there. Salesforce takes
        # it for the beginning of its minute.
        now = _time_of((yield Call("GET", _url(credentials, "limits"))))
        start = min(max(since, now - _DELETED_AGE_MAX), now - _DELETED_SPAN_MIN)
        answer = yield Call(
            "GET",
            _url(credentials, f"sobjects/{name}/deleted/"),
            {"start": _offset_time(start), "end": _offset_time(now)},
        )
        listed = read_answer(answer).get("deletedRecords")
        gone = []
        for each in listed if isinstance(listed, list) else ():
            external_id = record_id(each.get("id")) if isinstance(each, Mapping) else None
            if external_id is None:
                raise UnexpectedAnswer("a deleted record has no id")
            gone.append(Gone(name, external_id, answered_moment(each.get("deletedDate"))))
        return RecordPage(gone=gone, next_cursor=_object_after(name))

    @override
    def count(self, credentials: SalesforceCredentials) -> Conversation[int | None]:
        number = 0
        for name in _OBJECTS:
            total = read_answer((yield _query(credentials, f"SELECT COUNT() FROM {name}"))).get("totalSize")
            if not isinstance(total, int):
                return None
            number += total
        return number

    @override
    def users(self, credentials: SalesforceCredentials, cursor: str | None) -> Conversation[UserPage]:
        after = record_id(cursor)
        behind = f" AND Id > '{after}'" if after else ""
        query = (
            f"SELECT Id, Name, Email, IsActive FROM User WHERE UserType = 'Standard'{behind}"
            f" ORDER BY Id LIMIT {_PAGE_USERS_MAX}"
        )
        answer = read_answer((yield _query(credentials, query)))
        found = _by_id(answer)
        users = [
            ApiUser(user_id, only_text(raw.get("Name")), only_text(raw.get("Email")), raw.get("IsActive") is not False)
            for user_id, raw in found.items()
        ]
        is_last = answer.get("done") is not False and len(found) < _PAGE_USERS_MAX
        return UserPage(users, None if is_last or not users else users[-1].external_id)


def related_records(raw: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    """What belongs to an opportunity that came with it."""
    related_page = raw.get(name)
    records = related_page.get("records") if isinstance(related_page, Mapping) else None
    return [each for each in records if isinstance(each, Mapping)] if isinstance(records, list) else []


def _url(own: SalesforceCredentials, path: str) -> str:
    return f"{own.instance_url}/services/data/v{own.api_version}/{path}"


def _query(own: SalesforceCredentials, query: str, *, with_deleted: bool = False) -> Call:
    return Call("GET", _url(own, "queryAll" if with_deleted else "query"), {"q": query})


def _quoted(ids: Sequence[str]) -> str:
    """Ids as SOQL has them. They are of letters and digits: none could end the literal it is in."""
    return ", ".join(f"'{each}'" for each in ids)


def _literal(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _literal_of(raw: Mapping[str, object]) -> str:
    stamp = answered_moment(raw.get("SystemModstamp"))
    if stamp is None:
        raise UnexpectedAnswer("a record has no SystemModstamp")
    return _literal(stamp)


def _offset_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _position(cursor: str | None) -> tuple[str, datetime | None, str | None]:
    """The walk a cursor is in, and the last record it is behind. Anything else is before the first."""
    match = _POSITION.fullmatch(cursor or "")
    if match is None:
        return "all", None, None
    return match[1], answered_moment(match[2]), match[3]


def _modified(since: datetime | None, stamp: datetime | None, after: str | None) -> str:
    if stamp is not None and after is not None:
        last = _literal(stamp)
        return f" WHERE SystemModstamp >= {last} AND (SystemModstamp > {last} OR Id > '{after}')"
    return "" if since is None else f" WHERE SystemModstamp >= {_literal(since)}"


def _shape(own: SalesforceCredentials) -> Conversation[_Shape]:
    """What can be fetched of opportunities here: currencies, parts and the organisation's own fields may be absent."""
    described = read_answer((yield Call("GET", _url(own, "sobjects/Opportunity/describe"))))
    fields, relations = described.get("fields"), described.get("childRelationships")
    if not isinstance(fields, list) or not isinstance(relations, list):
        raise UnexpectedAnswer("the description of Opportunity has no fields or no childRelationships")
    names = {str(each.get("name")) for each in fields if isinstance(each, Mapping)}
    custom = sorted(name for name in names if re.fullmatch(r"[A-Za-z]\w{0,79}__c", name, re.ASCII))
    related = {str(each.get("relationshipName")) for each in relations if isinstance(each, Mapping)}
    columns = [
        *(name for name in _STANDARD_FIELDS if "." in name or name in names),
        *([CURRENCY] if CURRENCY in names else []),
        *custom[:CUSTOM_FIELDS_MAX],
        *(f"(SELECT {part.fields} FROM {part.relation})" for part in PARTS.values() if part.relation in related),
    ]
    return _Shape(", ".join(columns), tuple(name for name, part in PARTS.items() if part.relation in related))


def _object_after(name: str) -> str | None:
    later = _OBJECTS[_OBJECTS.index(name) + 1 :]
    return later[0] if later else None


def _changed_activities(
    own: SalesforceCredentials, name: str, since: datetime | None, stamp: datetime | None, after: str | None
) -> Conversation[RecordPage]:
    """The next page of tasks or of events."""
    query = (
        f"SELECT {_ACTIVITY_FIELDS[name]} FROM {name}{_modified(since, stamp, after)}"
        f" ORDER BY SystemModstamp, Id LIMIT {_PAGE_RECORDS_MAX}"
    )
    answer = read_answer((yield _query(own, query, with_deleted=since is not None)))
    found = _by_id(answer)
    records, gone = _present_and_gone(name, found)
    if found and (answer.get("done") is False or len(found) >= _PAGE_RECORDS_MAX):
        last_id, last = list(found.items())[-1]
        return RecordPage(records, gone, f"{name}:{_literal_of(last)}:{last_id}")
    upcoming = _object_after(name)
    return RecordPage(records, gone, None if upcoming is None else f"{upcoming}::")


def _present_and_gone(name: str, found: Mapping[str, Mapping[str, object]]) -> tuple[list[RawRecord], list[Gone]]:
    """Records, and those of them that lie in the recycle bin."""
    records, gone = [], []
    for external_id, raw in found.items():
        if raw.get("IsDeleted") is True:
            gone.append(Gone(name, external_id, answered_moment(raw.get("SystemModstamp"))))
        else:
            records.append(RawRecord(name, external_id, raw))
    return records, gone


def _found(own: SalesforceCredentials, query: str, count_max: int) -> Conversation[dict[str, Mapping[str, object]]]:
    """The records of a query, deleted ones too, by id."""
    call = _query(own, query, with_deleted=True)
    found: dict[str, Mapping[str, object]] = {}
    for _ in range(count_max):
        answer = read_answer((yield call))
        found |= yield from _whole_records(own, answer)
        upcoming = _next_call(own, answer)
        if upcoming is None:
            break
        call = upcoming
    return found


def _whole_records(
    own: SalesforceCredentials, answer: Mapping[str, object]
) -> Conversation[dict[str, Mapping[str, object]]]:
    """The records of an answer, with those of what is related to them that came on further pages."""
    found: dict[str, Mapping[str, object]] = {}
    for external_id, raw in _by_id(answer).items():
        whole = dict(raw)
        for name in (part.relation for part in PARTS.values()):
            related_page = raw.get(name)
            if isinstance(related_page, Mapping):
                related = related_records(raw, name)
                while (upcoming := _next_call(own, related_page)) is not None:
                    related_page = read_answer((yield upcoming))
                    related.extend(related_records({name: related_page}, name))
                whole[name] = {"records": related}
        found[external_id] = whole
    return found


def _next_call(own: SalesforceCredentials, answer: Mapping[str, object]) -> Call | None:
    """The call for the rest of an answer."""
    path = answer.get("nextRecordsUrl")
    if not isinstance(path, str) or answer.get("done") is True:
        return None
    if not path.startswith("/services/data/"):
        raise UnexpectedAnswer("nextRecordsUrl leads elsewhere")
    return Call("GET", own.instance_url + path)


def _by_id(answer: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    records = answer.get("records")
    if not isinstance(records, list):
        raise UnexpectedAnswer("the answer to a query has no records")
    found: dict[str, Mapping[str, object]] = {}
    for each in records:
        external_id = record_id(each.get("Id")) if isinstance(each, Mapping) else None
        if external_id is None:
            raise UnexpectedAnswer("a record has no Id")
        found[external_id] = each
    return found


def _time_of(answer: Answer) -> datetime:
    now = read_http_date(answer.headers.get("date", ""))
    if now is None:
        raise UnexpectedAnswer("the answer does not say what time it is")
    return now


def _calls_remaining(answer: Answer) -> int | None:
    usage = _USAGE.search(answer.headers.get("sforce-limit-info", ""))
    return max(0, int(usage[2]) - int(usage[1])) if usage else None


def _error(answer: Answer) -> tuple[str, str]:
    """The code and message of an error, whether of the API or of its token endpoint."""
    try:
        document = read_json(answer.body)
    except Untranslatable:
        return "", ""
    first = document[0] if isinstance(document, list) and document else document
    if not isinstance(first, Mapping):
        return "", ""
    code = first.get("errorCode", first.get("error"))
    return str(code or ""), str(first.get("message", first.get("error_description")) or "")


def _verdict(call: Call, status: int, code: str, message: str) -> Verdict:
    if status == 401 and call.endpoint != _TOKEN_ENDPOINT:
        return Verdict.TOKEN_EXPIRED
    if code == "REQUEST_LIMIT_EXCEEDED":
        return Verdict.RATE_LIMITED if "concurrent" in message.lower() else Verdict.QUOTA_EXHAUSTED
    if status == 429:
        return Verdict.RATE_LIMITED
    if status >= 500 or code in _BUSY or (call.endpoint == _TOKEN_ENDPOINT and code == "unknown_error"):
        return Verdict.TRANSIENT
    return Verdict.REFUSED
