"""The migrations of the goals service."""

from services.goals.metadata import metadata
from shared.db.migration import run

run(metadata)
