"""Identifiers. Making a fresh one needs a clock and chance and so belongs to `shared.db`; this is the pure part."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from unicodedata import normalize
from uuid import UUID, uuid5

from shared.kernel.text import composed

_ACTIVITIES = UUID("5b0c3d5e-8a52-4a53-9d0d-6f3a0f6c2f11")
"""The namespace of the namespaces of activities, one for each connection."""
_SALESFORCE_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", re.ASCII)
_SALESFORCE_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SALESFORCE_USER = "005"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALERTS = UUID("a3a1c2f0-6d0b-4c55-9d61-3f0e8b7c4d29")
"""The namespace of the namespaces of alerts, one for each thing they can be about."""


def uuid7(unix_milliseconds: int, entropy: bytes) -> UUID:
    """A version 7 UUID (RFC 9562 §5.7) from a Unix time in milliseconds and ten bytes of entropy.

    Ids made in later milliseconds sort after earlier ones. Raises ValueError when the time does not fit 48 bits or
    the entropy is not ten bytes long.
    """
    if not 0 <= unix_milliseconds < 1 << 48:
        raise ValueError("unix_milliseconds does not fit 48 bits")
    if len(entropy) != 10:
        raise ValueError("entropy must be 10 bytes")
    low = int.from_bytes(entropy, "big")
    high_random = low >> 68
    low_random = low & ((1 << 62) - 1)
    return UUID(int=unix_milliseconds << 80 | 0x7 << 76 | high_random << 64 | 0b10 << 62 | low_random)


def unix_milliseconds(moment: datetime) -> int:
    """The whole milliseconds from 1970 to a moment, exactly."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def salesforce_id(value: str) -> str | None:
    """A record's id in its form of 18 characters; None for what is not one, also by its check characters.

    An id of 15 characters, which distinguishes capitals from small letters, and the one of 18 that begins with it are
    the same record; the last three say which of the others are capitals.
    """
    if not _SALESFORCE_ID.fullmatch(value):
        return None
    whole = value[:15] + "".join(
        _SALESFORCE_CHECK[sum(1 << place for place, letter in enumerate(value[at : at + 5]) if "A" <= letter <= "Z")]
        for at in (0, 5, 10)
    )
    return whole if len(value) == 15 or value == whole else None


def source_user_id(external_id: str) -> str:
    """The id of a source's user in the one form in which it is stored and compared, in whichever it was written.

    Salesforce's, which begin with 005 and are written with 15 characters or with 18, have 18; any other is in NFC.
    """
    external_id = composed(external_id)
    if len(external_id) != 15 or not external_id.startswith(_SALESFORCE_USER):
        return external_id
    return salesforce_id(external_id) or external_id


def written_user_ids(external_id: str) -> tuple[str, ...]:
    """The forms in which the id of a source's user may be written, the one of `source_user_id` first."""
    own = source_user_id(external_id)
    short = own[:15]
    return (own, short) if own != short and source_user_id(short) == own else (own,)


def deal_id(connection_id: UUID, external_id: str) -> UUID:
    """The identity of a deal: the same external id on the same connection is the same deal, for ever."""
    return uuid5(connection_id, external_id)


def possible_deal_ids(connection_ids: Iterable[UUID], external_id: str) -> list[UUID]:
    """The ids that deals of these connections have whose external id is this text, in whichever form it was written."""
    connections = list(connection_ids)
    forms = dict.fromkeys((external_id, composed(external_id), normalize("NFD", external_id)))
    return [deal_id(connection_id, form) for form in forms for connection_id in connections]


def activity_id(connection_id: UUID, external_id: str) -> UUID:
    """The identity of an activity: never that of a deal, whatever their external ids."""
    return uuid5(uuid5(_ACTIVITIES, connection_id.hex), external_id)


def alert_id(subject_id: UUID, kind: str, check: str) -> UUID:
    """The identity of an alert: it stays the same each time the same is the matter with the same thing."""
    return uuid5(uuid5(_ALERTS, subject_id.hex), f"{kind}/{check}")
