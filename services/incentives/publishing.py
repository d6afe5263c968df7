"""How the rooms of this service say what changed, and wake its worker."""

from typing import Final

from services.incentives.metadata import transport
from shared.outbox.outbox import Outbox

OUTBOX: Final = Outbox(transport)
STALE_CHANNEL: Final = "incentives_stale"
"""Notified when assignments were marked stale."""
