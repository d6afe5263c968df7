"""A backfill whose worker is killed is gone on with by the next one, and brings in every deal once."""

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

import httpx
from pydantic import JsonValue

from deploy.local.stack import Stack
from shared.http.auth import Role
from shared.http.settings import HttpSettings
from tests.played.crms import PlainDeal
from tests.played.zoho import PlayedZoho
from tests.servers.callers import bearer
from tests.servers.infrastructure import eventually

DEALS: Final = 3000
_WORKER: Final = "tracking-worker"


async def test_a_backfill_survives_the_kill_of_its_worker(stack: Stack) -> None:
    async with AsyncExitStack() as exits:
        crm = PlayedZoho()
        await exits.enter_async_context(crm.served())
        headers = bearer(HttpSettings(jwt_secret=stack.secrets.jwt_secret), uuid4(), Role.ADMIN)
        client = await exits.enter_async_context(
            httpx.AsyncClient(base_url=stack.url("tracking-api"), headers=headers, timeout=30)
        )

        async def call(method: str, path: str, body: JsonValue = None) -> dict[str, JsonValue]:
            response = await client.request(method, path, json=body)
            assert response.is_success, response.text
            answer: dict[str, JsonValue] = response.json()
            return answer

        made = (await client.post("/v1/connections", json=crm.connection())).json()
        crm.secret, crm.hook_url = str(made["secret"]), f"{stack.url('tracking-api')}{made['hook_path']}"
        old = datetime.now(UTC).replace(microsecond=0) - timedelta(days=90)
        plain = PlainDeal("0", "Deal", Decimal(1), "USD", "won", "9001", old, old, old.date())
        for number in range(DEALS):
            at = old + timedelta(seconds=number)
            crm.put(replace(plain, id=str(100_000 + number), created_at=at, modified_at=at))
        path = f"/v1/connections/{made['id']}"
        response = await client.put(f"{path}/api-access", json=crm.access())
        assert response.is_success, response.text
        run = f"{path}/backfills/{(await call('POST', f'{path}/backfills'))['id']}"

        async def has_begun() -> bool:
            return int(str((await call("GET", run))["seen"])) >= 400

        await eventually(has_begun, 60, expectation="the first pages")
        stack.process(_WORKER).kill()
        before = await call("GET", run)
        assert before["state"] == "running"
        stack.start_service(_WORKER)

        async def is_done() -> bool:
            return (await call("GET", run))["state"] == "done"

        await eventually(is_done, 120, expectation="the backfill to be done")
        done = await call("GET", run)
        assert (done["seen"], done["missed_new"], done["percent"]) == (DEALS, DEALS, 100)
        assert int(str(before["seen"])) < DEALS
