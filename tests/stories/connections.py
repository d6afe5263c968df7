"""A tenant's connections in a tracking service without Kafka: sent to, translated, recorded, looked after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from services.tracking.app import create_app
from services.tracking.intake.connections.directory import SenderDirectory
from services.tracking.intake.inbox import retranslation
from services.tracking.intake.inbox.intake import Intake
from services.tracking.intake.inbox.retranslation_store import Retranslation
from services.tracking.intake.inbox.work import InboxProcessor, Retranslator
from services.tracking.metadata import transport
from services.tracking.records.service import ACTIVITIES, DEALS
from shared.contracts.activities import Activity
from shared.contracts.deals import Deal
from shared.contracts.envelope import from_record
from shared.db.database import Database, Scope
from shared.outbox.outbox import Outbox, decode_headers
from tests.integration.test_tracking_inbox import JWT_SECRET, Answered, Caller, Tracking, translate

OUTBOX = Outbox(transport)


@asynccontextmanager
async def running_tracking(url: str, *, secrets_key: str | None = None) -> AsyncIterator[Tracking]:
    """The app on a database, which takes deliveries, and the inbox of a worker; several are like several processes.

    It hears of what others change only when it asks, or once its directory is run.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", url)
        environment.setenv("ATTAIN_JWT_SECRET", JWT_SECRET)
        environment.setenv("ATTAIN_SECRETS_KEY", secrets_key or Fernet.generate_key().decode())
        app = create_app()
        directory: SenderDirectory = app.state.directory
        intake: Intake = app.state.intake
        await directory.load()
        storing = asyncio.create_task(intake.run())
        database = Database(url, service="tracking")
        yield Tracking(app, database, InboxProcessor(database, OUTBOX))
        await intake.stop()
        await storing
        await app.state.database.close()
        await database.close()


async def save(caller: Caller, connection: Answered, version: int, **mapping: object) -> None:
    """Save a mapping made from a version of the connection."""
    path = f"/v1/connections/{connection.id}"
    assert (await caller.change("PATCH", path, version, {"mapping": mapping})).status_code == 200


async def record(tracking: Tracking) -> None:
    """Let the deals and activities that were published be recorded."""
    async with tracking.database.transaction(Scope.every()) as tx:
        rows = await tx.rows(text("DELETE FROM tracking.outbox RETURNING id, headers, value"))
        events = [
            from_record(dict(decode_headers(row["headers"])), row["value"])
            for row in sorted(rows, key=lambda row: int(row["id"]))
        ]
        await DEALS.record(tx, [event for event in events if isinstance(event, Deal)])
        await ACTIVITIES.record(tx, [event for event in events if isinstance(event, Activity)])


async def settle(tracking: Tracking) -> None:
    """Translate what waits, and record what comes of it."""
    await translate(tracking)
    await record(tracking)


async def work(database: Database) -> None:
    """Carry out all that is due."""
    retranslator = Retranslator(database, OUTBOX)
    while await retranslator.step_once():
        pass


async def work_of(caller: Caller, connection: Answered) -> Retranslation:
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        found = await retranslation.find(tx, caller.tenant, UUID(connection.id))
    assert found is not None
    return found


async def statuses(caller: Caller) -> dict[str, str]:
    """The status of each deal of the tenant."""
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        rows = await tx.rows(text("SELECT external_id, status FROM tracking.deals ORDER BY external_id"))
    return {row["external_id"]: row["status"] for row in rows}


async def versions(caller: Caller) -> dict[str, int]:
    """How many versions of each deal of the tenant there are."""
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        rows = await tx.rows(
            text("SELECT external_id, count(*) AS versions FROM tracking.deal_versions GROUP BY external_id")
        )
    return {row["external_id"]: row["versions"] for row in rows}


async def newest(caller: Caller) -> list[Deal]:
    async with caller.tracking.database.transaction(Scope.of(caller.tenant)) as tx:
        ids = [row["deal_id"] for row in await tx.rows(text("SELECT deal_id FROM tracking.deals"))]
        return list((await DEALS.newest(tx, caller.tenant, ids)).values())
