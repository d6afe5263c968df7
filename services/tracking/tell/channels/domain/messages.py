"""A message to people, whatever it is sent through, and what an answer to it says about whether it arrived.

A channel is a pure module that says how a message is asked for (`Asked`) and judges what came back (`Outcome`). A chat
robot has no key for repeats: what may have arrived is never sent again by itself.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

ELLIPSIS: Final = "…"
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Tone(StrEnum):
    """What a message is like, for its colour."""

    NEUTRAL = "neutral"
    GOOD = "good"
    ATTENTION = "attention"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Link:
    """Where a reader goes on: an http or https address, and what is written on it."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Mention:
    """Somebody whose attention is asked for; `user` is how the channel knows the person, None where it does not."""

    name: str
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A title, paragraphs of plain text, facts with their labels, and where to read on.

    Nothing in it is markup: each channel escapes what it would take for its own.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    link: Link | None = None
    mentions: tuple[Mention, ...] = ()
    tone: Tone = Tone.NEUTRAL

    def cleaned(self) -> "Message":
        """Without characters that nobody sees and some channels refuse."""
        return replace(
            self,
            title=" ".join(cleaned(self.title).split()),
            paragraphs=tuple(map(cleaned, self.paragraphs)),
            facts=tuple((cleaned(label), cleaned(value)) for label, value in self.facts),
            link=None if self.link is None else Link(cleaned(self.link.label), self.link.url),
            mentions=tuple(Mention(cleaned(each.name), each.user) for each in self.mentions),
        )

    @property
    def body(self) -> list[tuple[str | None, str]]:
        """Its paragraphs, and its facts each with its label."""
        return [*((None, each) for each in self.paragraphs), *self.facts]

    @property
    def plain(self) -> str:
        """All of it as lines of text."""
        lines = [self.title, *self.paragraphs, *(f"{label}: {value}" for label, value in self.facts)]
        if self.link is not None:
            lines.append(f"{self.link.label}: {self.link.url}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Sending:
    """How a message is to be sent: to which address, signed with which secret for which moment, and whether plainly."""

    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    at: datetime
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a channel. `url` may have a secret in it."""

    url: str = field(repr=False)
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a channel answered: a status, its headers by names in lower case, and the first part of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Result(StrEnum):
    """What an answer says about a message."""

    SENT = "sent"
    RETRY = "retry"
    """It did not arrive and may later."""
    REFUSED = "refused"
    """It did not arrive, and the same message never will."""
    CLOSED = "closed"
    """It did not arrive, and nothing will before somebody does something about the address or its robot."""
    FORM_REFUSED = "form_refused"
    """It did not arrive in this form, and may in plain text."""
    UNKNOWN = "unknown"
    """It may have arrived: repeating it could tell people twice."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message: `code` is the channel's own, `what_to_do` a sentence where somebody has to act."""

    result: Result
    code: str = ""
    what_to_do: str | None = None
    retry_after: timedelta | None = None
    """No sooner than then, where the channel or its limit says so."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `messages` in any `seconds`."""

    messages: int
    seconds: int


def cut(text: str, *, bytes_max: int) -> str:
    """The text, or as much of its beginning as fits into so many UTF-8 bytes with an ellipsis; whole code points."""
    encoded = text.encode()
    if len(encoded) <= bytes_max:
        return text
    room = bytes_max - len(ELLIPSIS.encode())
    return encoded[: max(0, room)].decode(errors="ignore") + ELLIPSIS


def cut_characters(text: str, *, characters_max: int) -> str:
    """The same for a limit in characters."""
    return text if len(text) <= characters_max else text[: characters_max - 1] + ELLIPSIS


class Piece(NamedTuple):
    """A part of a text in a channel's markup: what people wrote, between what the channel writes around it."""

    text: str
    before: str = ""
    after: str = ""


def fitted(pieces: Iterable[Piece], escape: Callable[[str], str], *, between: str, bytes_max: int) -> str:
    """The pieces, escaped, as many as fit into so many UTF-8 bytes; of the first that does not, the beginning.

    What people wrote is cut before it is escaped, so that no markup is left open and no escape is cut through.
    """
    parts: list[str] = []
    room = bytes_max
    for piece in pieces:
        around = len(f"{between if parts else ''}{piece.before}{piece.after}".encode())
        # An escape never makes a text shorter, so what is beyond the room need not be looked at.
        text = cut(piece.text, bytes_max=max(len(ELLIPSIS.encode()), room))
        escaped = escape(text)
        if around + len(escaped.encode()) > room:
            keep = bisect_left(
                range(len(text)), True, key=lambda size: around + len((escape(text[:size]) + ELLIPSIS).encode()) > room
            )
            if keep > 1:
                parts.append(f"{piece.before}{escape(text[: keep - 1])}{ELLIPSIS}{piece.after}")
            break
        parts.append(f"{piece.before}{escaped}{piece.after}")
        room -= around + len(escaped.encode())
    return between.join(parts)


def cleaned(text: str) -> str:
    """Without characters that nobody sees and some channels refuse; lines stay lines."""
    return _CONTROL.sub(" ", text)
