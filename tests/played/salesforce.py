"""Salesforce played: outbound messages and change events, SOQL as far as it is asked, and the limits of its API."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.played.crms import PlainDeal, PlayedCrm, Webhook

ORGANIZATION: Final = "00D24000000abcdEAA"
ACTION: Final = "04k080000004CXXAA2"
CLIENT_ID: Final = "3MVG9-client"
CLIENT_SECRET: Final = "5A1C-client-secret"
_PARTS: Final = ("OpportunitySplit", "OpportunityTeamMember", "OpportunityLineItem")
_URI_CHARACTERS_MAX: Final = 16_384
_STAGES: Final = {"open": "Prospecting", "won": "Closed Won", "lost": "Closed Lost"}
_QUERY: Final = re.compile(
    r"SELECT (?P<columns>.+?) FROM (?P<object>[A-Za-z]+)"
    r"(?: WHERE (?P<where>.+?))?(?: ORDER BY (?P<order>[A-Za-z, ]+?))?(?: LIMIT (?P<limit>\d+))?"
)
_SUBQUERY: Final = re.compile(r",? ?\(SELECT [^()]+ FROM (Opportunity(?:Splits|TeamMembers|LineItems))\)")
_IDS: Final = re.compile(r"Id IN \(((?:'[A-Za-z0-9]{15,18}'(?:, )?)+)\)")
_SINCE: Final = re.compile(r"SystemModstamp >= (\S+)")
_BEHIND: Final = re.compile(r"SystemModstamp >= (\S+) AND \(SystemModstamp > \1 OR Id > '([A-Za-z0-9]{18})'\)")
_OF_PARTS: Final = re.compile(
    r"Id IN \(SELECT OpportunityId FROM (Opportunity[A-Za-z]+) WHERE SystemModstamp >= (\S+)\)"
    r"(?: AND Id > '([A-Za-z0-9]{18})')?"
)
_OF_USERS: Final = re.compile(r"UserType = 'Standard'(?: AND Id > '([A-Za-z0-9]{18})')?")
_ACK: Final = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    '<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    "</soapenv:Body></soapenv:Envelope>"
)


@dataclass(frozen=True, slots=True)
class PlayedSplit:
    """A share of an opportunity. `percent` of 100."""

    id: str
    deal_id: str
    owner_id: str
    percent: int
    modified_at: datetime
    type_name: str = "Revenue"


@dataclass(frozen=True, slots=True)
class PlayedMember:
    """Somebody in the team of an opportunity."""

    id: str
    deal_id: str
    user_id: str
    role: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class PlayedLine:
    """A product that is sold with an opportunity."""

    id: str
    deal_id: str
    code: str | None
    quantity: float
    amount: float | None
    modified_at: datetime


@dataclass
class PlayedSalesforce(PlayedCrm):
    """An organisation. Ids are of digits but for what Salesforce begins and ends them with."""

    tells: Literal["outbound", "changes"] = "outbound"
    has_currencies: bool = True
    has_splits: bool = True
    has_teams: bool = False
    custom: dict[str, dict[str, object]] = field(default_factory=dict)
    """Custom fields of opportunities, by the deal's id; their names end in `__c`."""
    custom_names: tuple[str, ...] = ()
    splits: dict[str, PlayedSplit] = field(default_factory=dict)
    activities: dict[str, dict[str, dict[str, object]]] = field(default_factory=lambda: {"Task": {}, "Event": {}})
    """Tasks and events, as the API has them, by object and id; those in the recycle bin too."""
    members: dict[str, PlayedMember] = field(default_factory=dict)
    lines: dict[str, PlayedLine] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    """The names of users by the ids that deals have for them."""
    tokens: set[str] = field(default_factory=set)
    calls_a_day_max: int = 15_000
    calls_today: int = 0
    page_records_max: int = 2000
    session: str | None = None
    """The session that outbound messages bear, where the administrator lets them."""
    _pages: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    _told: int = 0

    def connection(self) -> dict[str, object]:
        given = {"secret": self.secret} if self.secret else {}
        return {
            "source": "salesforce",
            "name": "Salesforce",
            "allowed": {"organization_id": [ORGANIZATION]},
            **given,
        }

    def access(self) -> dict[str, object]:
        return {
            "source": "salesforce",
            "instance_url": self.address,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }

    def user(self, owner_id: str) -> str:
        return _id("005", owner_id)

    def is_taken(self, status: int, content_type: str, body: bytes) -> bool:
        if self.tells == "changes":
            return 200 <= status < 300
        return status == 200 and "xml" in content_type and re.sub(r">\s+<", "><", body.decode().strip()) == _ACK

    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        now, then = self._row(deal), {} if before is None else self._row(before)
        if self.tells == "outbound":
            return [self._outbound([now], {deal.id})]
        changed = {name: value for name, value in now.items() if name not in then or then[name] != value}
        for absent in ("SystemModstamp", "IsDeleted", "Id", "Account"):
            changed.pop(absent, None)
        change = "CREATE" if before is None else "UPDATE"
        return [self._change(deal, change, changed, deal.modified_at)]

    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        return [] if self.tells == "outbound" else [self._change(deal, "DELETE", {}, at)]

    def gap(self, deal: PlainDeal, change: str, at: datetime) -> None:
        """Tell that something happened to a deal, but not what."""
        self.webhooks.append(self._change(deal, f"GAP_{change}", {}, at))

    def routes(self) -> list[Route]:
        data = "/services/data/v62.0"
        return [
            Route("/services/oauth2/token", self._token, methods=["POST"]),
            Route(f"{data}/limits", self._limits),
            Route(f"{data}/query", self._query),
            Route(f"{data}/query/{{locator}}", self._following),
            Route(f"{data}/queryAll", self._query_all),
            Route(f"{data}/sobjects/Opportunity/describe", self._describe),
            Route(f"{data}/sobjects/{{name}}/deleted/", self._deleted),
        ]

    def _outbound(self, rows: list[dict[str, object]], about: set[str]) -> Webhook:
        notifications = []
        for row in rows:
            self._told += 1
            fields = "".join(
                f"<sf:{name}>{escape(_xml(value))}</sf:{name}>"
                for name, value in row.items()
                if value is not None and name not in ("IsDeleted", "Account")
            )
            notifications.append(
                f"<Notification><Id>{_id('04l', str(self._told))}</Id>"
                '<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
                f"{fields}</sObject></Notification>"
            )
        session = (
            '<SessionId xsi:nil="true"/>' if self.session is None else f"<SessionId>{escape(self.session)}</SessionId>"
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
            ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            '<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
            f"<OrganizationId>{ORGANIZATION}</OrganizationId><ActionId>{ACTION}</ActionId>{session}"
            "<EnterpriseUrl>https://x.my.salesforce.com/services/Soap/c/62.0/00D24</EnterpriseUrl>"
            "<PartnerUrl>https://x.my.salesforce.com/services/Soap/u/62.0/00D24</PartnerUrl>"
            f"{''.join(notifications)}</notifications></soapenv:Body></soapenv:Envelope>"
        )
        headers = {"content-type": "text/xml; charset=UTF-8", "soapaction": '""'}
        return Webhook("POST", f"/{self.secret}", headers, body.encode(), frozenset(about))

    def _change(self, deal: PlainDeal, change: str, fields: Mapping[str, object], at: datetime) -> Webhook:
        self._told += 1
        nulled = [name for name, value in fields.items() if value is None]
        header = {
            "entityName": "Opportunity",
            "recordIds": [_id("006", deal.id)],
            "changeType": change,
            "changeOrigin": "",
            "transactionKey": f"0004a7c8-{self._told:08d}",
            "sequenceNumber": 1,
            "commitTimestamp": int(at.timestamp() * 1000),
            "commitNumber": 1_100_670_838_951 + self._told,
            "commitUser": _id("005", "1"),
            "changedFields": sorted(fields) if change == "UPDATE" else [],
            "nulledFields": nulled if change == "UPDATE" else [],
        }
        told = {name: value for name, value in fields.items() if value is not None}
        body = {"schema": "x", "payload": {"ChangeEventHeader": header, **told}, "event": {"replayId": self._told}}
        return Webhook(
            "POST",
            "",
            {"content-type": "application/json", "authorization": f"Bearer {self.secret}"},
            json.dumps(body).encode(),
            frozenset({deal.id}),
        )

    def _row(self, deal: PlainDeal, *, is_deleted: bool = False) -> dict[str, object]:
        closing = deal.closed_on or deal.expected_close_on
        row: dict[str, object] = {
            "Id": _id("006", deal.id),
            "Name": deal.name,
            "AccountId": _id("001", "9"),
            "Account": {"attributes": {"type": "Account"}, "Id": _id("001", "9"), "Name": "Acme"},
            "Amount": float(deal.amount),
            "CloseDate": None if closing is None else closing.isoformat(),
            "CreatedDate": _rest_time(deal.created_at),
            "ForecastCategory": "Closed" if deal.status == "won" else "Pipeline",
            "ForecastCategoryName": "Closed" if deal.status == "won" else "Pipeline",
            "IsClosed": deal.status != "open",
            "IsDeleted": is_deleted,
            "IsWon": deal.status == "won",
            "LeadSource": "Partner",
            "OwnerId": self.user(deal.owner_id),
            "Probability": {"open": 10.0, "won": 100.0, "lost": 0.0}[deal.status],
            "StageName": _STAGES[deal.status],
            "SystemModstamp": _rest_time(deal.modified_at),
            "Type": "New Business",
        }
        if self.has_currencies:
            row["CurrencyIsoCode"] = deal.currency
        return row | dict.fromkeys(self.custom_names) | self.custom.get(deal.id, {})

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client", "error_description": "invalid client credentials"}, 400)
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type", "error_description": "not supported"}, 400)
        token = f"{ORGANIZATION}!AQ{len(self.calls)}"
        self.tokens.add(token)
        return JSONResponse(
            {"access_token": token, "instance_url": self.address, "token_type": "Bearer", "issued_at": "1774982402000"}
        )

    def _refusal(self, request: Request) -> Response | None:
        """What stands in the way of a call."""
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.calls_today >= self.calls_a_day_max:
            return _error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.calls_today += 1
        if len(str(request.url)) > _URI_CHARACTERS_MAX:
            return _error(414, "URI_TOO_LONG", "URI too long")
        return None

    def _answer(self, document: object) -> Response:
        headers = {"sforce-limit-info": f"api-usage={self.calls_today}/{self.calls_a_day_max}"}
        return JSONResponse(document, headers=headers)

    async def _limits(self, request: Request) -> Response:
        return self._refusal(request) or self._answer({"DailyApiRequests": {"Max": 15000, "Remaining": 14998}})

    async def _describe(self, request: Request) -> Response:
        columns = [*self._row(_ANY_DEAL), *self.custom_names]
        relations = [{"relationshipName": None}, {"relationshipName": "OpportunityLineItems"}]
        if self.has_teams:
            relations.append({"relationshipName": "OpportunityTeamMembers"})
        if self.has_splits:
            relations.append({"relationshipName": "OpportunitySplits"})
        described = {
            "name": "Opportunity",
            "fields": [{"name": name, "type": "string"} for name in columns if name != "Account"],
            "childRelationships": relations,
        }
        return self._refusal(request) or self._answer(described)

    async def _deleted(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        start, end = (datetime.fromisoformat(request.query_params[name]) for name in ("start", "end"))
        now = datetime.now(UTC)
        if end - start <= timedelta(minutes=1) or end > now or start < now - timedelta(days=30):
            return _error(400, "INVALID_REPLICATION_DATE", "start and end do not fit")
        # The seconds are not looked at.
        first, last = start.replace(second=0), end.replace(second=0)
        name = request.path_params["name"]
        if name == "Opportunity":
            times = {_id("006", deal_id): at for deal_id, at in self.deleted.items()}
        else:
            times = {
                each: datetime.fromisoformat(str(row["SystemModstamp"]))
                for each, row in self.activities[name].items()
                if row["IsDeleted"]
            }
        records = [
            {"id": record_id, "deletedDate": _rest_time(at)} for record_id, at in times.items() if first <= at <= last
        ]
        covered = {"earliestDateAvailable": _rest_time(start), "latestDateCovered": _rest_time(end)}
        return self._answer({"deletedRecords": records, **covered})

    async def _query(self, request: Request) -> Response:
        return self._refusal(request) or self._selected(request.query_params.get("q", ""), with_deleted=False)

    async def _query_all(self, request: Request) -> Response:
        return self._refusal(request) or self._selected(request.query_params.get("q", ""), with_deleted=True)

    async def _following(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        rows = self._pages.pop(request.path_params["locator"], None)
        if rows is None:
            return _error(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(rows)

    def _selected(self, query: str, *, with_deleted: bool) -> Response:
        match = _QUERY.fullmatch(query)
        if match is None:
            return _error(400, "MALFORMED_QUERY", f"unexpected token: {query[:100]}")
        columns, name = match["columns"], match["object"]
        if columns == "COUNT()":
            held = [row for row in self.activities.get(name, {}).values() if not row["IsDeleted"]]
            total = len(self.deals if name == "Opportunity" else held)
            return self._answer({"totalSize": total, "done": True, "records": []})
        plain = _SUBQUERY.sub("", columns)
        related = set(_SUBQUERY.findall(columns))
        if name not in ("Opportunity", "User", *_PARTS, *self.activities) or "(" in plain:
            return _error(400, "INVALID_TYPE", f"sObject type '{name}' is not supported")
        absent = {"OpportunitySplit": not self.has_splits, "OpportunityTeamMember": not self.has_teams}
        if any(absent.get(part) and (part == name or f"{part}s" in related) for part in _PARTS):
            return _error(400, "INVALID_TYPE", "Didn't understand a relationship")
        selecting = {"Opportunity": self._rows_of_opportunity, "User": self._rows_of_user}
        if name in _PARTS:
            rows = _selected_rows(self._rows_of_part(name), match["where"] or "")
        elif name in self.activities:
            held = [row for row in self.activities[name].values() if with_deleted or not row["IsDeleted"]]
            rows = _selected_rows(held, match["where"] or "")
        else:
            rows = selecting[name](match["where"] or "", with_deleted=with_deleted)
        if rows is None:
            return _error(400, "MALFORMED_QUERY", f"unexpected token: {match['where']}")
        order = (match["order"] or "Id").split(", ")
        rows.sort(key=lambda row: [str(row[column]) for column in order])
        selected = []
        for row in rows[: int(match["limit"] or 50_000)]:
            picked: dict[str, object] = {"attributes": {"type": name}}
            for column in plain.split(", "):
                head = column.partition(".")[0]
                if head not in row:
                    return _error(400, "INVALID_FIELD", f"No such column '{column}' on entity '{name}'")
                picked[head] = row[head]
            for part in _PARTS:
                if f"{part}s" in related:
                    held = [each for each in self._rows_of_part(part) if each["OpportunityId"] == row["Id"]]
                    whole = {"totalSize": len(held), "done": True, "records": held}
                    picked[f"{part}s"] = whole if held else None
            selected.append(picked)
        return self._page(selected)

    def _page(self, rows: list[dict[str, object]]) -> Response:
        first, rest = rows[: self.page_records_max], rows[self.page_records_max :]
        document: dict[str, object] = {"totalSize": len(rows), "done": not rest, "records": first}
        if rest:
            locator = f"01g{len(self.calls):012d}"
            self._pages[locator] = rest
            document["nextRecordsUrl"] = f"/services/data/v62.0/query/{locator}"
        return self._answer(document)

    def _rows_of_part(self, name: str) -> list[dict[str, object]]:
        if name == "OpportunitySplit":
            return [
                {
                    **_part_of(split.deal_id, "0Qs", split.id, split.modified_at),
                    "SplitOwnerId": self.user(split.owner_id),
                    "SplitPercentage": float(split.percent),
                    "SplitTypeId": _id("149", "1" if split.type_name == "Revenue" else "2"),
                    "SplitType": {"DeveloperName": split.type_name, "MasterLabel": f"{split.type_name} split"},
                }
                for split in self.splits.values()
            ]
        if name == "OpportunityTeamMember":
            return [
                {
                    **_part_of(member.deal_id, "00q", member.id, member.modified_at),
                    "UserId": self.user(member.user_id),
                    "TeamMemberRole": member.role,
                }
                for member in self.members.values()
            ]
        return [
            {
                **_part_of(line.deal_id, "00k", line.id, line.modified_at),
                "Product2Id": _id("01t", line.id),
                "ProductCode": line.code,
                "Quantity": line.quantity,
                "TotalPrice": line.amount,
            }
            for line in self.lines.values()
        ]

    def _rows_of_opportunity(self, where: str, *, with_deleted: bool) -> list[dict[str, object]] | None:
        rows = [self._row(deal) for deal in self.deals.values()]
        if with_deleted:
            rows += [
                {**self._row(_ANY_DEAL), "Id": _id("006", deal_id), "IsDeleted": True, "SystemModstamp": _rest_time(at)}
                for deal_id, at in self.deleted.items()
            ]
        if of_parts := _OF_PARTS.fullmatch(where):
            since, after = datetime.fromisoformat(of_parts[2]), of_parts[3] or ""
            about = {
                part["OpportunityId"]
                for part in self._rows_of_part(of_parts[1])
                if datetime.fromisoformat(str(part["SystemModstamp"])) >= since
            }
            return [row for row in rows if row["Id"] in about and str(row["Id"]) > after]
        return _selected_rows(rows, where)

    def _rows_of_user(self, where: str, *, with_deleted: bool) -> list[dict[str, object]] | None:
        behind = _OF_USERS.fullmatch(where)
        if behind is None:
            return None
        return [
            {"Id": self.user(user_id), "Name": name, "Email": f"{user_id}@example.com", "IsActive": True}
            for user_id, name in self.users.items()
            if self.user(user_id) > (behind[1] or "")
        ]


def _selected_rows(rows: list[dict[str, object]], where: str) -> list[dict[str, object]] | None:
    """The rows that a condition on ids or on SystemModstamp leaves; None for any other."""
    if not where:
        return rows
    if ids := _IDS.fullmatch(where):
        wanted = {each.strip("'")[:15] for each in ids[1].split(", ")}
        return [row for row in rows if str(row["Id"])[:15] in wanted]
    if behind := _BEHIND.fullmatch(where):
        last = (datetime.fromisoformat(behind[1]), behind[2])
        return [row for row in rows if (datetime.fromisoformat(str(row["SystemModstamp"])), row["Id"]) > last]
    if since_match := _SINCE.fullmatch(where):
        since = datetime.fromisoformat(since_match[1])
        return [row for row in rows if datetime.fromisoformat(str(row["SystemModstamp"])) >= since]
    return None


def _part_of(deal_id: str, prefix: str, number: str, modified_at: datetime) -> dict[str, object]:
    """What every part of an opportunity has."""
    return {
        "Id": _id(prefix, number),
        "OpportunityId": _id("006", deal_id),
        "SystemModstamp": _rest_time(modified_at),
    }


_ANY_DEAL: Final = PlainDeal(
    "0",
    "",
    Decimal(0),
    "EUR",
    "open",
    "0",
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
)


def _id(prefix: str, digits: str) -> str:
    """An id of 18 characters, the last three made of which of the others are capitals."""
    whole = f"{prefix}{int(digits):012d}"
    capitals = ["".join("1" if letter.isupper() else "0" for letter in whole[at : at + 5][::-1]) for at in (0, 5, 10)]
    return whole + "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[int(bits, 2)] for bits in capitals)


def _rest_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def played_activity(prefix: str, number: int, at: datetime, **fields: object) -> dict[str, object]:
    """A task (`00T`) or an event (`00U`) as the API has it, of no fields but these."""
    columns = (
        "OwnerId, WhatId, AccountId, Subject, Status, TaskSubtype, ActivityDate, CompletedDateTime, StartDateTime,"
        " CallDurationInSeconds, CallDisposition, ActivityDateTime, DurationInMinutes, EventSubtype"
    )
    known = {"Id": _id(prefix, str(number)), "IsDeleted": False, "SystemModstamp": _rest_time(at)}
    return {**dict.fromkeys(columns.split(", ")), **known, **fields}


def _xml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("+0000", "Z")


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse([{"message": message, "errorCode": code}], status)
