"""This service's copy of the organisation and the goals of each tenant: stored, and read by revision."""

from typing import Final

from services.tracking.definitions.tables import projection
from shared.db.projection import Projection

PROJECTION: Final = Projection(projection)
