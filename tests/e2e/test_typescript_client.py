"""The main job from end to end, done by a client that was generated from the OpenAPI documents."""

import asyncio
import json
from uuid import uuid4

from deploy.local.stack import Stack
from shared.http.auth import Role, issue_token
from shared.http.settings import HttpSettings
from tests.servers.node import run_node
from tests.servers.typescript import client_folder


async def test_a_generated_client_does_the_main_job(stack: Stack) -> None:
    folder = await asyncio.to_thread(client_folder)
    settings = HttpSettings(jwt_secret=stack.secrets.jwt_secret)
    tenant = uuid4()
    author, approver = (
        issue_token(settings, tenant_id=tenant, person_id=uuid4(), roles=frozenset({Role.ADMIN}), ttl_seconds=600)
        for _ in range(2)
    )
    service = issue_token(settings, tenant_id=tenant, person_id=None, roles=frozenset({Role.SERVICE}), ttl_seconds=600)
    printed = await asyncio.to_thread(
        run_node,
        folder,
        "main-job.ts",
        environment={
            "ATTAIN_GOALS_URL": stack.url("goals-api"),
            "ATTAIN_TRACKING_URL": stack.url("tracking-api"),
            "ATTAIN_INCENTIVES_URL": stack.url("incentives-api"),
            "ATTAIN_TOKEN": author,
            "ATTAIN_APPROVER_TOKEN": approver,
            "ATTAIN_SERVICE_TOKEN": service,
        },
    )
    outcome = json.loads(printed)
    delivered = json.loads(outcome.pop("deliveredBody"))
    assert delivered["data"]["external_id"] == "D-1"
    assert outcome == {
        "before": "0",
        "progress": "60000.5",
        "earned": "3500.05",
        "statement": "3500.05",
        "ledger": "3500.05",
        "goalStatus": "active",
        "planStatus": "active",
        "assignedPlan": True,
        "countingDeals": [["D-1", "60000.5", "2026-05-15"]],
        "forgedCode": "sender_not_recognised",
        "lateCode": "version_mismatch",
    }
