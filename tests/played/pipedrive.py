"""Pipedrive played: webhooks that are tried four times and can lead to a ban, and the API of version 2 on a budget."""

import json
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.played.crms import PlainDeal, PlayedCrm, Webhook

TOKEN: Final = "b1946ac92492d2347c6235b4d2611184b1946ac9"
_ATTEMPTS_MAX: Final = 4
_FIRST_FAILURES_MAX: Final = 10
_IDS_MAX: Final = 100
_PAGE_MAX: Final = 500
_STAGES: Final = {"open": 4, "won": 5, "lost": 6}
_TOKENS_PER_CALL: Final = 10


@dataclass
class PlayedPipedrive(PlayedCrm):
    """A company."""

    patience_seconds = 10.0

    activities: dict[str, dict[str, object]] = field(default_factory=dict)
    has_activities: bool = True
    products: dict[str, list[dict[str, object]]] | None = None
    """What is sold with deals, by their ids; None where the company's plan has no products."""
    archived: set[str] = field(default_factory=set)
    """Deals that lists leave out."""
    has_archive: bool = True
    page_products_max: int = _PAGE_MAX
    users: dict[str, str] = field(default_factory=dict)
    tokens_left: int = 1_000_000
    first_failures: int = 0
    """Webhooks in a row of which the first try failed."""
    is_banned: bool = False
    """Nothing is told while it is, and nothing of it later."""
    merged: dict[str, str] = field(default_factory=dict)
    _last: dict[str, PlainDeal] = field(default_factory=dict)
    _told: int = 0

    def connection(self) -> dict[str, object]:
        given = {"secret": self.secret} if self.secret else {}
        return {"source": "pipedrive", "name": "Pipedrive", **given}

    def access(self) -> dict[str, object]:
        return {"source": "pipedrive", "api_url": self.address, "api_token": TOKEN}

    def put(self, deal: PlainDeal) -> None:
        self._last[deal.id] = deal
        super().put(deal)

    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        now = self._data(deal)
        if before is None:
            return self._event("create", deal, deal.modified_at, now, None)
        then = self._data(before)
        changed = {name: value for name, value in then.items() if now[name] != value}
        return self._event("change", deal, deal.modified_at, now, changed)

    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        return self._event("delete", deal, at, None, self._data(deal))

    def merge(self, former_id: str, into: PlainDeal, at: datetime) -> None:
        """Make one deal a part of another: told as a deletion and a change."""
        former, before = self.deals.pop(former_id), self.deals[into.id]
        self.deals[into.id] = self._last[into.id] = into
        self.deleted[former_id] = at
        self.merged[former_id] = into.id
        deletion = self._event("delete", former, at, None, self._data(former), merged_to_id=into.id)
        then: dict[str, object] = {"update_time": _time(before.modified_at)}
        change = self._event("change", into, at, self._data(into), then, merged_from_id=former_id)
        self.webhooks.extend([*deletion, *change])

    def is_taken(self, status: int, content_type: str, body: bytes) -> bool:
        """Also counts: a success ends the row of failures."""
        is_taken = super().is_taken(status, content_type, body)
        if is_taken:
            self.first_failures = 0
        return is_taken

    def again(self, webhook: Webhook) -> Webhook | None:
        """Tried again after 3, 30 and 150 seconds; ten whose first try fails lead to a ban of 30 minutes."""
        document = json.loads(webhook.body)
        if document["meta"]["attempt"] == 1:
            self.first_failures += 1
            if self.first_failures >= _FIRST_FAILURES_MAX:
                self.is_banned = True
                self.webhooks.clear()
        if self.is_banned or document["meta"]["attempt"] >= _ATTEMPTS_MAX:
            return None
        document["meta"]["attempt"] += 1
        return Webhook(webhook.method, webhook.path, webhook.headers, json.dumps(document).encode(), webhook.about)

    def lift_ban(self) -> None:
        """The half hour is over. What happened meanwhile is not told."""
        self.is_banned = False
        self.first_failures = 0

    def routes(self) -> list[Route]:
        return [
            Route("/api/v2/deals", self._list),
            Route("/api/v2/deals/archived", self._list_archived),
            Route("/api/v2/deals/products", self._list_products),
            Route("/api/v2/deals/{record_id}", self._one),
            Route("/api/v2/activities", self._list_activities),
            Route("/api/v2/activities/{record_id}", self._one_activity),
            Route("/api/v1/deals/summary", self._summary),
            Route("/api/v1/users", self._list_users),
        ]

    def _event(
        self,
        action: str,
        deal: PlainDeal,
        at: datetime,
        data: dict[str, object] | None,
        previous: dict[str, object] | None,
        **more: object,
    ) -> list[Webhook]:
        if self.is_banned:
            return []
        self._told += 1
        meta = {
            "action": action,
            "entity": "deal",
            "entity_id": deal.id,
            "company_id": "12345678",
            "id": f"5a1c0c3e-0000-4000-8000-{self._told:012d}",
            "attempt": 1,
            "timestamp": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "version": "2.0",
            "webhook_id": "456",
            "user_id": "12345678",
            "change_source": "app",
            **more,
        }
        body = json.dumps({"meta": meta, "data": data, "previous": previous}).encode()
        authorization = f"Basic {b64encode(self.secret.encode()).decode()}"
        headers = {"content-type": "application/json", "authorization": authorization}
        return [Webhook("POST", "", headers, body, frozenset({deal.id}))]

    def _data(self, deal: PlainDeal) -> dict[str, object]:
        closing = None if deal.closed_on is None else f"{deal.closed_on.isoformat()}T12:00:00Z"
        return {
            "id": int(deal.id),
            "title": deal.name,
            "value": float(deal.amount),
            "currency": deal.currency,
            "status": deal.status,
            "stage_id": _STAGES[deal.status],
            "pipeline_id": 1,
            "owner_id": int(deal.owner_id),
            "org_id": 2,
            "probability": None,
            "expected_close_date": None if deal.expected_close_on is None else deal.expected_close_on.isoformat(),
            "won_time": closing if deal.status == "won" else None,
            "lost_time": closing if deal.status == "lost" else None,
            "add_time": _time(deal.created_at),
            "update_time": _time(deal.modified_at),
            "custom_fields": {},
        }

    def _data_deleted(self, deal_id: str) -> dict[str, object]:
        data = self._data(self._last[deal_id])
        return data | {"status": "deleted", "is_deleted": True, "update_time": _time(self.deleted[deal_id])}

    def _refusal(self, request: Request) -> Response | None:
        """What stands in the way of a call."""
        if request.headers.get("x-api-token") != TOKEN:
            return _error(401, "unauthorized access")
        if self.tokens_left < _TOKENS_PER_CALL:
            return JSONResponse(
                {"success": False, "error": "Daily API token budget exceeded"},
                429,
                {"x-daily-ratelimit-token-remaining": "0", "retry-after": "1"},
            )
        self.tokens_left -= _TOKENS_PER_CALL
        return None

    def _answer(self, data: object, cursor: str | None = None) -> Response:
        return JSONResponse(
            {"success": True, "data": data, "additional_data": {"next_cursor": cursor}},
            headers={"x-daily-ratelimit-token-remaining": str(self.tokens_left)},
        )

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        if asked.get("status") == "deleted":
            rows = [self._data_deleted(deal_id) for deal_id in self.deleted]
        else:
            rows = [self._data(deal) for deal in self.deals.values() if deal.id not in self.archived]
        return self._refusal(request) or self._page(request, rows)

    async def _list_archived(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is None and not self.has_archive:
            return _error(403, "feature not available")
        rows = [self._data(deal) for deal in self.deals.values() if deal.id in self.archived]
        return refusal or self._page(request, rows)

    async def _list_products(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is None and self.products is None:
            return _error(403, "feature not available")
        ids, limit = request.query_params["deal_ids"].split(","), int(request.query_params["limit"])
        if len(ids) > _IDS_MAX or limit > _PAGE_MAX:
            return _error(400, "Validation failed: deal_ids: at most 100 items, limit: at most 500")
        rows = [{"deal_id": int(deal_id), **line} for deal_id in ids for line in (self.products or {}).get(deal_id, [])]
        start = int(request.query_params.get("cursor", "0"))
        limit = min(limit, self.page_products_max)
        following = str(start + limit) if start + limit < len(rows) else None
        return refusal or self._answer(rows[start : start + limit], following)

    async def _list_activities(self, request: Request) -> Response:
        if not self.has_activities:
            return self._refusal(request) or _error(403, "no permission for activities")
        return self._refusal(request) or self._page(request, list(self.activities.values()))

    def _page(self, request: Request, rows: list[dict[str, object]]) -> Response:
        """A cursor is the place behind a record, so that what moves meanwhile shifts nothing."""
        asked = request.query_params
        ids = asked["ids"].split(",") if "ids" in asked else None
        limit = int(asked.get("limit", "100"))
        if (ids is not None and len(ids) > _IDS_MAX) or limit > _PAGE_MAX:
            return _error(400, "Validation failed: ids: at most 100 items, limit: at most 500")
        if ids is not None:
            rows = [row for row in rows if str(row["id"]) in ids]
        if "updated_since" in asked:
            since = datetime.fromisoformat(asked["updated_since"])
            rows = [row for row in rows if datetime.fromisoformat(str(row["update_time"])) >= since]
        order = asked.get("sort_by", "id")
        if order not in ("id", "update_time", "add_time"):
            return _error(400, "Validation failed: sort_by")

        def place(row: dict[str, object]) -> tuple[str, int]:
            return ("" if order == "id" else str(row[order]), int(str(row["id"])))

        rows = sorted(rows, key=place)
        if "cursor" in asked:
            time, _, last_id = bytes.fromhex(asked["cursor"]).decode().rpartition("/")
            rows = [row for row in rows if place(row) > (time, int(last_id))]
        shown = rows[:limit]
        following = None
        if len(rows) > limit:
            time, number = place(shown[-1])
            following = f"{time}/{number}".encode().hex()
        return self._answer(shown, following)

    async def _one(self, request: Request) -> Response:
        deal_id = request.path_params["record_id"]
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if deal_id in self.deleted:
            return self._answer(self._data_deleted(deal_id))
        deal = self.deals.get(deal_id)
        return _error(404, "Deal not found") if deal is None else self._answer(self._data(deal))

    async def _one_activity(self, request: Request) -> Response:
        held = self.activities.get(request.path_params["record_id"])
        return self._refusal(request) or (_error(404, "Activity not found") if held is None else self._answer(held))

    async def _summary(self, request: Request) -> Response:
        return self._refusal(request) or self._answer({"total_count": len(self.deals)})

    async def _list_users(self, request: Request) -> Response:
        users = [
            {"id": int(user_id), "name": name, "email": f"{user_id}@example.com", "active_flag": True}
            for user_id, name in self.users.items()
        ]
        return self._refusal(request) or self._answer(users)


def _time(moment: datetime) -> str:
    """Whole seconds, as Pipedrive has them."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"success": False, "error": message}, status)
