"""Group robots of WeCom (企业微信). https://developer.work.weixin.qq.com/document/path/99110"""

import json
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
    Tone,
    cut,
    fitted,
)

RATES: Final = (Rate(20, 60),)
_MARKDOWN_BYTES_MAX: Final = 4096
_TEXT_BYTES_MAX: Final = 2048
_SHORT_BYTES_MAX: Final = 150
_COLOURS: Final = {Tone.NEUTRAL: "comment", Tone.GOOD: "info", Tone.ATTENTION: "warning", Tone.BROKEN: "warning"}
_BUSY: Final = -1
_RATE: Final = 45009
_WINDOW: Final = timedelta(seconds=60)
_MEANING: Final = {93000: "The address has no robot any more: take the address of the robot in its group again."}


def asked(message: Message, sending: Sending) -> Asked:
    """The request for a message. There is no signature: the address is the secret."""
    users = [each.user for each in message.mentions if each.user is not None]
    if sending.is_plain:
        content: dict[str, object] = {
            "msgtype": "text",
            "text": {"content": cut(message.plain, bytes_max=_TEXT_BYTES_MAX), "mentioned_list": users},
        }
    else:
        content = {"msgtype": "markdown", "markdown": {"content": _markdown(message)}}
    return Asked(sending.url, json.dumps(content, ensure_ascii=False).encode(), {"content-type": "application/json"})


def judge(answer: Answered) -> Outcome:
    """What an answer says: failures have status 200."""
    found = json_object(answer) or {}
    code = found.get("errcode")
    if answer.status == 200 and code == 0:
        return Outcome(Result.SENT)
    if not isinstance(code, int) or isinstance(code, bool):
        return judged(answer)
    if code == _RATE:
        return Outcome(Result.RETRY, str(code), retry_after=_WINDOW)
    if code == _BUSY:
        return Outcome(Result.RETRY, str(code))
    return refused(code, text_of(found.get("errmsg")), _MEANING)


def _markdown(message: Message) -> str:
    """The text is cut, so that the link and who is mentioned are always there."""
    ends = [f"[{_short(message.link.label)}]({message.link.url})"] if message.link is not None else []
    named = (_short(each.name) if each.user is None else f"<@{each.user}>" for each in message.mentions)
    if message.mentions:
        ends.append(" ".join(named))
    end = "".join(f"\n{each}" for each in ends)
    title = f'<font color="{_COLOURS[message.tone]}">**{_short(message.title)}**</font>'
    text = fitted(
        (Piece(text) if label is None else Piece(text, f"> {_short(label)}: **", "**") for label, text in message.body),
        _escaped,
        between="\n",
        bytes_max=_MARKDOWN_BYTES_MAX - len(f"{title}\n{end}".encode()),
    )
    return f"{title}\n{text}{end}"


def _short(text: str) -> str:
    return _escaped(cut(text, bytes_max=_SHORT_BYTES_MAX))


def _escaped(text: str) -> str:
    """No escapes are published: what could begin a tag or a link looks alike and is none."""
    return text.translate(_ALIKE)


_ALIKE: Final = str.maketrans({"<": "＜", ">": "＞", "[": "［", "]": "］", "*": "＊", "`": "｀"})
