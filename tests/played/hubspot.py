"""HubSpot played: signed batches of events that are repeated until they are taken, and the CRM API with its limits."""

import hmac
import json
import time
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.played.crms import PlainDeal, PlayedCrm, Webhook

PORTAL: Final = 33
TOKEN: Final = "pat-eu1-11111111-2222"
_ATTEMPTS_MAX: Final = 10
_BATCH_MAX: Final = 100
_SEARCH_PAGE_MAX: Final = 200
_ASSOCIATIONS_MAX: Final = 500
_SEARCH_RESULTS_MAX: Final = 10_000
_STAGES: Final = {"open": "appointmentscheduled", "won": "closedwon", "lost": "closedlost"}
_DEFINED: Final = (
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
    "hs_analytics_source",
    "hs_deal_stage_probability",
    "hs_is_closed",
    "hs_is_closed_won",
    "hs_lastmodifieddate",
    "hs_merged_object_ids",
    "hs_primary_associated_company",
    "hs_object_id",
)


@dataclass
class PlayedHubspot(PlayedCrm):
    """A portal."""

    patience_seconds = 5.0

    custom: dict[str, dict[str, str]] = field(default_factory=dict)
    """The portal's own properties of deals, by the deal's id."""
    custom_names: tuple[str, ...] = ()
    home_currency: str | None = "EUR"
    """None where the app may not see it."""
    time_zone: str = "US/Eastern"
    rates: dict[str, Decimal] = field(default_factory=dict)
    splits: dict[str, list[tuple[str, str]]] | None = None
    """Owners and their shares of 1, by the deal's id; None where the portal has no splits."""
    owners: dict[str, str] = field(default_factory=dict)
    activities: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """Properties by the id, by the object's name; those of `line_items` and `commerce_payments` of deals too."""
    deals_of_activities: dict[str, str] = field(default_factory=dict)
    """And of what is sold with them, by its id."""
    archived_activities: dict[str, dict[str, datetime]] = field(default_factory=dict)
    """When activities were deleted: object, id, time."""
    hidden: frozenset[str] = frozenset()
    """The objects of activities that the app may not see."""
    merged: dict[str, str] = field(default_factory=dict)
    """What deals became part of."""
    calls_a_day_max: int = 250_000
    calls_in_ten_seconds_max: int = 100
    calls_today: int = 0
    _recent: deque[float] = field(default_factory=deque)
    _told: int = 0

    def connection(self) -> dict[str, object]:
        given = {"secret": self.secret} if self.secret else {}
        return {"source": "hubspot", "name": "HubSpot", "allowed": {"portal_id": [str(PORTAL)]}, **given}

    def access(self) -> dict[str, object]:
        return {"source": "hubspot", "api_url": self.address, "access_token": TOKEN}

    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        now, then = self._properties(deal), {} if before is None else self._properties(before)
        events = [] if before is not None else [self._event("creation", deal.id, deal.modified_at)]
        events += [
            self._event("propertyChange", deal.id, deal.modified_at, propertyName=name, propertyValue=value or "")
            for name, value in now.items()
            if then.get(name) != value and not name.startswith("hs_")
        ]
        return [self._signed(events[start : start + _BATCH_MAX]) for start in range(0, len(events), _BATCH_MAX)]

    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        return [self._signed([self._event("deletion", deal.id, at)])]

    def restore(self, deal: PlainDeal, at: datetime) -> None:
        """Bring a deleted deal back as it was."""
        self.deals[deal.id] = deal
        self.deleted.pop(deal.id)
        self.webhooks.append(self._signed([self._event("restore", deal.id, at)]))

    def merge(self, primary_id: str, other_id: str, into: PlainDeal, at: datetime) -> None:
        """Make a third deal of two."""
        for former in (primary_id, other_id):
            del self.deals[former]
            self.merged[former] = into.id
        self.deals[into.id] = into
        told = self._event(
            "merge",
            into.id,
            at,
            primaryObjectId=int(primary_id),
            mergedObjectIds=[int(other_id)],
            newObjectId=int(into.id),
            numberOfPropertiesMoved=2,
        )
        self.webhooks.append(self._signed([told]))

    def again(self, webhook: Webhook) -> Webhook | None:
        """The same events, signed anew, ten times at most."""
        events = json.loads(webhook.body)
        for event in events:
            event["attemptNumber"] += 1
        return None if events[0]["attemptNumber"] > _ATTEMPTS_MAX else self._signed(events)

    def routes(self) -> list[Route]:
        return [
            Route("/crm/v3/properties/deals", self._list_properties),
            Route("/settings/v3/currencies/company-currency", self._currency),
            Route("/account-info/v3/details", self._account),
            Route("/crm/v3/objects/deals/splits/batch/read", self._read_splits, methods=["POST"]),
            Route("/crm/v3/objects/{object_name}/search", self._search, methods=["POST"]),
            Route("/crm/v3/objects/{object_name}/batch/read", self._read, methods=["POST"]),
            Route("/crm/v4/associations/{object_name}/{other}/batch/read", self._read_associations, methods=["POST"]),
            Route("/crm/v3/objects/{object_name}", self._list),
            Route("/crm/v3/owners", self._list_owners),
        ]

    def _event(self, what: str, deal_id: str, at: datetime, **more: object) -> dict[str, object]:
        self._told += 1
        return {
            "eventId": 3816279340 + self._told,
            "subscriptionId": 25,
            "portalId": PORTAL,
            "appId": 1160452,
            "occurredAt": _ms(at),
            "subscriptionType": f"deal.{what}",
            "attemptNumber": 0,
            "objectId": int(deal_id),
            "changeSource": "CRM_UI",
            **more,
        }

    def _signed(self, events: list[dict[str, object]]) -> Webhook:
        body = json.dumps(events).encode()
        timestamp = str(int(time.time() * 1000))
        signed = b"POST" + self.hook_url.encode() + body + timestamp.encode()
        headers = {
            "content-type": "application/json",
            "x-hubspot-request-timestamp": timestamp,
            "x-hubspot-signature-v3": b64encode(hmac.digest(self.secret.encode(), signed, "sha256")).decode(),
        }
        return Webhook("POST", "", headers, body, frozenset(str(event["objectId"]) for event in events))

    def _properties(self, deal: PlainDeal) -> dict[str, str | None]:
        closing = deal.closed_on or deal.expected_close_on
        rate = self.rates.get(deal.currency, Decimal(1))
        formers = [former for former, into in self.merged.items() if into == deal.id]
        return {
            "dealname": deal.name,
            "amount": str(deal.amount),
            "amount_in_home_currency": str(deal.amount * rate),
            "dealstage": _STAGES[deal.status],
            "pipeline": "default",
            "closedate": None if closing is None else f"{closing.isoformat()}T12:00:00Z",
            "createdate": _iso(deal.created_at),
            "deal_currency_code": deal.currency,
            "hubspot_owner_id": deal.owner_id,
            "hs_is_closed": "false" if deal.status == "open" else "true",
            "hs_is_closed_won": "true" if deal.status == "won" else "false",
            "hs_deal_stage_probability": {"open": "0.2", "won": "1.0", "lost": "0.0"}[deal.status],
            "hs_lastmodifieddate": _iso(deal.modified_at),
            "hs_merged_object_ids": ";".join(formers) or None,
            "hs_object_id": deal.id,
            **self.custom.get(deal.id, {}),
        }

    def _refusal(self, request: Request) -> Response | None:
        """What stands in the way of a call."""
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if self.calls_today >= self.calls_a_day_max:
            return _error(429, "RATE_LIMITS", "You have reached your daily limit.", policyName="DAILY")
        now = time.monotonic()
        while self._recent and now - self._recent[0] > 10:
            self._recent.popleft()
        if len(self._recent) >= self.calls_in_ten_seconds_max:
            return _error(
                429,
                "RATE_LIMITS",
                "You have reached your ten_secondly_rolling limit.",
                policyName="TEN_SECONDLY_ROLLING",
            )
        self._recent.append(now)
        self.calls_today += 1
        return None

    def _answer(self, document: object, status: int = 200) -> Response:
        return JSONResponse(
            document,
            status,
            {
                "x-hubspot-ratelimit-daily-remaining": str(self.calls_a_day_max - self.calls_today),
                "x-hubspot-ratelimit-interval-milliseconds": "10000",
            },
        )

    def _shown(self, deal: PlainDeal, asked: list[str]) -> dict[str, object]:
        properties = self._properties(deal)
        return {
            "id": deal.id,
            "properties": {name: properties.get(name) for name in [*asked, "hs_lastmodifieddate", "hs_object_id"]},
            "createdAt": _iso(deal.created_at),
            "updatedAt": _iso(deal.modified_at),
            "archived": False,
        }

    async def _list_properties(self, request: Request) -> Response:
        defined = [{"name": name, "hubspotDefined": True, "archived": False} for name in _DEFINED]
        own = [{"name": name, "archived": False} for name in self.custom_names]
        return self._refusal(request) or self._answer({"results": defined + own})

    async def _currency(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is None and self.home_currency is None:
            return _error(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes.")
        return refusal or self._answer({"currencyCode": self.home_currency})

    async def _read(self, request: Request) -> Response:
        asked = await request.json()
        ids = [str(each["id"]) for each in asked["inputs"]]
        refusal = self._refusal(request) or _too_many(ids)
        if refusal is not None:
            return refusal
        object_name = request.path_params["object_name"]
        results: list[dict[str, object]] = []
        missing = []
        for each in ids:
            shown = self._record(object_name, each, asked["properties"], request.query_params.get("archived") == "true")
            if shown is None:
                missing.append(each)
            else:
                results.append(shown)
        document: dict[str, object] = {"status": "COMPLETE", "results": results}
        if not missing:
            return self._answer(document)
        error = {
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": "Could not get some DEAL objects, they may be deleted or not exist.",
            "context": {"ids": missing},
        }
        return self._answer(document | {"numErrors": 1, "errors": [error]}, 207)

    def _record(
        self, object_name: str, record_id: str, asked: list[str], is_archived: bool
    ) -> dict[str, object] | None:
        if object_name != "deals":
            held = self.activities.get(object_name, {}).get(record_id)
            if held is None or is_archived:
                return None
            return {"id": record_id, "properties": {name: held.get(name) for name in asked}, "archived": False}
        if is_archived:
            at = self.deleted.get(record_id)
            return None if at is None else {"id": record_id, "properties": {}, "archived": True, "archivedAt": _iso(at)}
        deal = self.deals.get(self.merged.get(record_id, record_id))
        return None if deal is None else self._shown(deal, asked)

    async def _read_splits(self, request: Request) -> Response:
        ids = [str(each["id"]) for each in (await request.json())["inputs"]]
        refusal = self._refusal(request) or _too_many(ids)
        if refusal is None and self.splits is None:
            return _error(403, "MISSING_SCOPES", "This account has no deal splits.")
        return refusal or self._answer(
            {
                "status": "COMPLETE",
                "results": [
                    {
                        "id": each,
                        "splits": [
                            {
                                "id": f"{each}{index}",
                                "properties": {"hs_deal_split_percentage": share, "hubspot_owner_id": owner},
                                "archived": False,
                            }
                            for index, (owner, share) in enumerate((self.splits or {}).get(each, []))
                        ],
                    }
                    for each in ids
                ],
            }
        )

    async def _account(self, request: Request) -> Response:
        details = {"portalId": PORTAL, "timeZone": self.time_zone, "companyCurrency": self.home_currency}
        return self._refusal(request) or self._answer(details)

    async def _read_associations(self, request: Request) -> Response:
        inputs = (await request.json())["inputs"]
        ids = [str(each["id"]) for each in inputs]
        if self.hidden & set(request.path_params.values()):
            return self._refusal(request) or _error(403, "MISSING_SCOPES", "This app hasn't been granted the scopes.")
        if request.path_params["object_name"] == "deals":
            sold = self.activities.get(request.path_params["other"], {})
            others = {deal: [each for each in sold if self.deals_of_activities.get(each) == deal] for deal in ids}
        else:
            others = {each: [self.deals_of_activities[each]] for each in ids if each in self.deals_of_activities}
        begins = {str(each["id"]): int(each.get("after", 0)) for each in inputs}
        results = [
            {
                "from": {"id": each},
                "to": [{"toObjectId": int(other)} for other in some[begins[each] : begins[each] + _ASSOCIATIONS_MAX]],
                **_paging(begins[each] + _ASSOCIATIONS_MAX, len(some)),
            }
            for each, some in others.items()
            if some
        ]
        return self._refusal(request) or self._answer({"status": "COMPLETE", "results": results})

    async def _search(self, request: Request) -> Response:
        asked = await request.json()
        after, limit = int(asked.get("after", 0)), int(asked.get("limit", 10))
        if limit > _SEARCH_PAGE_MAX or after + limit > _SEARCH_RESULTS_MAX:
            return _error(400, "VALIDATION_ERROR", "There was a problem with the request.")
        object_name, properties = request.path_params["object_name"], asked.get("properties", [])
        if object_name in self.hidden:
            return self._refusal(request) or _error(403, "MISSING_SCOPES", "This app hasn't been granted the scopes.")
        if object_name == "deals":
            times = {deal.id: _ms(deal.modified_at) for deal in self.deals.values()}
        else:
            held = self.activities.get(object_name, {})
            times = {each: _ms(datetime.fromisoformat(raw["hs_lastmodifieddate"])) for each, raw in held.items()}
        matching = [
            record_id
            for record_id, at in times.items()
            if all(
                _matches(record_id, at, each) for group in asked.get("filterGroups", []) for each in group["filters"]
            )
        ]
        for sort in asked.get("sorts", []):
            by_id = sort["propertyName"] == "hs_object_id"
            matching.sort(key=lambda record_id: int(record_id) if by_id else times[record_id])
        shown = [
            self._record(object_name, record_id, properties, is_archived=False)
            for record_id in matching[after : after + limit]
        ]
        document = {"total": len(matching), "results": shown, **_paging(after + limit, len(matching))}
        return self._refusal(request) or self._answer(document)

    async def _list(self, request: Request) -> Response:
        if request.query_params.get("archived") != "true":
            return _error(400, "VALIDATION_ERROR", "only archived records are listed here")
        object_name = request.path_params["object_name"]
        if object_name in self.hidden:
            return self._refusal(request) or _error(403, "MISSING_SCOPES", "This app hasn't been granted the scopes.")
        archived = self.deleted if object_name == "deals" else self.archived_activities.get(object_name, {})
        rows: list[Mapping[str, object]] = [
            {"id": record_id, "properties": {}, "archived": True, "archivedAt": _iso(at)}
            for record_id, at in archived.items()
        ]
        return self._refusal(request) or self._page(request, rows)

    async def _list_owners(self, request: Request) -> Response:
        rows: list[Mapping[str, object]] = [
            {"id": owner_id, "email": f"{owner_id}@example.com", "firstName": name, "lastName": "", "archived": False}
            for owner_id, name in self.owners.items()
        ]
        return self._refusal(request) or self._page(request, rows)

    def _page(self, request: Request, rows: list[Mapping[str, object]]) -> Response:
        after, limit = int(request.query_params.get("after", 0)), int(request.query_params.get("limit", 10))
        if limit > _BATCH_MAX:
            return _error(400, "VALIDATION_ERROR", "limit is 100 at most")
        return self._answer({"results": rows[after : after + limit], **_paging(after + limit, len(rows))})


def _paging(after: int, count: int) -> dict[str, object]:
    """Where the next page of so many begins; nothing after the last."""
    return {"paging": {"next": {"after": str(after)}}} if after < count else {}


def _matches(record_id: str, modified_ms: int, each: Mapping[str, str]) -> bool:
    value = modified_ms if each["propertyName"] == "hs_lastmodifieddate" else int(record_id)
    wanted = int(each["value"])
    return {"GTE": value >= wanted, "GT": value > wanted, "EQ": value == wanted}[each["operator"]]


def _too_many(ids: list[str]) -> Response | None:
    if len(ids) <= _BATCH_MAX and all(each.isdigit() for each in ids):
        return None
    return _error(400, "VALIDATION_ERROR", "Invalid input JSON: inputs are 100 numbers at most")


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(status: int, category: str, message: str, **more: object) -> Response:
    return JSONResponse({"status": "error", "message": message, "category": category, **more}, status)
