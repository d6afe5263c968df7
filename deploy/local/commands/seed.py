"""`attain seed`: a company to try things with."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from deploy.local.api import attain_api, service_urls
from deploy.local.configuration import StackConfiguration
from deploy.local.demo.seeding import CALENDAR, SeededCompany, Seeding
from deploy.local.secrets import jwt_secret
from deploy.local.tenancy import DEVELOPMENT_TENANT_ID


def seed(
    tenant: Annotated[UUID, typer.Option(help="Id of the tenant.")] = DEVELOPMENT_TENANT_ID,
) -> None:
    """Give the running stack a company: 3 teams, 12 people, goals of this quarter, a commission plan, two CRMs.

    May be repeated: what is there already is left as it is.
    """
    configuration = StackConfiguration.from_environment()
    secret = jwt_secret(configuration.state_folder)
    seeded = asyncio.run(seed_company(service_urls(configuration.ports), secret, tenant))
    console = Console()
    if seeded.created:
        console.print(f"Seeded: {seeded.created} things created.")
    else:
        console.print("Seeded already: nothing was created.")
    for channel, hook in seeded.hooks.items():
        console.print(f"{channel:<12} sends to {hook.url}", soft_wrap=True, highlight=False)


async def seed_company(urls: dict[str, str], secret: str, tenant_id: UUID) -> SeededCompany:
    """Set the company up in the quarter it is today in its time zone."""
    async with attain_api(urls, jwt_secret=secret, tenant_id=tenant_id) as api:
        return await Seeding(api, CALENDAR.business_date(datetime.now(UTC)), secret).run()
