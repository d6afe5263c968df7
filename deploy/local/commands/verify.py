"""`attain verify`: is every number what the raw deals say?"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import typer
from rich.console import Console

from deploy.local.configuration import StackConfiguration
from services.incentives import verification as incentives
from services.tracking import verification as tracking
from shared.db.database import Database

_STATEMENT_SECONDS_MAX: Final = 3600
_SHOWN_MAX: Final = 20

Differences = Callable[[Database], Awaitable[Sequence[object]]]
CHECKS: Final[tuple[tuple[str, Differences], ...]] = (
    ("tracking", tracking.differences),
    ("incentives", incentives.differences),
)


def verify() -> None:
    """Recompute all progress, credits, earnings and the ledger from the stored deals and compare; 1 if they differ."""
    found = asyncio.run(differences(StackConfiguration.from_environment().running_database_url))
    console = Console()
    for difference in found[:_SHOWN_MAX]:
        console.print(str(difference), soft_wrap=True, markup=False)
    if len(found) > _SHOWN_MAX:
        console.print(f"... and {len(found) - _SHOWN_MAX} more")
    console.print(f"verify: {len(found)} differences")
    if found:
        raise typer.Exit(1)


async def differences(url: str) -> list[object]:
    """Every stored number that is not what its deals say, in progress, credits, earnings and the ledger."""
    found: list[object] = []
    for service, check in CHECKS:
        database = Database(url, service=service, pool_size=2, statement_seconds_max=_STATEMENT_SECONDS_MAX)
        try:
            found.extend(await check(database))
        finally:
            await database.close()
    return found
