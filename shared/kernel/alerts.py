"""The words of alerts: what they can be about, whether they stand, how bad it is."""

from enum import StrEnum


class AlertKind(StrEnum):
    """What an alert comes from. More may come: who reads alerts passes over kinds it does not know."""

    CONNECTION_HEALTH = "connection_health"
    """A check of how a connection is."""
    DEAD_LETTERS = "dead_letters"
    """Records that could not be applied, and are not counted before they are given again."""


class AlertState(StrEnum):
    """Whether what it tells of is still so."""

    RAISED = "raised"
    CLEARED = "cleared"


class AlertSeverity(StrEnum):
    """How bad it is; of a cleared one, how bad it was last."""

    ATTENTION = "attention"
    """It works, and somebody should look at it."""
    BROKEN = "broken"
    """Deals do not come in as they should."""
