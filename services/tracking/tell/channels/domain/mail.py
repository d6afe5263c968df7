"""Messages as e-mail: one letter to several addresses, in plain text and HTML, and what a mail server's replies say.

RFC 5321 (replies: 4xx may pass later, 5xx never), RFC 5322 (letters), RFC 3834 (letters that nobody need answer).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, Group
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from typing import Final

from services.tracking.tell.channels.domain.messages import Message, Outcome, Rate, Result, Tone, cut
from shared.kernel.errors import InvalidInput

RATES: Final = (Rate(10, 1),)
RECIPIENTS_MAX: Final = 100
SCHEME: Final = "mailto:"
_ADDRESS: Final = re.compile(r"[!-~]+@[!-~]+")
_NOT_IN_ADDRESSES: Final = frozenset('",;<>()[]\\')
_NAME_BYTES_MAX: Final = 60
_COLOURS: Final = {Tone.NEUTRAL: "#3b6fb6", Tone.GOOD: "#2e8b57", Tone.ATTENTION: "#c77700", Tone.BROKEN: "#b3261e"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a mail server answered: a code of three digits and a sentence."""

    code: int
    text: str

    @property
    def is_for_good(self) -> bool:
        """Whether the same will never be taken."""
        return self.code >= 500


def is_address(text: str) -> bool:
    """Whether a mail server takes this for one address."""
    return (
        len(text) <= 254 and text.count("@") == 1 and bool(_ADDRESS.fullmatch(text)) and not _NOT_IN_ADDRESSES & {*text}
    )


def recipients(url: str, *, pointer: str = "/url") -> tuple[str, ...]:
    """The addresses of `mailto:ana@example.com,bo@example.com`. Raises InvalidInput at `pointer`."""
    accepted = f"mailto: and up to {RECIPIENTS_MAX} addresses with commas between them"
    if not url.startswith(SCHEME):
        raise InvalidInput.field(pointer, "has no addresses", accepted)
    found = tuple(dict.fromkeys(each.strip() for each in url.removeprefix(SCHEME).split(",")))
    for each in found:
        if not is_address(each):
            raise InvalidInput.field(pointer, f"{each!r} is not an address", accepted)
    if len(found) > RECIPIENTS_MAX:
        raise InvalidInput.field(pointer, f"has {len(found)} addresses", accepted)
    return found


def letter(message: Message, *, sender: str, group: str, message_id: str, at: datetime) -> bytes:
    """The letter about a message, the same bytes for the same arguments. Who else gets it is not in it."""
    made = EmailMessage(policy=SMTP)
    made["Subject"] = message.title
    made["From"] = Address("Attain", addr_spec=sender)
    made["To"] = Group(cut(" ".join(group.split()), bytes_max=_NAME_BYTES_MAX), ())
    made["Date"] = at
    made["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(message.plain)
    made.add_alternative(html(message), subtype="html")
    made.set_boundary(f"=_{message_id}")
    return made.as_bytes()


def outcome_of(refused: Mapping[str, Reply], asked: Sequence[str]) -> tuple[Outcome, tuple[str, ...]]:
    """What became of a letter that was taken for all that are not refused; and who is to be tried again."""
    left = tuple(each for each in asked if each in refused and not refused[each].is_for_good)
    if left:
        return Outcome(Result.RETRY, str(refused[left[0]].code)), left
    if len(refused) == len(asked):
        first = refused[asked[0]]
        return Outcome(Result.REFUSED, str(first.code), f"The mail server says: {cut(first.text, bytes_max=300)}"), ()
    return Outcome(Result.SENT), ()


def html(message: Message) -> str:
    """The message as a page; what people wrote is text in it."""
    parts = [f'<h2 style="color:{_COLOURS[message.tone]};margin:0 0 12px">{escape(message.title)}</h2>']
    parts += [f"<p>{escape(each)}</p>" for each in message.paragraphs]
    if message.facts:
        rows = "".join(
            f'<tr><td style="color:#666;padding:2px 16px 2px 0">{escape(label)}</td><td>{escape(value)}</td></tr>'
            for label, value in message.facts
        )
        parts.append(f"<table>{rows}</table>")
    if message.link is not None:
        parts.append(f'<p><a href="{escape(message.link.url)}">{escape(message.link.label)}</a></p>')
    inner = "\n".join(parts)
    return f'<html><body style="font-family:sans-serif;max-width:640px">\n{inner}\n</body></html>\n'
