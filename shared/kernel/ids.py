"""Identifiers. Making a fresh one needs a clock and chance and so belongs to `shared.db`; this is the pure part."""

from uuid import UUID, uuid5

_ACTIVITIES = UUID("5b0c3d5e-8a52-4a53-9d0d-6f3a0f6c2f11")
"""The namespace of the namespaces of activities, one for each connection."""
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


def uuid7_unix_milliseconds(value: UUID) -> int:
    """The time a version 7 UUID was made at, in Unix milliseconds."""
    return value.int >> 80


def deal_id(connection_id: UUID, external_id: str) -> UUID:
    """The identity of a deal: the same external id on the same connection is the same deal, for ever."""
    return uuid5(connection_id, external_id)


def activity_id(connection_id: UUID, external_id: str) -> UUID:
    """The identity of an activity: never that of a deal, whatever their external ids."""
    return uuid5(uuid5(_ACTIVITIES, connection_id.hex), external_id)


def alert_id(subject_id: UUID, kind: str, check: str) -> UUID:
    """The identity of an alert: it stays the same each time the same is the matter with the same thing."""
    return uuid5(uuid5(_ALERTS, subject_id.hex), f"{kind}/{check}")
