"""The migrations of the incentives service."""

from services.incentives.metadata import metadata
from shared.db.migration import run

run(metadata)
