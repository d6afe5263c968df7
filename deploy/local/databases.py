"""The services' views of a database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from services.goals.metadata import transport as goals
from services.incentives.metadata import transport as incentives
from services.tracking.metadata import transport as tracking
from shared.db.database import Database
from shared.db.tables import TransportTables

TRANSPORTS: Final[Mapping[str, TransportTables]] = {tables.service: tables for tables in (goals, tracking, incentives)}
"""The tables by which each service publishes and reads."""


@asynccontextmanager
async def opened(url: str, service: str) -> AsyncIterator[Database]:
    """Its connections end with the block."""
    database = Database(url, service=service)
    try:
        yield database
    finally:
        await database.close()
