"""This service's copy of the organisation and the goals of each tenant."""

from services.tracking.metadata import metadata
from shared.db.projection import projection_tables

projection = projection_tables(metadata)
