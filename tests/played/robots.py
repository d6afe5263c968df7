"""The robots of chat groups, played: each checks what its documents say and answers in its own words.

A robot knows the secret it was made with, the limits it was given, and `failing` answers before it looks at anything.
"""

import hmac
import json
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from tests.played.listener import Received, Reply

Json = Mapping[str, object]


def _json(body: Json, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(body, ensure_ascii=False).encode())


@dataclass
class PlayedRobot:
    """One robot of one group: `messages` are those it has shown, in their order."""

    now: Callable[[], datetime]
    secret: str | None = None
    limit: tuple[int, int] = (20, 60)
    """So many messages in so many seconds."""
    failing: deque[Reply] = field(default_factory=deque)
    messages: list[Json] = field(default_factory=list)
    requests: int = 0
    _taken: list[datetime] = field(default_factory=list)

    def respond(self, request: Received) -> Reply:
        """What the robot answers."""
        self.requests += 1
        assert request.method == "POST"
        assert request.headers["content-type"].startswith("application/json")
        if self.failing:
            return self.failing.popleft()
        refusal = self.refusal(request)
        if refusal is not None:
            return refusal
        count, seconds = self.limit
        now = self.now()
        if sum((now - at).total_seconds() < seconds for at in self._taken) >= count:
            return self.limited()
        self._taken.append(now)
        self.messages.append(json.loads(request.body))
        return self.taken()

    def refusal(self, request: Received) -> Reply | None:
        """What is wrong with a request, in the robot's words."""
        return None

    def limited(self) -> Reply:
        raise NotImplementedError

    def taken(self) -> Reply:
        raise NotImplementedError


class Feishu(PlayedRobot):
    """https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot"""

    refuses_cards = False

    def refusal(self, request: Received) -> Reply | None:
        body = json.loads(request.body)
        if len(request.body) > 20_000:
            return _json({"code": 9499, "msg": "Bad Request", "data": {}})
        if self.secret is not None:
            key = f"{body.get('timestamp')}\n{self.secret}".encode()
            expected = b64encode(hmac.new(key, digestmod="sha256").digest()).decode()
            seconds = int(body.get("timestamp", "0"))
            if body.get("sign") != expected or abs(self.now().timestamp() - seconds) > 3600:
                return _json({"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current"})
        if body["msg_type"] == "interactive" and self.refuses_cards:
            return _json({"code": 230099, "msg": "Failed to create card content, ext=ErrCode: 11310; ErrMsg: table"})
        return None

    def limited(self) -> Reply:
        return _json({"code": 9499, "msg": "too many request", "data": {}}, 400)

    def taken(self) -> Reply:
        return _json({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"})


class DingTalk(PlayedRobot):
    """https://open.dingtalk.com/document/robots/custom-robot-access"""

    keyword: str | None = None

    def refusal(self, request: Received) -> Reply | None:
        query = parse_qs(urlsplit(request.path).query)
        if query.get("access_token") != ["token"]:
            return _json({"errcode": 300001, "errmsg": "token is not exist"})
        if self.secret is not None:
            [milliseconds] = query.get("timestamp", ["0"])
            signed = f"{milliseconds}\n{self.secret}".encode()
            expected = b64encode(hmac.new(self.secret.encode(), signed, "sha256").digest()).decode()
            if query.get("sign") != [expected] or abs(self.now().timestamp() - int(milliseconds) / 1000) > 3600:
                return _json({"errcode": 310000, "errmsg": "sign not match"})
        if self.keyword is not None and self.keyword not in request.body.decode():
            return _json({"errcode": 310000, "errmsg": "keywords not in content"})
        return None

    def limited(self) -> Reply:
        return _json({"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"})

    def taken(self) -> Reply:
        return _json({"errcode": 0, "errmsg": "ok"})


class WeCom(PlayedRobot):
    """https://developer.work.weixin.qq.com/document/path/99110"""

    def refusal(self, request: Received) -> Reply | None:
        if parse_qs(urlsplit(request.path).query).get("key") != ["token"]:
            return _json({"errcode": 93000, "errmsg": "invalid webhook url, hint: [170]"})
        body = json.loads(request.body)
        if len(body.get("markdown", {}).get("content", "").encode()) > 4096:
            return _json({"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"})
        return None

    def limited(self) -> Reply:
        return _json({"errcode": 45009, "errmsg": "api freq out of limit"})

    def taken(self) -> Reply:
        return _json({"errcode": 0, "errmsg": "ok"})


class Slack(PlayedRobot):
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

    is_archived = False

    def refusal(self, request: Received) -> Reply | None:
        if self.is_archived:
            return Reply(410, body=b"channel_is_archived")
        if not json.loads(request.body).get("text"):
            return Reply(400, body=b"no_text")
        return None

    def limited(self) -> Reply:
        return Reply(429, {"retry-after": "30"}, b"rate_limited")

    def taken(self) -> Reply:
        return Reply(200, body=b"ok")


class Worktile(PlayedRobot):
    """The incoming robot of worktile/teams-docs (2016)."""

    def refusal(self, request: Received) -> Reply | None:
        body = json.loads(request.body)
        if "attachment" in body and not {"fallback", "text"} <= body["attachment"].keys():
            return _json({"ok": False, "error_message": "fallback and text are required"})
        return None

    def limited(self) -> Reply:
        return Reply(429, body=b"<html>too many requests</html>")

    def taken(self) -> Reply:
        return _json({"code": 200})
