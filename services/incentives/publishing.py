"""How the rooms of this service say what changed."""

from typing import Final

from services.incentives.metadata import transport
from shared.outbox.outbox import Outbox

OUTBOX: Final = Outbox(transport)
