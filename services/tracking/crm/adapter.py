"""What the inbox asks of a source, and the reading of bodies that sources share."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NoReturn, Protocol

from services.tracking.crm.canonical import CanonicalDeal
from services.tracking.crm.domain import QuarantineReason, Rejection, Source, SourceMapping, Untranslatable

Headers = Mapping[bytes, bytes]
"""Lower-case names."""


class Adapter(Protocol):
    """How one kind of source proves itself, tells its deliveries apart and speaks of deals. All of it is pure."""

    source: Source
    accepted_status: int
    """What the source is answered once its delivery is stored."""

    def new_secret(self, entropy: bytes) -> str:
        """A secret of the form the source works with, out of 32 random bytes."""
        ...

    def check_secret(self, value: str) -> None:
        """Raises InvalidSecret unless the source could work with this secret."""
        ...

    def verify(self, headers: Headers, body: bytes, secrets: Sequence[str], *, now_seconds: int) -> Rejection | None:
        """Why the raw delivery is not from someone who has one of the secrets; None when it is."""
        ...

    def dedupe_key(self, headers: Headers, body: bytes) -> str:
        """The same for every sending of the same delivery, of any length."""
        ...

    def translate(self, body: bytes, mapping: SourceMapping) -> Sequence[CanonicalDeal]:
        """The deals in a delivery; empty when it is about something else. Raises Untranslatable."""
        ...


def read_document(body: bytes) -> Mapping[str, object]:
    """A JSON object, its numbers with a fraction as exact decimals. Raises Untranslatable.

    Refused are also NaN and infinities, lone surrogates and the NUL character, which no text of ours can hold.
    """
    try:
        document = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Untranslatable(QuarantineReason.NOT_JSON, "", str(error)) from error
    if not isinstance(document, dict):
        raise Untranslatable(QuarantineReason.NOT_JSON, "", "the body is not a JSON object")
    if _NUL_ESCAPE in body and _holds_nul(document):
        raise Untranslatable(QuarantineReason.INVALID_FIELD, "", "a text holds the NUL character")
    return document


def member(document: Mapping[str, object], name: str, *, pointer: str = "") -> Mapping[str, object]:
    """The object under a name. Raises Untranslatable."""
    value = document.get(name)
    if isinstance(value, dict):
        return value
    reason = QuarantineReason.MISSING_FIELD if value is None else QuarantineReason.INVALID_FIELD
    raise Untranslatable(reason, f"{pointer}/{name}", "is not an object")


_NUL_ESCAPE: Final = b"\\u0000"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _holds_nul(value: object) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_holds_nul(part) for item in value.items() for part in item)
        case list():
            return any(_holds_nul(item) for item in value)
        case _:
            return False
