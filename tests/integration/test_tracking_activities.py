"""Storing activities on a real Postgres, and who sees them over HTTP."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy import text

from deploy.local.commands.republish import republished
from services.tracking.app import create_app
from services.tracking.measure.progress.definitions import DefinitionsCache
from services.tracking.measure.progress.service import ProgressTracker
from services.tracking.metadata import transport
from services.tracking.records.domain.snapshots import Change, Recorded
from services.tracking.records.service import ACTIVITIES
from services.tracking.settings import ApiSettings
from shared.contracts.activities import Activity
from shared.db.database import Database, Scope
from shared.http.auth import Role
from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType
from shared.kernel.ids import activity_id
from shared.kernel.sight import WHOLE_TENANT
from shared.outbox.outbox import Outbox
from tests.oracles import progress as oracle
from tests.servers.callers import bearer, client_of
from tests.stories.progress import Storyteller

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
ADA, BEN, EVE = 0, 1, 2


@pytest.fixture(scope="module")
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="tracking")
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def app(module_database: str) -> AsyncIterator[FastAPI]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", module_database)
        environment.setenv("ATTAIN_JWT_SECRET", "0123456789abcdef" * 3)
        environment.setenv("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
        yield create_app()


@dataclass(frozen=True)
class Diary:
    """One tenant's activities."""

    database: Database
    storyteller: Storyteller
    connection_id: UUID

    @property
    def tenant_id(self) -> UUID:
        return self.storyteller.tenant_id

    def activity(self, external_id: str = "A1", *, minute: int = 0, delivery: int = 1, **changes: object) -> Activity:
        fields: dict[str, object] = {
            "tenant_id": self.tenant_id,
            "id": activity_id(self.connection_id, external_id),
            "connection_id": self.connection_id,
            "source": "crm",
            "external_id": external_id,
            "is_deleted": False,
            "modified_at": START + timedelta(minutes=minute),
            "sequence": 0,
            "delivery_id": UUID(int=delivery),
            "received_at": START + timedelta(days=1),
            "type": ActivityType.CALL,
            "status": ActivityStatus.DONE,
            "owner_external_id": "u0",
            "subject": "Renewal",
            "occurred_at": START,
            "duration_seconds": 660,
            "outcome": "Connected",
            "deal_external_id": "746",
            "account_id": "2",
            "custom": {"direction": "outbound"},
        }
        return Activity.model_validate(fields | changes)

    async def record(self, *activities: Activity) -> Recorded[ActivityFacts]:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            return await ACTIVITIES.record(tx, activities)

    async def newest(self, external_id: str = "A1") -> Activity:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            return await ACTIVITIES.get(tx, self.tenant_id, WHOLE_TENANT, activity_id(self.connection_id, external_id))

    async def versions(self, external_id: str = "A1") -> list[Activity]:
        async with self.database.transaction(Scope.of(self.tenant_id)) as tx:
            found = await ACTIVITIES.versions(
                tx, self.tenant_id, WHOLE_TENANT, activity_id(self.connection_id, external_id), before=None, limit=100
            )
        return [version.event for version in found]


@pytest.fixture
def diary(database: Database) -> Diary:
    return Diary(database, Storyteller(uuid4()), uuid4())


async def test_an_activity_is_read_back_as_it_was_recorded(diary: Diary) -> None:
    full = diary.activity()
    empty = diary.activity(
        "A2",
        owner_external_id=None,
        subject=None,
        occurred_at=None,
        duration_seconds=None,
        outcome=None,
        deal_external_id=None,
        account_id=None,
        custom={},
        is_deleted=True,
    )
    recorded = await diary.record(full, empty)
    assert {change.after.external_id: change for change in recorded.changes} == {
        each.external_id: Change(diary.tenant_id, None, each.facts(), each.received_at, each.connection_id)
        for each in (full, empty)
    }
    assert [await diary.newest(name) for name in ("A1", "A2")] == [full, empty]


async def test_a_newer_version_is_a_change_from_all_that_was_stored_and_an_older_one_is_none(diary: Diary) -> None:
    old, stored, new = (diary.activity(minute=minute, duration_seconds=minute) for minute in range(3))
    await diary.record(stored)
    (change,) = (await diary.record(new)).changes
    assert (change.before, change.after) == (stored.facts(), new.facts())
    late = await diary.record(old, stored)
    assert not late.changes
    assert late.superseded == {(diary.tenant_id, old.id)}
    assert await diary.newest() == new
    assert await diary.versions() == [new, stored, old]


