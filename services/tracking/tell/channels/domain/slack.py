"""Incoming webhooks of Slack, in blocks. https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

import json
from datetime import timedelta
from typing import Final

from services.tracking.tell.channels.domain.answers import judged, refused, retry_after_of
from services.tracking.tell.channels.domain.messages import (
    Answered,
    Asked,
    Message,
    Outcome,
    Piece,
    Rate,
    Result,
    Sending,
    cut_characters,
    fitted,
)

RATES: Final = (Rate(1, 1),)
_HEADER_MAX: Final = 150
_SECTION_MAX: Final = 3000
_TEXT_MAX: Final = 20_000
_LABEL_MAX: Final = 300
_BUTTON_MAX: Final = 75
_SECTIONS_MAX: Final = 40
_MEANING: Final = {
    "invalid_token": "The address is not valid any more: make a new webhook in the workspace.",
    "action_prohibited": "An administrator of the workspace does not allow this: ask there.",
    "no_service": "The webhook was removed or switched off: make a new one in the workspace.",
    "channel_not_found": "The channel is gone: make a webhook for another one.",
    "channel_is_archived": "The channel is archived: make a webhook for another one.",
    "user_not_found": "The person it was to go to is gone: make a webhook for another one.",
}


def asked(message: Message, sending: Sending) -> Asked:
    """The request for a message. There is no signature: the address is the secret."""
    text = _cut(message.plain, _TEXT_MAX)
    named = " ".join(_escaped(each.name) if each.user is None else f"<@{each.user}>" for each in message.mentions)
    content: dict[str, object] = {"text": f"{text}\n{named}" if named else text}
    if not sending.is_plain:
        content["blocks"] = _blocks(message, named)
    return Asked(sending.url, json.dumps(content, ensure_ascii=False).encode(), {"content-type": "application/json"})


def judge(answer: Answered) -> Outcome:
    """What an answer says: its body is plain text."""
    said = answer.body.decode(errors="replace").strip()
    if answer.status == 200 and said == "ok":
        return Outcome(Result.SENT)
    if answer.status == 429:
        return Outcome(Result.RETRY, "429", retry_after=retry_after_of(answer) or timedelta(seconds=1))
    if said == "invalid_blocks":
        return Outcome(Result.FORM_REFUSED, said)
    if answer.status in range(400, 500):
        return refused(said, said, _MEANING)
    return judged(answer)


def _blocks(message: Message, named: str) -> list[dict[str, object]]:
    title = cut_characters(message.title, characters_max=_HEADER_MAX)
    blocks: list[dict[str, object]] = [{"type": "header", "text": {"type": "plain_text", "text": title}}]
    parts = [_cut(each, _SECTION_MAX) for each in message.paragraphs]
    parts.append(
        fitted(
            (Piece(value, f"*{_cut(label, _LABEL_MAX)}* ") for label, value in message.facts),
            _escaped,
            between="\n",
            bytes_max=_SECTION_MAX,
        )
    )
    parts.append(named)
    blocks += [{"type": "section", "text": {"type": "mrkdwn", "text": part}} for part in parts[:_SECTIONS_MAX] if part]
    if message.link is not None:
        label = cut_characters(message.link.label, characters_max=_BUTTON_MAX)
        button = {"type": "button", "text": {"type": "plain_text", "text": label}, "url": message.link.url}
        blocks.append({"type": "actions", "elements": [button]})
    return blocks


def _cut(text: str, bytes_max: int) -> str:
    """Escaped, within so many bytes and so within as many characters."""
    return fitted([Piece(text)], _escaped, between="", bytes_max=bytes_max)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
