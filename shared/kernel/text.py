"""The one form in which text is stored and compared: Unicode's NFC, so that what looks the same is the same."""

from collections.abc import Mapping
from unicodedata import is_normalized, normalize


def composed(text: str) -> str:
    """The text in NFC."""
    return text if text.isascii() else normalize("NFC", text)


def is_composed(text: str) -> bool:
    """Whether the text is in NFC."""
    return text.isascii() or is_normalized("NFC", text)


def composed_members(value: object) -> object:
    """A value of JSON's kind with every text in it in NFC, the names of members too; what is no text stays as it is."""
    if isinstance(value, str):
        return composed(value)
    if isinstance(value, Mapping):
        return {composed_members(name): composed_members(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [composed_members(member) for member in value]
    return value


def folded(text: str) -> str:
    """What two texts have in common that differ in nothing but the case of letters."""
    return composed(composed(text).casefold())