async def test_any_order_in_any_batches_ends_in_the_same_activities(diary: Diary) -> None:
    versions = [
        diary.activity(f"A{number % 5}", minute=number // 5, status=list(ActivityStatus)[number % 3])
        for number in range(30)
    ]
    events = versions * 2
    random.Random(7).shuffle(events)
    state: dict[UUID, object] = {}
    for start in range(0, len(events), 7):
        for change in (await diary.record(*events[start : start + 7])).changes:
            assert state.get(change.after.activity_id) == change.before
            state[change.after.activity_id] = change.after
    for number in range(5):
        newest = max((event for event in events if event.external_id == f"A{number}"), key=lambda e: e.version)
        assert await diary.newest(f"A{number}") == newest
        assert state[newest.id] == newest.facts()
        assert len(await diary.versions(f"A{number}")) == 6


async def test_the_newest_versions_are_published_again_on_request(diary: Diary) -> None:
    newest = diary.activity(minute=2)
    await diary.record(newest, diary.activity(minute=1), diary.activity("A2"))
    assert await republished(diary.database, Activity.topic) >= 2
    async with diary.database.transaction(Scope.every()) as tx:
        rows = await tx.rows(
            text("DELETE FROM tracking.outbox WHERE tenant_id = :tenant AND topic = :topic RETURNING value"),
            {"tenant": diary.tenant_id, "topic": Activity.topic},
        )
    published = {event.external_id: event for event in (Activity.model_validate_json(row["value"]) for row in rows)}
    assert published == {"A1": newest, "A2": diary.activity("A2")}


class Reader:
    """Asks the API as somebody."""

    def __init__(self, app: FastAPI, diary: Diary, role: Role, person: int | None = None) -> None:
        person_id = None if person is None else diary.storyteller.id_of("person", person)
        self._app = app
        self._headers = bearer(ApiSettings(), diary.tenant_id, role, person=person_id)

    async def get(self, path: str, **query: str) -> httpx.Response:
        async with client_of(self._app, self._headers) as client:
            return await client.get(path, params=query)

    async def listed(self, **query: str) -> list[str]:
        response = await self.get("/v1/activities", **query)
        assert response.status_code == 200, response.text
        return sorted(item["external_id"] for item in response.json()["items"])


async def test_activities_are_listed_by_what_is_asked_for(app: FastAPI, diary: Diary) -> None:
    await diary.record(
        diary.activity("call"),
        diary.activity("meeting", type=ActivityType.MEETING, occurred_at=START + timedelta(days=1)),
        diary.activity("planned", status=ActivityStatus.PLANNED, occurred_at=None),
        diary.activity("bens", owner_external_id="u1", deal_external_id="747"),
        diary.activity("elsewhere", source="other", deal_external_id=None),
    )
    reader = Reader(app, diary, Role.SERVICE)
    everything = ["bens", "call", "elsewhere", "meeting", "planned"]
    assert await reader.listed() == everything
    assert await reader.listed(type="meeting") == ["meeting"]
    assert await reader.listed(status="planned") == ["planned"]
    assert await reader.listed(owner="u1") == ["bens"]
    assert await reader.listed(deal="747") == ["bens"]
    assert await reader.listed(source="other") == ["elsewhere"]
    tomorrow = (START + timedelta(days=1)).isoformat()
    assert await reader.listed(**{"from": tomorrow}) == ["meeting"]
    assert await reader.listed(to=tomorrow) == ["bens", "call", "elsewhere"]
    assert (await reader.get("/v1/activities", **{"from": "yesterday"})).status_code == 422
    pages: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    while True:
        page = (await reader.get("/v1/activities", **query)).json()
        pages += [item["external_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(pages) == everything


async def test_a_rep_sees_its_own_activities_and_a_manager_those_of_its_subtree(app: FastAPI, diary: Diary) -> None:
    team = diary.storyteller.definition_events(
        (
            oracle.Team(0, 1, None),
            oracle.Membership(0, 1, ADA, 0, 0, None, False),
            *(oracle.Identity(user, 1, user, False) for user in (ADA, BEN, EVE)),
        )
    )
    managed = [
        event.model_copy(update={"manager_id": diary.storyteller.id_of("person", EVE)})
        if "manager_id" in type(event).model_fields
        else event
        for event in team
    ]
    async with diary.database.transaction(Scope.of(diary.tenant_id)) as tx:
        await ProgressTracker(Outbox(transport), DefinitionsCache()).define(tx, managed)
    await diary.record(
        diary.activity("adas"),
        diary.activity("bens", owner_external_id="u1"),
        diary.activity("nobodys", owner_external_id=None),
    )
    assert await Reader(app, diary, Role.REP, ADA).listed() == ["adas"]
    assert await Reader(app, diary, Role.MANAGER, EVE).listed() == ["adas"]
    assert await Reader(app, diary, Role.REP, EVE).listed() == []
    bens = f"/v1/activities/{activity_id(diary.connection_id, 'bens')}"
    assert (await Reader(app, diary, Role.REP, BEN).get(bens)).json()["subject"] == "Renewal"
    for path in (bens, f"{bens}/versions"):
        refused = await Reader(app, diary, Role.REP, ADA).get(path)
        assert (refused.status_code, refused.json()["code"]) == (404, "activity_not_found")
    (version,) = (await Reader(app, diary, Role.REP, BEN).get(f"{bens}/versions")).json()["items"]
    assert (version["external_id"], version["subject"]) == ("bens", "Renewal")


async def test_two_tenants_do_not_see_each_others_activities(app: FastAPI, diary: Diary, database: Database) -> None:
    await diary.record(diary.activity())
    stranger = Diary(database, Storyteller(uuid4()), diary.connection_id)
    assert await Reader(app, stranger, Role.SERVICE).listed() == []
    async with database.transaction(Scope.of(stranger.tenant_id)) as tx:
        for table in ("activities", "activity_versions"):
            assert await tx.rows(text(f"SELECT 1 FROM tracking.{table}")) == []
