"""A small CRM with a documented API of its own, and the adapter for it: for what holds of any source.

`POST /token` gives access for an hour. `GET /deals?ids=` gives these, `GET /deals?since=&cursor=` what was modified
from then on, `PAGE` at a time, `GET /deleted?since=` what was deleted, `GET /count`, `GET /users`, and `PUT /channel`
opens a channel. 401: another token; 429: as `retry-after` says; 402: no calls left; 5xx: later; any other 4xx: never.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import ClassVar, Final, Literal

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override

from services.tracking.intake.sources.adapter import Fetch, Statement, dated, member, read_document
from services.tracking.intake.sources.canonical import canonical_deal
from services.tracking.intake.sources.domain import (
    Judgement,
    Limit,
    QuarantineReason,
    SourceMapping,
    Untranslatable,
    Verdict,
)
from services.tracking.intake.sources.source_api import (
    Answer,
    ApiCredentials,
    ApiUser,
    Call,
    Channel,
    ChannelRequest,
    Conversation,
    FetchedRecord,
    Gone,
    RawRecord,
    RecordPage,
    SourceApi,
    Token,
    UserPage,
)
from services.tracking.intake.sources.standard_webhooks.adapter import StandardWebhooks
from tests.played.crms import PlainDeal, PlayedCrm, Webhook

PAGE: Final = 3
OBJECT: Final = "deals"


class PlainCredentials(ApiCredentials):
    """Where it is, and what a token is given for."""

    source: Literal["standard_webhooks"] = "standard_webhooks"
    api_url: str
    key: str = "opened"


class PlainApi(SourceApi[PlainCredentials]):
    """How it is asked."""

    credentials = PlainCredentials
    limits: ClassVar[Sequence[Limit]] = (Limit(1000, timedelta(seconds=1)),)
    fetch_ids_max = 10
    channel_lifetime = timedelta(days=1)

    @override
    def obtain_token(self, credentials: PlainCredentials) -> Conversation[Token] | None:
        return self._token(credentials)

    def _token(self, credentials: PlainCredentials) -> Conversation[Token]:
        answer = yield Call("POST", f"{credentials.api_url}/token", form={"key": credentials.key})
        return Token(str(read_document(answer.body)["token"]), timedelta(hours=1))

    @override
    def authorised(self, call: Call, credentials: PlainCredentials, token: str | None) -> Call:
        return Call(call.method, call.url, call.params, {"authorization": f"Bearer {token}"}, call.json, call.form)

    @override
    def judge(self, call: Call, answer: Answer) -> Judgement:
        detail = answer.body.decode()
        match answer.status:
            case 200:
                remaining = answer.headers.get("x-credits")
                return Judgement(Verdict.OK, credits_remaining=None if remaining is None else int(remaining))
            case 401:
                return Judgement(Verdict.TOKEN_EXPIRED, detail=detail)
            case 402:
                return Judgement(Verdict.QUOTA_EXHAUSTED, detail=detail)
            case 429:
                return Judgement(Verdict.RATE_LIMITED, timedelta(seconds=int(answer.headers["retry-after"])))
            case status if status >= 500:
                return Judgement(Verdict.TRANSIENT, detail=detail)
            case _:
                return Judgement(Verdict.REFUSED, detail=detail)

    @override
    def fetch(
        self, credentials: PlainCredentials, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        return self._page(credentials, "deals", {"ids": ",".join(external_ids)})

    @override
    def changed(
        self, credentials: PlainCredentials, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        params = {"since": "" if since is None else since.isoformat(), "cursor": cursor or ""}
        return self._page(credentials, "deals", params)

    @override
    def deleted(self, credentials: PlainCredentials, since: datetime, cursor: str | None) -> Conversation[RecordPage]:
        return self._page(credentials, "deleted", {"since": since.isoformat()})

    @override
    def count(self, credentials: PlainCredentials) -> Conversation[int | None]:
        answer = yield Call("GET", f"{credentials.api_url}/count")
        return int(str(read_document(answer.body)["count"]))

    @override
    def users(self, credentials: PlainCredentials, cursor: str | None) -> Conversation[UserPage]:
        answer = yield Call("GET", f"{credentials.api_url}/users", {"cursor": cursor or ""})
        document = json.loads(answer.body)
        users = [ApiUser(user["id"], user["name"], user["email"], user["active"]) for user in document["users"]]
        return UserPage(users, document["next"])

    @override
    def open_channel(self, credentials: PlainCredentials, terms: ChannelRequest) -> Conversation[Channel] | None:
        return self._channel(credentials, terms)

    def _channel(self, credentials: PlainCredentials, terms: ChannelRequest) -> Conversation[Channel]:
        told: dict[str, JsonValue] = {
            "id": terms.id,
            "url": terms.notify_url,
            "secret": terms.secret,
            "renewal": terms.is_renewal,
        }
        yield Call("PUT", f"{credentials.api_url}/channel", json={**told, "until": terms.expires_at.isoformat()})
        return Channel(terms.id, terms.expires_at)

    def _page(self, credentials: PlainCredentials, path: str, params: Mapping[str, str]) -> Conversation[RecordPage]:
        answer = yield Call("GET", f"{credentials.api_url}/{path}", params)
        document = json.loads(answer.body, parse_float=Decimal)
        return RecordPage(
            [RawRecord(OBJECT, str(raw["id"]), raw) for raw in document.get("deals", [])],
            [
                Gone(OBJECT, each["id"], None if each["at"] is None else datetime.fromisoformat(each["at"]))
                for each in document.get("gone", [])
            ],
            document.get("next"),
        )


class Plain(StandardWebhooks):
    """The adapter. Its webhooks name deals: `{"type": "deals.named", "ids": [...], "floor": …}`."""

    api = PlainApi()

    @override
    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[Statement]:
        document = read_document(body)
        ids, floor = document["ids"], document.get("floor")
        assert isinstance(ids, list)
        return [Fetch(OBJECT, each, None if floor is None else datetime.fromisoformat(str(floor))) for each in ids]

    @override
    def translate_record(self, record: FetchedRecord, mapping: SourceMapping, *, pointer: str) -> Sequence[Statement]:
        if "broken" in record.raw:
            raise Untranslatable(QuarantineReason.INVALID_FIELD, f"{pointer}/broken", "is broken")
        modified_at = datetime.fromisoformat(str(member(record.raw, "times")["modified"]))
        fields: dict[str, object] = {
            "external_id": record.raw["id"],
            "status": record.raw["status"],
            "amount": record.raw["amount"],
            "currency": record.raw["currency"],
            "owner_external_id": record.raw["owner"],
        }
        return (canonical_deal({**fields, **dated(record, modified_at)}, record.raw, mapping, pointer=pointer),)


class PlayedPlain(PlayedCrm):
    """The CRM. `gates` hold up calls whose path and query hold a text until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.getting_tokens = 0
        self.getting_tokens_max = 0
        self.times: list[float] = []
        """When each call for deals came that was not made to fail."""
        self.gates: dict[str, asyncio.Event] = {}
        self.held: set[str] = set()
        """The gates that a call stands at."""
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.channels: list[dict[str, object]] = []
        self.users: list[dict[str, object]] = []

    @override
    def connection(self) -> dict[str, object]:
        return {"source": "standard_webhooks", "name": "Plain"}

    @override
    def access(self) -> dict[str, object]:
        return {"source": "standard_webhooks", "api_url": self.address}

    @override
    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        return []

    @override
    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        return []

    @override
    def routes(self) -> list[Route]:
        return [
            Route("/token", self._give_token, methods=["POST"]),
            Route("/deals", self._give_deals),
            Route("/deleted", self._give_deleted),
            Route("/count", self._give_count),
            Route("/users", self._give_users),
            Route("/channel", self._open_channel, methods=["PUT"]),
        ]

    def open_gates(self) -> None:
        """Let through whoever stands at a gate, and everybody from now on."""
        for gate in self.gates.values():
            gate.set()

    def expire_tokens(self) -> None:
        """Take no token that was given so far."""
        self.tokens.clear()

    def asked_ids(self) -> list[list[str]]:
        """The ids of each call for deals by their ids."""
        return [
            call.query_params["ids"].split(",")
            for call in self.calls
            if call.url.path == "/deals" and "ids" in call.query_params
        ]

    async def _give_token(self, request: Request) -> Response:
        self.getting_tokens += 1
        self.getting_tokens_max = max(self.getting_tokens, self.getting_tokens_max)
        await asyncio.sleep(0.05)
        self.getting_tokens -= 1
        if (await request.body()) != b"key=opened":
            return Response("invalid_key", 400)
        self.tokens.append(f"token-{len(self.calls)}")
        return JSONResponse({"token": self.tokens[-1]})

    async def _refusal(self, request: Request) -> Response | None:
        for text, gate in self.gates.items():
            if text in str(request.url):
                self.held.add(text)
                await gate.wait()
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return None if token in self.tokens else Response("invalid_token", 401)

    async def _give_deals(self, request: Request) -> Response:
        self.times.append(monotonic())
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        query = request.query_params
        if "ids" in query:
            ids = query["ids"].split(",")
            if self.refused & set(ids):
                return Response("one of these may not be read", 403)
            gone: list[dict[str, object]] = [{"id": each, "at": None} for each in ids if each not in self.deals]
            deals = [self._raw(self.deals[each]) for each in ids if each in self.deals]
            return JSONResponse({"deals": deals, "gone": gone}, headers={"x-credits": "17"})
        since = datetime.fromisoformat(query["since"]) if query["since"] else datetime(1900, 1, 1, tzinfo=UTC)
        ordered = sorted((deal for deal in self.deals.values() if deal.modified_at >= since), key=lambda deal: deal.id)
        rest = [deal for deal in ordered if deal.id > query["cursor"]]
        page = rest[:PAGE]
        following = page[-1].id if len(rest) > PAGE else None
        return JSONResponse({"deals": [self._raw(deal) for deal in page], "next": following})

    async def _give_deleted(self, request: Request) -> Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        since = datetime.fromisoformat(request.query_params["since"])
        gone = [{"id": each, "at": at.isoformat()} for each, at in self.deleted.items() if at >= since]
        return JSONResponse({"gone": gone})

    async def _give_count(self, request: Request) -> Response:
        return await self._refusal(request) or JSONResponse({"count": len(self.deals)})

    async def _give_users(self, request: Request) -> Response:
        return await self._refusal(request) or JSONResponse({"users": self.users, "next": None})

    async def _open_channel(self, request: Request) -> Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        self.channels.append(await request.json())
        return JSONResponse({})

    def _raw(self, deal: PlainDeal) -> dict[str, object]:
        raw: dict[str, object] = {
            "id": deal.id,
            "status": deal.status,
            "amount": str(deal.amount),
            "currency": deal.currency,
            "owner": deal.owner_id,
            "times": {"modified": deal.modified_at.isoformat()},
        }
        return raw | ({"broken": True} if deal.id in self.broken else {})
