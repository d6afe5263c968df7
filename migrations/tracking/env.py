"""The migrations of the tracking service."""

from services.tracking.metadata import metadata
from shared.db.migration import run

run(metadata)
