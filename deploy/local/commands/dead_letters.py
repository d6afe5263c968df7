"""`attain dead-letters` and `attain replay-dead-letters`: what could not be applied, and applying it again."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.local.configuration import StackConfiguration
from deploy.local.databases import TRANSPORTS, opened
from deploy.local.errors import StackError
from services.tracking.tell.dead_letters import service
from services.tracking.tell.dead_letters.store import DeadLetter
from shared.contracts.topics import TOPICS
from shared.db.database import Scope
from shared.kafka.domain import Partition
from shared.kafka.positions import Positions
from shared.kernel.words import counted

_SHOWN_MAX = 200


def dead_letters(
    topic: Annotated[str | None, typer.Argument(help="Of this topic only.")] = None,
) -> None:
    """List the records that could not be applied, and why: nothing of what they say, which may be personal data."""
    url = StackConfiguration.from_environment().running_database_url
    found = asyncio.run(waiting(url, _known(topic)))
    console = Console()
    table = Table("topic", "partition/offset", "refused by", "key", "reason", "detail", "times", "last")
    for each in found[:_SHOWN_MAX]:
        table.add_row(
            each.topic,
            f"{each.partition}/{each.record_offset}",
            each.group,
            each.key,
            each.reason,
            each.detail,
            str(each.refusals),
            each.refused_at.isoformat(timespec="seconds"),
        )
    if found:
        console.print(table)
    if len(found) > _SHOWN_MAX:
        console.print(f"... and {len(found) - _SHOWN_MAX} more")
    console.print(f"{counted(len(found), 'dead letter')} waiting")


def replay_dead_letters(topic: Annotated[str, typer.Argument(help=f"One of {', '.join(TOPICS)}.")]) -> None:
    """Have those who refused records of a topic read them again, with all that came after; nothing else changes."""
    url = StackConfiguration.from_environment().running_database_url
    count = asyncio.run(replay(url, _known(topic) or topic))
    Console().print(
        f"{counted(count, 'dead letter')} of {topic} given to be applied again; what is refused again comes back."
    )


async def waiting(url: str, topic: str | None = None) -> list[DeadLetter]:
    """What waits, of one topic or of all."""
    async with opened(url, "tracking") as database:
        return [letter async for page in service.waiting(database, topic) for letter in page]


async def replay(url: str, topic: str) -> int:
    """Set every group that refused a record of the topic back to the first of them; how many records they were.

    Not published again: on a compacted topic an old snapshot would become the last one.
    """
    found = await waiting(url, topic)
    first: dict[tuple[str, Partition], int] = {}
    for letter in found:
        place = (letter.group, Partition(letter.topic, letter.partition))
        first[place] = min(first.get(place, letter.record_offset), letter.record_offset)
    for (group, partition), offset in sorted(first.items()):
        await _rewind(url, group, partition, offset)
    if found:
        async with opened(url, "tracking") as database:
            await service.drop(database, found)
    return len(found)


async def _rewind(url: str, group: str, partition: Partition, offset: int) -> None:
    tables = next((each for name, each in TRANSPORTS.items() if group.startswith(f"attain.{name}.")), None)
    if tables is None:
        raise StackError(f"{group} is no consumer group of this product, so nothing of {partition.topic} was replayed.")
    async with opened(url, tables.service) as database, database.transaction(Scope.of()) as tx:
        await Positions(tables, group).rewind(tx, partition, offset)


def _known(topic: str | None) -> str | None:
    if topic is not None and topic not in TOPICS:
        raise StackError(f"{topic!r} is not a topic; expected one of {', '.join(TOPICS)}.")
    return topic
