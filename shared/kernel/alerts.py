"""The vocabulary of alerts: what they can be about, whether they are raised, how severe they are, and their checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AlertKind(StrEnum):
    """What an alert comes from. More may come: who reads alerts passes over kinds it does not know."""

    CONNECTION_HEALTH = "connection_health"
    """A check of how a connection is."""
    DEAD_LETTERS = "dead_letters"
    """Records that could not be applied, and are not counted before they are replayed."""


class AlertState(StrEnum):
    """Whether the finding is still there."""

    RAISED = "raised"
    CLEARED = "cleared"


class AlertSeverity(StrEnum):
    """How bad it is; of a cleared one, how bad it was last."""

    ATTENTION = "attention"
    """It works, and somebody should look at it."""
    BROKEN = "broken"
    """Deals do not come in as they should."""


class HealthStatus(StrEnum):
    """How well something is."""

    OK = "ok"
    ATTENTION = "attention"
    """It works, and somebody should look at it."""
    BROKEN = "broken"
    """Deals do not come in as they should."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and the sentence to show."""

    name: str
    status: HealthStatus
    sentence: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of a thing by all checks that are made of it.

    `until`: as long as nothing that the checks read changes, none has another status before; None: none ever has.
    """

    title: str
    checks: Sequence[Check]
    until: datetime | None
