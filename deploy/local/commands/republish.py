"""`attain republish`: fill a topic again from Postgres."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

import typer
from rich.console import Console

from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from services.goals.republish import republish as republish_goals
from services.incentives.republish import republish as republish_incentives
from services.tracking.republish import republish as republish_tracking
from shared.contracts.topics import TOPICS
from shared.db.database import Database
from shared.kernel.words import counted

_REPUBLISH: Final[Mapping[str, Callable[[Database, str], Awaitable[int]]]] = {
    "goals": republish_goals,
    "tracking": republish_tracking,
    "incentives": republish_incentives,
}


def republish(topic: Annotated[str, typer.Argument(help=f"One of {', '.join(TOPICS)}.")]) -> None:
    """Publish the newest snapshot of everything on a topic again, for a topic that was lost; readers lose nothing."""
    if topic not in TOPICS:
        raise StackError(f"{topic!r} is not a topic; expected one of {', '.join(TOPICS)}.")
    url = StackConfiguration.from_environment().running_database_url
    count = asyncio.run(_republish(url, topic, TOPICS[topic].producer))
    Console().print(
        f"In the outbox: {counted(count, 'snapshot')} of {topic}; the {TOPICS[topic].producer} worker publishes them."
    )


async def _republish(url: str, topic: str, service: str) -> int:
    database = Database(url, service=service)
    try:
        return await _REPUBLISH[service](database, topic)
    finally:
        await database.close()
