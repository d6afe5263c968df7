"""Fxiaoke played: signed, encrypted callbacks about opportunities, and its open API with its error codes and limits."""

import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from hashlib import sha1
from itertools import count
from time import monotonic
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.played.crms import PlainDeal, PlayedCrm, Webhook

APP_ID: Final = "FSAID_1317000"
APP_SECRET: Final = "app-secret"
PERMANENT_CODE: Final = "permanent-code"
CORP_ID: Final = "FSCID_ABCDEF"
EMPLOYEE: Final = "FSUID_ADMIN"
ENTERPRISE: Final = "gxcxkj"
OPPORTUNITY: Final = "NewOpportunityObj"
ORDER: Final = "SalesOrderObj"
_CHINA: Final = timezone(timedelta(hours=8))
_STATUSES: Final = {"open": "1", "won": "2", "lost": "3"}
_STAGES: Final = {"open": ("2", "需求确认"), "won": ("5", "赢单"), "lost": ("6", "输单")}
_LIMIT_MAX: Final = 100
_OFFSET_MAX: Final = 10_000
_WINDOW_SECONDS: Final = 20.0
_TOKENS_A_MINUTE_MAX: Final = 10

Row = dict[str, object]


@dataclass
class PlayedFxiaoke(PlayedCrm):
    """A company. Deals are opportunities; everything else is put as rows.

    What is deleted is made invalid first, and stays as an invalid record until it is purged.
    """

    custom: dict[str, Row] = field(default_factory=dict)
    """More fields of opportunities, by the deal's id."""
    objects: dict[str, dict[str, Row]] = field(default_factory=dict)
    """Orders, payments and activities by the name of their object and their `_id`."""
    invalid: dict[str, tuple[PlainDeal, datetime]] = field(default_factory=dict)
    users: list[Row] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    hides_invalid: bool = False
    """Whether a query that does not ask for the invalid leaves them out."""
    forbidden: set[str] = field(default_factory=set)
    """The ids of records that the employee may not see."""
    calls_a_window_max: int = 100
    quota_remaining: int | None = None
    tokens_at_once_max: int = 0
    _tokens_at_once: int = 0
    _times: dict[str, deque[float]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def connection(self) -> dict[str, object]:
        given = {"secret": self.secret} if self.secret else {}
        return {
            "source": "fxiaoke",
            "name": "纷享销客",
            "allowed": {"enterprise_account": [ENTERPRISE]},
            "mapping": {"currency": "USD"},
            **given,
        }

    def access(self) -> dict[str, object]:
        return {
            "source": "fxiaoke",
            "api_url": self.address,
            "app_id": APP_ID,
            "app_secret": APP_SECRET,
            "permanent_code": PERMANENT_CODE,
            "corp_id": CORP_ID,
            "current_open_user_id": EMPLOYEE,
        }

    def user(self, owner_id: str) -> str:
        return f"FSUID_{owner_id}"

    def is_taken(self, status: int, content_type: str, body: bytes) -> bool:
        """Only `success`, encrypted and signed with the key, is."""
        try:
            answer = json.loads(body)
            signed = f"{answer['timestamp']}{answer['nonce']}{answer['encryptedResult']}{self.secret}"
            result = decrypted(answer["encryptedResult"], self.secret)
        except (ValueError, KeyError, TypeError):
            return False
        return status == 200 and answer["signature"] == sha1(signed.encode()).hexdigest() and result == b"success"

    def told(self, deal: PlainDeal, before: PlainDeal | None) -> list[Webhook]:
        # A change of the owner is an event of its own kind.
        kind = "create" if before is None else "update" if before.owner_id == deal.owner_id else "changeOwner"
        return [self.event(kind, OPPORTUNITY, deal.id, deal.modified_at)]

    def told_deleted(self, deal: PlainDeal, at: datetime) -> list[Webhook]:
        self.invalid[deal.id] = (deal, at)
        return [self.event("invalid", OPPORTUNITY, deal.id, at)]

    def recover(self, deal_id: str, at: datetime) -> None:
        """Make an invalid opportunity valid again: its modified time stays what it was."""
        self.deals[deal_id], _ = self.invalid.pop(deal_id)
        del self.deleted[deal_id]
        self.webhooks.append(self.event("recover", OPPORTUNITY, deal_id, at))

    def purge(self, deal_id: str, at: datetime) -> None:
        """Delete an invalid opportunity for good."""
        del self.invalid[deal_id]
        self.webhooks.append(self.event("delete", OPPORTUNITY, deal_id, at))

    def put_row(self, object_name: str, row: Row, kind: str = "update") -> None:
        """Make or change a record of another object."""
        self.objects.setdefault(object_name, {})[str(row["_id"])] = row
        at = datetime.fromtimestamp(int(str(row["last_modified_time"])) / 1000, _CHINA)
        self.webhooks.append(self.event(kind, object_name, str(row["_id"]), at))

    def expire_tokens(self) -> None:
        """Take no token that was given so far."""
        self.tokens.clear()

    def event(self, kind: str, object_name: str, record_id: str, at: datetime) -> Webhook:
        """A callback, signed and encrypted with the key of now."""
        number = next(self._numbers)
        message_id = f"AC{number:031d}"
        content = {
            "tenantId": 691413,
            "eventType": kind,
            "apiName": object_name,
            "dataId": record_id,
            "timestamp": milliseconds(at),
            "messageId": message_id,
        }
        return self.sealed(json.dumps(content).encode(), message_id, frozenset({record_id}))

    def sealed(self, content: bytes, message_id: str, about: frozenset[str] = frozenset()) -> Webhook:
        """A callback with any content."""
        envelope = {
            "timestamp": milliseconds(datetime.now(UTC)),
            "nonce": "mi3wrpKNnq4YdIZC",
            "messageId": message_id,
            "retryTimes": 1,
            "enterpriseAccount": ENTERPRISE,
            "encryptedContent": encrypted(content, self.secret),
        }
        signed = "".join(str(part) for part in envelope.values()) + self.secret
        body = {"signature": sha1(signed.encode()).hexdigest(), **envelope}
        return Webhook("POST", "", {"content-type": "application/json"}, json.dumps(body).encode(), about)

    def routes(self) -> list[Route]:
        return [
            Route("/cgi/corpAccessToken/get/V2", self._token, methods=["POST"]),
            Route("/cgi/crm/v2/data/get", self._get, methods=["POST"]),
            Route("/cgi/crm/v2/data/query", self._query, methods=["POST"]),
            Route("/cgi/user/list", self._users, methods=["POST"]),
        ]

    def _row(self, deal: PlainDeal, *, is_invalid: bool) -> Row:
        stage, label = _STAGES[deal.status]
        row: Row = {
            "_id": deal.id,
            "name": deal.name,
            "amount": f"{deal.amount:.2f}",
            "sales_stage": stage,
            "sales_stage__r": label,
            "sales_status": _STATUSES[deal.status],
            "owner": [self.user(deal.owner_id)],
            "owner__r": {"id": deal.owner_id, "name": f"员工 {deal.owner_id}"},
            "life_status": "invalid" if is_invalid else "normal",
            "is_deleted": is_invalid,
            "create_time": milliseconds(deal.created_at),
            "last_modified_time": milliseconds(deal.modified_at),
            "version": "1",
            "relevant_team": [{"teamMemberEmployee": [self.user(deal.owner_id)], "teamMemberRole": "1"}],
            **self.custom.get(deal.id, {}),
        }
        closing = deal.closed_on or deal.expected_close_on
        if closing is not None:
            row["close_date"] = midnight(closing)
        return row

    def _rows(self, object_name: str) -> list[Row]:
        if object_name != OPPORTUNITY:
            return list(self.objects.get(object_name, {}).values())
        rows = [self._row(deal, is_invalid=False) for deal in self.deals.values()]
        # Making a record invalid modifies it.
        return rows + [
            self._row(deal, is_invalid=True) | {"last_modified_time": milliseconds(at)}
            for deal, at in self.invalid.values()
        ]

    async def _token(self, request: Request) -> Response:
        self._tokens_at_once += 1
        self.tokens_at_once_max = max(self.tokens_at_once_max, self._tokens_at_once)
        try:
            given = await request.json()
        finally:
            self._tokens_at_once -= 1
        if self._is_too_often("token", _TOKENS_A_MINUTE_MAX, 60.0):
            return _failed(14001, "接口调用超过限制")
        if given != {"appId": APP_ID, "appSecret": APP_SECRET, "permanentCode": PERMANENT_CODE}:
            return _failed(10006, "the parameter appSecret is missing or illegal")
        token = f"corp-token-{next(self._numbers)}"
        self.tokens.add(token)
        return JSONResponse(
            {"errorCode": 0, "errorMessage": "OK", "corpAccessToken": token, "corpId": CORP_ID, "expiresIn": 7200}
        )

    async def _asked(self, request: Request) -> Row | Response:
        """The body of a call that may be made, or why it may not."""
        given: Row = await request.json()
        if "corpAccessToken" not in given:
            return _failed(20017, "corpAccessToken为必填项，不能为空")
        if given["corpAccessToken"] not in self.tokens or given.get("corpId") != CORP_ID:
            return _failed(20016, "the cropId,cropAccessToken or authorization is error")
        if given.get("currentOpenUserId") != EMPLOYEE:
            return _failed(20012, "openUserId 未找到")
        if self.quota_remaining is not None:
            self.quota_remaining -= 1
            if self.quota_remaining < 0:
                return _failed(30002, "当天访问频次超限")
        if self._is_too_often(request.url.path, self.calls_a_window_max, _WINDOW_SECONDS):
            return _failed(30004, "秒频次超限")
        return given

    def _is_too_often(self, endpoint: str, calls_max: int, seconds: float) -> bool:
        times, now = self._times.setdefault(endpoint, deque()), monotonic()
        while times and now - times[0] >= seconds:
            times.popleft()
        if len(times) >= calls_max:
            return True
        times.append(now)
        return False

    async def _get(self, request: Request) -> Response:
        given = await self._asked(request)
        if isinstance(given, Response):
            return given
        data = given["data"]
        assert isinstance(data, dict)
        record_id = data["objectDataId"]
        if record_id in self.forbidden:
            return _failed(320002400, "无此操作的数据权限")
        found = next((row for row in self._rows(data["dataObjectApiName"]) if row["_id"] == record_id), None)
        return _failed(320001404, "数据不存在") if found is None else _done(found)

    async def _query(self, request: Request) -> Response:
        given = await self._asked(request)
        if isinstance(given, Response):
            return given
        data = given["data"]
        assert isinstance(data, dict)
        info = data["search_query_info"]
        limit, offset = info["limit"], info["offset"]
        if not 0 < limit <= _LIMIT_MAX or offset % limit:
            return _failed(32000, "参数错误")
        if offset > _OFFSET_MAX:
            return _failed(10013, "offset out of range 10000")
        filters = info["filters"]
        hides = self.hides_invalid and not any(each["field_name"] == "life_status" for each in filters)
        rows = [
            row
            for row in self._rows(data["dataObjectApiName"])
            if row["_id"] not in self.forbidden
            and not (hides and row.get("life_status") == "invalid")
            and all(_passes(row, each) for each in filters)
        ]
        for order in reversed(info["orders"]):
            rows.sort(key=_sorting(order["fieldName"]), reverse=not order["isAsc"])
        total = len(rows) if data.get("find_explicit_total_num", True) else 0
        return _done({"dataList": rows[offset : offset + limit], "offset": offset, "limit": limit, "total": total})

    async def _users(self, request: Request) -> Response:
        given = await self._asked(request)
        if isinstance(given, Response):
            return given
        return JSONResponse({"errorCode": 0, "errorMessage": "success", "userList": self.users})


def _passes(row: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    value, values = row.get(str(wanted["field_name"])), wanted["field_values"]
    assert isinstance(values, list)
    match wanted["operator"]:
        case "EQ":
            return str(value) == str(values[0])
        case "IN":
            return any(str(each) in values for each in (value if isinstance(value, list) else [value]))
        case "GT":
            return _comparable(value) > _comparable(values[0])
        case "GTE":
            return _comparable(value) >= _comparable(values[0])
        case operator:
            raise AssertionError(f"{operator} is not played")


def _comparable(value: object) -> tuple[int, str]:
    """Times by their number, ids by their text."""
    text = str(value)
    return (int(text), "") if text.isdigit() and len(text) == len("1604644770244") else (0, text)


def _sorting(name: str) -> Callable[[Mapping[str, object]], tuple[int, str]]:
    return lambda row: _comparable(row.get(name))


def _done(data: Mapping[str, object]) -> Response:
    return JSONResponse({"traceId": "E-O.1453", "errorCode": 0, "errorMessage": "OK", "data": dict(data)})


def _failed(code: int, message: str) -> Response:
    return JSONResponse({"traceId": "E-O.1453", "errorCode": code, "errorMessage": message})


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1000)


def midnight(day: date) -> int:
    """The milliseconds at which a day begins in China."""
    return milliseconds(datetime.combine(day, time(), _CHINA))


def _cipher(key: str) -> Cipher[CBC]:
    plain = b64decode(key)
    return Cipher(AES(plain), CBC(plain[:16]))


def encrypted(data: bytes, key: str) -> str:
    """As Fxiaoke does, in Base64."""
    padder, encryptor = PKCS7(128).padder(), _cipher(key).encryptor()
    return b64encode(encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()).decode()


def decrypted(text: str, key: str) -> bytes:
    """What was encrypted. Raises ValueError."""
    unpadder, decryptor = PKCS7(128).unpadder(), _cipher(key).decryptor()
    padded = decryptor.update(b64decode(text)) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()
