"""Incoming robots of Worktile. The only description of them is of 2016 (worktile/teams-docs); what it leaves open is
unconfirmed: an answer of 2xx that states no error counts as sent, and its limits are our own.
"""

import json
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
    Tone,
    cut,
    fitted,
)

RATES: Final = (Rate(1, 1),)
_BYTES_MAX: Final = 4_000
_SHORT_BYTES_MAX: Final = 300
_COLOURS: Final = {Tone.NEUTRAL: "#22d7bb", Tone.GOOD: "#66c060", Tone.ATTENTION: "#ffcd5d", Tone.BROKEN: "#ff7575"}


def asked(message: Message, sending: Sending) -> Asked:
    """The request for a message. There is no signature: the address is the secret."""
    named = " ".join(
        _escaped(each.name) if each.user is None else f"[@{each.user}|{_escaped(each.name)}]"
        for each in message.mentions
    )
    plain = fitted([Piece(message.plain)], _escaped, between="", bytes_max=_BYTES_MAX)
    if sending.is_plain:
        content: dict[str, object] = {"text": f"{plain}\n{named}" if named else plain}
    else:
        text = fitted(map(Piece, message.paragraphs), _escaped, between="\n", bytes_max=_BYTES_MAX)
        attachment: dict[str, object] = {
            "fallback": fitted([Piece(message.title)], _escaped, between="", bytes_max=_SHORT_BYTES_MAX),
            "title": _short(message.title),
            "color": _COLOURS[message.tone],
            "text": f"{text}\n{named}" if named else text,
            "fields": [
                {
                    "title": cut(label, bytes_max=_SHORT_BYTES_MAX),
                    "value": cut(value, bytes_max=_SHORT_BYTES_MAX),
                    "short": 1,
                }
                for label, value in message.facts
            ],
        }
        if message.link is not None:
            attachment["title_link"] = message.link.url
        content = {"attachment": attachment}
    return Asked(sending.url, json.dumps(content, ensure_ascii=False).encode(), {"content-type": "application/json"})


def judge(answer: Answered) -> Outcome:
    """What an answer says, as far as anything is known of answers."""
    found = json_object(answer) or {}
    code = found.get("error_code", found.get("code", 0))
    if answer.status in range(200, 300):
        if code in (0, 200, "") and found.get("ok") is not False:
            return Outcome(Result.SENT)
        said = text_of(found.get("error_message") or found.get("message"))
        return refused(str(code), said, {})
    return judged(answer)


def _short(text: str) -> str:
    return cut(text, bytes_max=_SHORT_BYTES_MAX)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
