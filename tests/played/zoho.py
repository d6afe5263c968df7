"""Zoho CRM played: watch channels and workflow webhooks, and version 7 of its API with its limits."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from typing import Final, Literal
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.played.crms import PlainDeal, PlayedCrm, Webhook

CLIENT_ID: Final = "1000.CLIENT"
CLIENT_SECRET: Final = "client-secret"
REFRESH_TOKEN: Final = "1000.refresh"
CHANNEL: Final = "1000000068001"
"""The channel an administrator opened by hand, which notifies until one is opened over the API."""
MODULES: Final = ("Deals", "Calls", "Events", "Tasks")
_STAGES: Final = {"open": "Negotiation/Review", "won": "Closed Won", "lost": "Closed Lost"}
_PROBABILITIES: Final = {"open": 90, "won": 100, "lost": 0}
_INDIA: Final = timezone(timedelta(hours=5, minutes=30))
_PAGE_RECORDS_MAX: Final = 200
_IDS_MAX: Final = 100
_FIELDS_MAX: Final = 50
_DISCRETE_RECORDS_MAX: Final = 2000
_WEEK: Final = timedelta(days=7)
_TOKEN_CHARACTERS_MAX: Final = 50

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class PlayedChannel:
    """A channel as it was asked for, and until when it notifies."""

    id: str
    token: str
    url: str
    events: tuple[str, ...]
    expires_at: datetime
    notifies_related: bool


@dataclass(frozen=True, slots=True)
class _Page:
    """Where a page token leads to."""

    bound: tuple[tuple[str, str], ...]
    offset: int


@dataclass
class PlayedZoho(PlayedCrm):
    """An organisation in India. Its clock is real but for what is told of deals."""

    tells: Literal["watch", "workflow"] = "watch"
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    custom: dict[str, Row] = field(default_factory=dict)
    """More fields of deals, by the deal's id."""
    activities: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in MODULES[1:]})
    gone_activities: dict[str, dict[str, datetime]] = field(default_factory=lambda: {name: {} for name in MODULES[1:]})
    users: list[Row] = field(default_factory=list)
    channels: dict[str, PlayedChannel] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    credits_remaining: int | None = None
    """Told once more than half of the day's are used."""
    refused_ids: set[str] = field(default_factory=set)
    """Ids that make Zoho call the whole of a request invalid."""
    _pages: dict[str, _Page] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def connection(self) -> dict[str, object]:
        given = {"secret": self.secret} if self.secret else {}
        return {"source": "zoho", "name": "Zoho CRM", **given}

    def access(self) -> dict[str, object]:
        return {
            "source": "zoho",
            "accounts_url": self.address,
            "api_url": self.address,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
        }

    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        if self.tells == "workflow":
            return [self._workflow(deal, "deal.created" if before is None else "deal.updated")]
        # Subscribed to as create and edit, it is called back as insert and update.
        return self._notified("Deals", deal.id, "insert" if before is None else "update", deal.modified_at)

    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        if self.tells == "workflow":
            return [self._workflow(deal, "deal.deleted")]
        return self._notified("Deals", deal.id, "delete", at)

    def restore(self, deal: PlainDeal, at: datetime) -> None:
        """Take a deal out of the recycle bin: its modified time stays what it was."""
        del self.deleted[deal.id]
        self.deals[deal.id] = deal
        self.webhooks.extend(self._notified("Deals", deal.id, "restore", at))

    def put_activity(self, module: str, row: Row) -> None:
        """Make or change an activity, whose `Modified_Time` is a text as Zoho's."""
        self.activities[module][str(row["id"])] = row
        at = datetime.fromisoformat(str(row["Modified_Time"]))
        self.webhooks.extend(self._notified(module, str(row["id"]), "insert", at))

    def expire_tokens(self) -> None:
        """Take no access token that was given so far."""
        self.tokens.clear()

    def expire_pages(self) -> None:
        """Take no page token that was given so far, as a day later."""
        self._pages.clear()

    def routes(self) -> list[Route]:
        return [
            Route("/oauth/v2/token", self._token, methods=["POST"]),
            Route("/crm/v7/users", self._users),
            Route("/crm/v7/actions/watch", self._watch, methods=["POST", "PATCH"]),
            Route("/crm/v7/{module}", self._records),
            Route("/crm/v7/{module}/deleted", self._deleted),
            Route("/crm/v7/{module}/actions/count", self._count),
        ]

    def _notified(self, module: str, record_id: str, operation: str, at: datetime) -> list[Webhook]:
        """Notifications through every channel that has not expired by then; an expired one says nothing."""
        channels = list(self.channels.values()) or [
            PlayedChannel(CHANNEL, self.secret, self.hook_url, (f"{module}.all",), at + _WEEK, notifies_related=False)
        ]
        return [
            Webhook(
                "POST",
                "",
                {"content-type": "application/json"},
                json.dumps(
                    {
                        "server_time": int(at.timestamp() * 1000),
                        "query_params": {},
                        "module": module,
                        "resource_uri": f"https://www.zohoapis.in/crm/v7/{module}",
                        "ids": [record_id],
                        "affected_fields": [],
                        "operation": operation,
                        "channel_id": channel.id,
                        "token": channel.token,
                    }
                ).encode(),
                frozenset({record_id}),
            )
            for channel in channels
            if f"{module}.all" in channel.events and at < channel.expires_at
        ]

    def _workflow(self, deal: PlainDeal, event: str) -> Webhook:
        row = self._row(deal)
        amount = f"{deal.amount:,.2f}"
        body = {
            "event": event,
            "secret": self.secret,
            "id": deal.id,
            "Deal_Name": deal.name,
            "Amount": f"$ {amount}" if deal.currency == "USD" else amount,
            "Stage": row["Stage"],
            "Closing_Date": row["Closing_Date"] or "",
            "Owner": f"Owner {deal.owner_id}",
            "Owner_Id": deal.owner_id,
            "Modified_Time": row["Modified_Time"],
            "Currency": deal.currency,
        }
        return Webhook(
            "POST", "", {"content-type": "application/json"}, json.dumps(body).encode(), frozenset({deal.id})
        )

    def _row(self, deal: PlainDeal) -> Row:
        closing = deal.closed_on or deal.expected_close_on
        return {
            "id": deal.id,
            "Deal_Name": deal.name,
            "Amount": float(deal.amount),
            "Currency": deal.currency,
            "Exchange_Rate": 1,
            "Stage": _STAGES[deal.status],
            "Probability": _PROBABILITIES[deal.status],
            "Closing_Date": None if closing is None else closing.isoformat(),
            "Pipeline": "Standard (Standard)",
            "Type": "New Business",
            "Lead_Source": "Partner",
            "Owner": {"id": deal.owner_id, "name": f"Owner {deal.owner_id}", "email": f"{deal.owner_id}@zylker.com"},
            "Account_Name": {"id": "5725767000002700001", "name": "Benton"},
            "Created_Time": _time(deal.created_at),
            "Modified_Time": _time(deal.modified_at),
            **self.custom.get(deal.id, {}),
        }

    def _rows(self, module: str) -> dict[str, Row]:
        if module == "Deals":
            return {deal.id: self._row(deal) for deal in self.deals.values()}
        return self.activities[module]

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return JSONResponse({"error": "invalid_client"})
        if form.get("grant_type") != "refresh_token" or form.get("refresh_token") != REFRESH_TOKEN:
            return JSONResponse({"error": "invalid_code"})
        token = f"1000.access.{next(self._numbers)}"
        self.tokens.add(token)
        return JSONResponse(
            {"access_token": token, "api_domain": self.address, "token_type": "Bearer", "expires_in": 3600}
        )

    def _refused(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "")
        if given.removeprefix("Zoho-oauthtoken ") not in self.tokens or not given.startswith("Zoho-oauthtoken "):
            return _error(401, "INVALID_TOKEN", "invalid oauth token")
        module = request.path_params.get("module", MODULES[0])
        if module not in MODULES:
            return _error(400, "INVALID_MODULE", "the module name given seems to be invalid")
        if self.credits_remaining == 0:
            return self._counted(_error(429, "TOO_MANY_REQUESTS", "the credits of the day are used up"))
        return None

    def _counted(self, response: Response) -> Response:
        if self.credits_remaining is not None:
            response.headers["X-API-CREDITS-REMAINING"] = str(self.credits_remaining)
            self.credits_remaining = max(0, self.credits_remaining - 1)
        return response

    async def _records(self, request: Request) -> Response:
        refused = self._refused(request)
        return refused or self._counted(self._records_answer(request.path_params["module"], request))

    def _records_answer(self, module: str, request: Request) -> Response:
        query, rows = request.query_params, self._rows(module)
        per_page = int(query.get("per_page", "200"))
        if per_page > _PAGE_RECORDS_MAX:
            return _error(400, "INVALID_DATA", "per_page is at most 200")
        if "ids" in query:
            ids = query["ids"].split(",")
            if len(ids) > _IDS_MAX:
                return _error(400, "LIMIT_EXCEEDED", "at most 100 ids")
            if not all(each.isdigit() for each in ids) or self.refused_ids & set(ids):
                return _error(400, "INVALID_DATA", "the id given seems to be invalid")
            found = [rows[each] for each in ids if each in rows]
            return _page(found, {"per_page": per_page, "count": len(found), "page": 1, "more_records": False})
        fields = query.get("fields", "").split(",")
        if not query.get("fields") or len(fields) > _FIELDS_MAX:
            return _error(400, "REQUIRED_PARAM_MISSING", "One of the expected parameter is missing")
        since = request.headers.get("if-modified-since")
        changed = [row for row in rows.values() if since is None or _moment(row) > datetime.fromisoformat(since)]
        if not changed and since is not None:
            return Response(status_code=304)
        if query.get("sort_by") == "Modified_Time":
            changed.sort(key=lambda row: (_moment(row), str(row["id"])))
        bound = (
            *((name, query[name]) for name in sorted(query) if name not in ("page_token", "page")),
            ("since", str(since)),
        )
        offset = (int(query.get("page", "1")) - 1) * per_page
        if "page_token" in query:
            page = self._pages.get(query["page_token"])
            if page is None:
                return _error(400, "EXPIRED_VALUE", "the page_token has expired")
            if page.bound != bound:
                return _error(400, "TOKEN_BOUND_DATA_MISMATCH", "a param was added, altered or deleted")
            offset = page.offset
        elif offset + per_page > _DISCRETE_RECORDS_MAX:
            return _error(400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED", "only the first 2000 without page_token")
        listed = changed[offset : offset + per_page]
        has_more = offset + per_page < len(changed)
        info: Row = {"per_page": per_page, "count": len(listed), "more_records": has_more}
        if has_more:
            token = f"page-{next(self._numbers)}"
            self._pages[token] = _Page(bound, offset + per_page)
            info["next_page_token"] = token
        return _page([{name: row.get(name) for name in fields} for row in listed], info)

    async def _deleted(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        module, query = request.path_params["module"], request.query_params
        gone = self.deleted if module == "Deals" else self.gone_activities[module]
        since = request.headers.get("if-modified-since")
        listed: list[Row] = [
            {
                "deleted_by": {"name": "Patricia Boyle", "id": "1"},
                "id": record_id,
                "display_name": "Deal",
                "type": "recycle",
                "deleted_time": _time(at),
            }
            for record_id, at in gone.items()
            if since is None or _whole_second(at) > datetime.fromisoformat(since)
        ]
        per_page, page = int(query.get("per_page", "200")), int(query.get("page", "1"))
        start = (page - 1) * per_page
        info: Row = {"per_page": per_page, "page": page, "more_records": start + per_page < len(listed)}
        return self._counted(_page(listed[start : start + per_page], info))

    async def _count(self, request: Request) -> Response:
        refused = self._refused(request)
        return refused or self._counted(JSONResponse({"count": len(self._rows(request.path_params["module"]))}))

    async def _users(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        per_page, page = int(request.query_params["per_page"]), int(request.query_params["page"])
        start = (page - 1) * per_page
        listed = self.users[start : start + per_page]
        if not listed:
            return Response(status_code=204)
        return JSONResponse({"users": listed, "info": {"more_records": start + per_page < len(self.users)}})

    async def _watch(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        (wanted,) = (await request.json())["watch"]
        now = self.clock()
        known = self.channels.get(wanted["channel_id"])
        if request.method == "PATCH" and (known is None or known.expires_at <= now):
            return _watch_error("NOT_SUBSCRIBED", "the channel is not there")
        if len(wanted["token"]) > _TOKEN_CHARACTERS_MAX:
            return _watch_error("INVALID_DATA", "the token is longer than 50 characters")
        expiry = datetime.fromisoformat(wanted["channel_expiry"]) if "channel_expiry" in wanted else None
        if expiry is None or expiry > now + _WEEK:
            expiry = now + timedelta(hours=1)
        channel = PlayedChannel(
            wanted["channel_id"],
            wanted["token"],
            wanted["notify_url"],
            tuple(wanted["events"]),
            expiry,
            wanted.get("notify_on_related_action", True),
        )
        self.channels[channel.id] = channel
        events = [
            {
                "channel_expiry": _time(expiry),
                "resource_uri": f"{self.address}/crm/v7/{name}",
                "resource_id": str(number),
                "resource_name": name,
                "channel_id": channel.id,
            }
            for number, name in enumerate(event.partition(".")[0] for event in channel.events)
        ]
        told = {
            "code": "SUCCESS",
            "details": {"events": events},
            "message": "Successfully subscribed",
            "status": "success",
        }
        return self._counted(JSONResponse({"watch": [told]}, 202))


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "details": {}, "message": message, "status": "error"}, status)


def _watch_error(code: str, message: str) -> Response:
    return JSONResponse({"watch": [{"code": code, "details": {}, "message": message, "status": "error"}]}, 400)


def _page(rows: Sequence[Mapping[str, object]], info: Mapping[str, object]) -> Response:
    return JSONResponse({"data": list(rows), "info": dict(info)}) if rows else Response(status_code=204)


def _whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _time(moment: datetime) -> str:
    """Whole seconds, in the organisation's time zone."""
    return moment.astimezone(_INDIA).isoformat(timespec="seconds")


def _moment(row: Mapping[str, object]) -> datetime:
    return datetime.fromisoformat(str(row["Modified_Time"]))
