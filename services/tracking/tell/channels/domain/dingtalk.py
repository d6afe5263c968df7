"""Custom robots of DingTalk, which write Markdown. https://open.dingtalk.com/document/robots/custom-robot-access"""

import hmac
import json
import re
from base64 import b64encode
from datetime import timedelta
from typing import Final

from services.tracking.tell.channels.domain.answers import json_object, judged, refused, text_of
from services.tracking.tell.channels.domain.messages import (
    Answered,
    Asked,
    Message,
    Outcome,
    Piece,
    Rate,
    Result,
    Sending,
    cut,
    fitted,
)

RATES: Final = (Rate(20, 60),)
_TEXT_BYTES_MAX: Final = 8_000
_TITLE_BYTES_MAX: Final = 200
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+!>|-])")
_BLOCKED: Final = timedelta(minutes=10)
_RATE_CODES: Final = frozenset({130101, 410100})
_BUSY: Final = -1
_TOKEN: Final = "The address has no robot any more: take the address of the robot in its group again."  # noqa: S105
_MEANING: Final = {
    300001: _TOKEN,
    300005: _TOKEN,
    400101: _TOKEN,
    400106: _TOKEN,
    400102: "The robot was stopped: start it in its group.",
    400013: "The group is gone: name another robot.",
}
_REFUSALS: Final = (
    (("keyword", "关键词"), "The robot takes messages with its keywords only: put one of them into the template."),
    (("sign", "timestamp", "签名"), "The signature does not match: enter the robot's secret again."),
    (("whitelist", "白名单"), "The robot takes messages from some addresses only: add this server's to its list."),
)


def asked(message: Message, sending: Sending) -> Asked:
    """The request for a message; with a secret the address is signed for this moment, and good for an hour."""
    users = [each.user for each in message.mentions if each.user is not None]
    named = " ".join(each.name if each.user is None else f"@{each.user}" for each in message.mentions)
    url = sending.url
    at_users = {"atUserIds": users, "isAtAll": False}
    if sending.is_plain:
        text = cut(message.plain, bytes_max=_TEXT_BYTES_MAX)
        content: dict[str, object] = {
            "msgtype": "text",
            "text": {"content": f"{text}\n{named}" if named else text},
            "at": at_users,
        }
    else:
        content = {
            "msgtype": "markdown",
            "markdown": {"title": cut(message.title, bytes_max=_TITLE_BYTES_MAX), "text": _markdown(message, named)},
            "at": at_users,
        }
    if sending.secret is not None:
        milliseconds = str(int(sending.at.timestamp() * 1000))
        sign = signature(sending.secret, milliseconds).translate(_IN_A_QUERY)
        url += f"{'&' if '?' in url else '?'}timestamp={milliseconds}&sign={sign}"
    return Asked(url, json.dumps(content, ensure_ascii=False).encode(), {"content-type": "application/json"})


def signature(secret: str, milliseconds: str) -> str:
    """HMAC-SHA256 of the moment in Unix milliseconds, a line feed and the secret; the key is the secret."""
    return b64encode(hmac.digest(secret.encode(), f"{milliseconds}\n{secret}".encode(), "sha256")).decode()


def judge(answer: Answered) -> Outcome:
    """What an answer says: failures have status 200."""
    found = json_object(answer) or {}
    code, message = found.get("errcode"), text_of(found.get("errmsg"))
    if answer.status == 200 and code == 0:
        return Outcome(Result.SENT)
    if found.get("status") == 1111 and found.get("punish") == "deny":
        seconds = found.get("wait")
        wait = timedelta(seconds=seconds) if isinstance(seconds, int) and 0 < seconds < 3600 else _BLOCKED
        return Outcome(Result.RETRY, "1111", retry_after=wait)
    if not isinstance(code, int) or isinstance(code, bool):
        return judged(answer)
    if code in _RATE_CODES:
        return Outcome(Result.RETRY, str(code), retry_after=_BLOCKED)
    if code == _BUSY:
        return Outcome(Result.RETRY, str(code))
    for words, what_to_do in _REFUSALS if code == 310000 else ():
        if any(word in message.lower() for word in words):
            return Outcome(Result.CLOSED, str(code), what_to_do)
    return refused(code, message, _MEANING)


def _markdown(message: Message, named: str) -> str:
    """A blank line ends a line."""
    body = (Piece(text, "" if label is None else f"**{_escaped(label)}** ") for label, text in message.body)
    text = fitted([Piece(message.title, "### "), *body], _escaped, between="\n\n", bytes_max=_TEXT_BYTES_MAX)
    if message.link is not None:
        text += f"\n\n[{_escaped(message.link.label)}]({message.link.url.translate(_IN_BRACKETS)})"
    return f"{text}\n\n{named}" if named else text


_IN_A_QUERY: Final = str.maketrans({"+": "%2B", "/": "%2F", "=": "%3D"})
_IN_BRACKETS: Final = str.maketrans({"(": "%28", ")": "%29", " ": "%20"})


def _escaped(text: str) -> str:
    """Text of which nothing is taken for Markdown; its line feeds end lines."""
    return _MARKUP.sub(r"\\\1", text).replace("<", "&lt;").replace("\n", "\n\n")
