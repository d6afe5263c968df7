"""Custom bots of Feishu and Lark: a card, and plain text where the card is refused.

https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

import hmac
import json
import re
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Final

from services.tracking.tell.channels.domain.answers import json_object, judged, refused, text_of
from services.tracking.tell.channels.domain.messages import (
    Answered,
    Asked,
    Mention,
    Message,
    Outcome,
    Piece,
    Rate,
    Result,
    Sending,
    Tone,
    cut,
    fitted,
)

RATES: Final = (Rate(5, 1), Rate(100, 60))
_BODY_BYTES_MAX: Final = 20_000
_TEXT_BYTES_MAX: Final = 8_000
_TITLE_BYTES_MAX: Final = 200
_COLOURS: Final = {Tone.NEUTRAL: "blue", Tone.GOOD: "green", Tone.ATTENTION: "orange", Tone.BROKEN: "red"}
_MARKUP: Final = re.compile(r"[&<>*_\[\]()#!`]")
_TOO_MANY: Final = "too many request"
_CARD_REFUSED: Final = ("11310", "200621", "230099")
_MEANING: Final = {
    19001: "The address has no bot any more: take the address of the bot in its group again.",
    19021: "The signature does not match: enter the bot's secret again, and see that the clock is right.",
    19022: "The bot takes messages from some addresses only: add this server's to its list.",
    19024: "The bot takes messages with its keywords only: put one of them into the template, or remove them.",
}
_RATE_CODES: Final = frozenset({11232, 99991400})
_WINDOW: Final = timedelta(seconds=60)


def asked(message: Message, sending: Sending) -> Asked:
    """The request for a message; with a secret it is signed for this moment, and good for an hour."""
    content: dict[str, object] = (
        {"msg_type": "text", "content": {"text": _plain(message)}}
        if sending.is_plain
        else {"msg_type": "interactive", "card": _card(message)}
    )
    if sending.secret is not None:
        seconds = str(int(sending.at.timestamp()))
        content = {"timestamp": seconds, "sign": signature(sending.secret, seconds), **content}
    body = json.dumps(content, ensure_ascii=False).encode()
    if len(body) > _BODY_BYTES_MAX and not sending.is_plain:
        return asked(message, replace(sending, is_plain=True))
    return Asked(sending.url, body, {"content-type": "application/json; charset=utf-8"})


def signature(secret: str, seconds: str) -> str:
    """HMAC-SHA256 of nothing; the key is the moment in Unix seconds, a line feed and the secret."""
    return b64encode(hmac.digest(f"{seconds}\n{secret}".encode(), b"", "sha256")).decode()


def judge(answer: Answered) -> Outcome:
    """What an answer says: most failures have status 200."""
    found = json_object(answer)
    code = None if found is None else found.get("code", found.get("StatusCode"))
    message = "" if found is None else text_of(found.get("msg"))
    if answer.status == 200 and code == 0:
        return Outcome(Result.SENT)
    if not isinstance(code, int) or isinstance(code, bool):
        return judged(answer)
    if code in _RATE_CODES or answer.status == 429 or _TOO_MANY in message.lower():
        return Outcome(Result.RETRY, str(code), retry_after=_reset(answer))
    if any(each in message for each in _CARD_REFUSED):
        return Outcome(Result.FORM_REFUSED, str(code))
    if code >= 0 and answer.status < 500:
        return refused(code, message, _MEANING)
    return judged(answer)


def _reset(answer: Answered) -> timedelta:
    seconds = answer.headers.get("x-ogw-ratelimit-reset", "")
    return timedelta(seconds=int(seconds)) if seconds.isdigit() and len(seconds) < 5 else _WINDOW


def _card(message: Message) -> dict[str, object]:
    named = "".join(f"\n{_mention(each)}" for each in message.mentions)
    text = fitted(
        (Piece(text, "" if label is None else f"**{_escaped(label)}** ") for label, text in message.body),
        _escaped,
        between="\n",
        bytes_max=_TEXT_BYTES_MAX,
    )
    elements: list[dict[str, object]] = [{"tag": "markdown", "content": text + named}]
    if message.link is not None:
        elements.append(
            {
                "tag": "button",
                "text": {"tag": "plain_text", "content": message.link.label},
                "behaviors": [{"type": "open_url", "default_url": message.link.url}],
            }
        )
    title = cut(message.title, bytes_max=_TITLE_BYTES_MAX)
    return {
        "schema": "2.0",
        "config": {"summary": {"content": title}},
        "header": {"title": {"tag": "plain_text", "content": title}, "template": _COLOURS[message.tone]},
        "body": {"elements": elements},
    }


def _plain(message: Message) -> str:
    named = [
        each.name if each.user is None else f'<at user_id="{_attribute(each.user)}">{each.name}</at>'
        for each in message.mentions
    ]
    return cut("\n".join([message.plain.replace("<at ", "< at "), *named]), bytes_max=_TEXT_BYTES_MAX)


def _mention(each: Mention) -> str:
    return _escaped(each.name) if each.user is None else f"<at id={_attribute(each.user)}></at>"


def _attribute(user: str) -> str:
    """The id of a user, of which nothing can end the tag that it stands in."""
    return re.sub(r"[^\w.@-]", "", user)


def _escaped(text: str) -> str:
    """Text that is not taken for the card's markdown."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", text)
