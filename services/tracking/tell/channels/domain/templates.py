"""What a message says: sentences with places for the words of an event."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from services.tracking.tell.channels.domain.messages import Mention, Message, Tone
from shared.kernel.errors import InvalidInput

TITLE_MAX: Final = 200
TEXT_MAX: Final = 2000
FACTS_MAX: Final = 12
_PLACE: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A title, a text whose lines are paragraphs, and facts with labels. `{goal}` is the place of a word."""

    title: str
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def check(self, known: Collection[str]) -> None:
        """Raise InvalidInput unless every place has a word, and all is of a length that channels take."""
        _check_length("/title", self.title, TITLE_MAX)
        _check_length("/text", self.text, TEXT_MAX)
        if not self.title.strip():
            raise InvalidInput.field("/title", "is empty", "a title, such as {goal}")
        if len(self.facts) > FACTS_MAX:
            raise InvalidInput.field("/facts", f"has {len(self.facts)} members", f"at most {FACTS_MAX}")
        _check_places("/title", self.title, known)
        _check_places("/text", self.text, known)
        for index, (label, value) in enumerate(self.facts):
            for name, stated in (("label", label), ("value", value)):
                _check_length(f"/facts/{index}/{name}", stated, TITLE_MAX)
                _check_places(f"/facts/{index}/{name}", stated, known)

    def message(self, words: Mapping[str, str], *, tone: Tone, mentions: tuple[Mention, ...] = ()) -> Message:
        """The message about an event with these words. A paragraph and a fact of which nothing is left are left out."""
        paragraphs = (_filled(line, words) for line in self.text.split("\n"))
        facts = ((_filled(label, words), _filled(value, words)) for label, value in self.facts)
        return Message(
            _filled(self.title, words),
            tuple(each for each in paragraphs if each.strip()),
            tuple((label, value) for label, value in facts if value.strip()),
            mentions=mentions,
            tone=tone,
        ).cleaned()


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda found: words.get(found[1], ""), text)


def _check_length(pointer: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise InvalidInput.field(pointer, f"has {len(text)} characters", f"at most {longest}")


def _check_places(pointer: str, text: str, known: Collection[str]) -> None:
    for name in _PLACE.findall(text):
        if name not in known:
            accepted = ", ".join(f"{{{each}}}" for each in sorted(known))
            raise InvalidInput.field(pointer, f"names {{{name}}}, which such an event does not have", accepted)
