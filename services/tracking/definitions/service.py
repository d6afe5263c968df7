"""This service's copy of the organisation and the goals of each tenant: stored, and read by revision."""

from services.tracking.definitions.tables import projection
from shared.db.projection import Projection


class PublishedDefinitions(Projection):
    """The newest snapshot of whatever of the organisation and the goals matters here."""

    def __init__(self) -> None:
        super().__init__(projection)
