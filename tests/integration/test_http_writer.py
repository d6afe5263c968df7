import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, SecretStr
from sqlalchemy import insert, text
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shared.db.database import Database, Transaction
from shared.db.tables import service_metadata, transport_tables
from shared.http.app import create_service_app
from shared.http.auth import Role
from shared.http.etag import ExpectedVersion
from shared.http.idempotency import IdempotencySweep
from shared.http.problems import responses
from shared.http.reader import RequestReader
from shared.http.settings import HttpSettings
from shared.http.writer import RequestWriter
from shared.kernel.errors import Conflict, check_version
from tests.servers.callers import bearer, client_of

SETTINGS = HttpSettings(jwt_secret=SecretStr("0123456789abcdef0123456789abcdef0123456789abcdef"))
TABLES = transport_tables(service_metadata("goals"))
PERSON = UUID("0199d5a2-0000-7000-8000-000000000002")


class NewNote(BaseModel):
    text: str
    fail: bool = False


class Note(BaseModel):
    id: UUID
    text: str
    version: int = 1


class NoteRefused(Conflict):
    """The note asked to be refused."""

    code = "note_refused"


class Notes:
    """A service of one table; a note is a row of the outbox, as any table serves."""

    def __init__(self, database_url: str) -> None:
        self.calls = 0
        self.kill_first_connection = False
        self.started = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.database = Database(database_url, service="goals", pool_size=8)
        self._server_url = database_url
        self.app = create_service_app(
            title="Notes",
            description="For tests.",
            settings=SETTINGS,
            database=self.database,
            transport_tables=TABLES,
            routers=[self._router()],
            readiness={"postgres": self.database.ready},
        )

    async def create(self, tx: Transaction, tenant_id: UUID, new: NewNote) -> Note:
        self.calls += 1
        note = Note(id=tx.new_id(), text=new.text)
        await tx.execute(insert(TABLES.outbox).values(tenant_id=tenant_id, topic="notes", key=new.text, headers="[]"))
        self.started.set()
        await self.may_finish.wait()
        if self.kill_first_connection and self.calls == 1:
            pid = (await tx.rows(text("SELECT pg_backend_pid() AS pid")))[0]["pid"]
            connection = await asyncpg.connect(self._server_url)
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
            await connection.close()
        if new.fail:
            raise NoteRefused("as asked")
        return note

    def _router(self) -> APIRouter:
        router = APIRouter(tags=["notes"])

        @router.post(
            "/v1/tenants/{tenant_id}/notes", status_code=201, response_model=Note, responses=responses(NoteRefused)
        )
        async def create_note(tenant_id: UUID, body: NewNote, writer: RequestWriter) -> Response:
            return await writer.commit(
                lambda tx: self.create(tx, tenant_id, body), status=201, location=lambda note: f"/v1/notes/{note.id}"
            )

        @router.patch("/v1/notes/{note_id}", response_model=Note)
        async def change_note(note_id: UUID, version: ExpectedVersion, writer: RequestWriter) -> Response:
            async def change(_: Transaction) -> Note:
                check_version(3, version)
                return Note(id=note_id, text="changed", version=4)

            return await writer.commit(change)

        @router.delete("/v1/notes/{note_id}", status_code=204)
        async def delete_note(note_id: UUID, writer: RequestWriter) -> Response:
            async def forget(_: Transaction) -> None:
                return None

            return await writer.commit(forget, status=204)

        @router.get("/v1/scope")
        async def read_scope(reader: RequestReader) -> dict[str, str]:
            async with reader.transaction() as tx:
                rows = await tx.rows(text("SELECT current_setting('app.tenants') AS tenants"))
            return {"tenants": str(rows[0]["tenants"])}

        return router


@pytest.fixture
async def notes(module_database: str) -> AsyncIterator[Notes]:
    service = Notes(module_database)
    yield service
    await service.database.close()


class Caller:
    """A person of a tenant who writes notes."""

    def __init__(self, app: FastAPI, tenant_id: UUID, person_id: UUID = PERSON) -> None:
        self.tenant_id = tenant_id
        self.http = client_of(app, bearer(SETTINGS, tenant_id, Role.REVOPS, person=person_id))

    async def write(self, body: dict[str, object], key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"idempotency-key": key}
        return await self.http.post(f"/v1/tenants/{self.tenant_id}/notes", json=body, headers=headers)


@pytest.fixture
def caller(notes: Notes) -> Caller:
    return Caller(notes.app, uuid4())


async def stored_notes(module_database: str, tenant_id: UUID) -> list[str]:
    connection = await asyncpg.connect(module_database)
    try:
        rows = await connection.fetch("SELECT key FROM goals.outbox WHERE tenant_id = $1 ORDER BY id", tenant_id)
    finally:
        await connection.close()
    return [row["key"] for row in rows]


async def test_the_commit_has_happened_when_the_answer_starts(
    notes: Notes, caller: Caller, module_database: str
) -> None:
    seen_at_answer: list[list[str]] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen_at_answer.append(await stored_notes(module_database, caller.tenant_id))
            await send(message)

        await notes.app(scope, receive, watched_send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(watched), base_url="http://test", headers=caller.http.headers
    ) as client:
        response = await client.post(f"/v1/tenants/{caller.tenant_id}/notes", json={"text": "first"})
    assert response.status_code == 201
    assert seen_at_answer == [["first"]]
    assert response.headers["etag"].startswith('"1.')
    assert response.headers["location"] == f"/v1/notes/{response.json()['id']}"


async def test_an_error_rolls_back_what_the_use_case_did(caller: Caller, module_database: str) -> None:
    response = await caller.write({"text": "never", "fail": True})
    assert (response.status_code, response.json()["code"]) == (409, "note_refused")
    assert await stored_notes(module_database, caller.tenant_id) == []


async def test_the_same_key_and_request_get_the_same_answer_once_done(
    notes: Notes, caller: Caller, module_database: str
) -> None:
    first = await caller.write({"text": "once"}, key="k-1")
    second = await caller.write({"text": "once"}, key="k-1")
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert (second.status_code, second.content) == (first.status_code, first.content)
    for header in ("etag", "location", "content-type"):
        assert second.headers[header] == first.headers[header]
    assert notes.calls == 1
    assert await stored_notes(module_database, caller.tenant_id) == ["once"]


async def test_without_a_key_the_same_request_is_done_again(caller: Caller, module_database: str) -> None:
    await caller.write({"text": "twice"})
    await caller.write({"text": "twice"})
    assert await stored_notes(module_database, caller.tenant_id) == ["twice", "twice"]


async def test_a_key_is_refused_for_another_request_or_another_person(notes: Notes, caller: Caller) -> None:
    await caller.write({"text": "mine"}, key="k-1")
    other_body = await caller.write({"text": "other"}, key="k-1")
    other_person = await Caller(notes.app, caller.tenant_id, uuid4()).write({"text": "mine"}, key="k-1")
    for refused in (other_body, other_person):
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        (error,) = refused.json()["errors"]
        assert (error["location"], error["pointer"]) == ("header", "/Idempotency-Key")


async def test_a_key_belongs_to_its_tenant(notes: Notes, caller: Caller, module_database: str) -> None:
    neighbour = Caller(notes.app, uuid4())
    await caller.write({"text": "ours"}, key="k-1")
    response = await neighbour.write({"text": "theirs"}, key="k-1")
    assert response.status_code == 201
    assert await stored_notes(module_database, neighbour.tenant_id) == ["theirs"]


async def test_a_failed_request_leaves_its_key_free(caller: Caller, module_database: str) -> None:
    refused = await caller.write({"text": "x", "fail": True}, key="k-1")
    accepted = await caller.write({"text": "x", "fail": False}, key="k-1")
    assert (refused.status_code, accepted.status_code) == (409, 201)
    assert await stored_notes(module_database, caller.tenant_id) == ["x"]


async def test_concurrent_requests_with_one_key_are_done_once(
    notes: Notes, caller: Caller, module_database: str
) -> None:
    notes.may_finish.clear()
    first = asyncio.create_task(caller.write({"text": "race"}, key="k-1"))
    await notes.started.wait()
    others = [asyncio.create_task(caller.write({"text": "race"}, key="k-1")) for _ in range(4)]
    done, _ = await asyncio.wait(others, timeout=0.3)
    assert not done, "a request with a claimed key answered before the first had committed"
    notes.may_finish.set()
    answers = await asyncio.gather(first, *others)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, *["true"] * 4]
    assert notes.calls == 1
    assert await stored_notes(module_database, caller.tenant_id) == ["race"]


async def test_a_waiting_request_does_the_work_when_the_first_fails(
    notes: Notes, caller: Caller, module_database: str
) -> None:
    notes.may_finish.clear()
    first = asyncio.create_task(caller.write({"text": "a", "fail": True}, key="k-1"))
    await notes.started.wait()
    second = asyncio.create_task(caller.write({"text": "b"}, key="k-1"))
    notes.may_finish.set()
    answers = await asyncio.gather(first, second)
    assert [answer.status_code for answer in answers] == [409, 201]
    assert await stored_notes(module_database, caller.tenant_id) == ["b"]


async def test_with_a_key_a_lost_connection_is_met_by_doing_the_work_again(
    notes: Notes, caller: Caller, module_database: str
) -> None:
    notes.kill_first_connection = True
    response = await caller.write({"text": "survives"}, key="k-1")
    assert response.status_code == 201
    assert notes.calls == 2
    assert await stored_notes(module_database, caller.tenant_id) == ["survives"]


async def test_without_a_key_a_lost_connection_is_a_503(notes: Notes, caller: Caller) -> None:
    notes.kill_first_connection = True
    response = await caller.write({"text": "lost"})
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert notes.calls == 1


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 428, "if_match_required"),
        ({"if-match": '"2"'}, 412, "version_mismatch"),
        ({"if-match": 'W/"3"'}, 412, "version_mismatch"),
        ({"if-match": '"3-gzip"'}, 412, "version_mismatch"),
        ({"if-match": "3"}, 422, "invalid_input"),
    ],
)
async def test_a_change_says_which_version_it_was_made_from(
    caller: Caller, headers: dict[str, str], status: int, code: str
) -> None:
    response = await caller.http.patch(f"/v1/notes/{uuid4()}", headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("current", ['"3"', "*", '"2", "3"'])
async def test_a_change_of_the_current_version_answers_with_the_next(caller: Caller, current: str) -> None:
    response = await caller.http.patch(f"/v1/notes/{uuid4()}", headers={"if-match": current})
    assert (response.status_code, response.headers["etag"][:3]) == (200, '"4.')


async def test_an_empty_answer_has_no_content(caller: Caller) -> None:
    response = await caller.http.delete(f"/v1/notes/{uuid4()}", headers={"idempotency-key": "k-1"})
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


async def test_a_request_sees_its_own_tenant_only(caller: Caller) -> None:
    response = await caller.http.get("/v1/scope")
    assert response.json() == {"tenants": str(caller.tenant_id)}


async def test_answers_are_forgotten_after_a_day(notes: Notes, caller: Caller, module_database: str) -> None:
    await caller.write({"text": "kept"}, key="fresh")
    await caller.write({"text": "gone"}, key="old")
    connection = await asyncpg.connect(module_database)
    await connection.execute(
        "UPDATE goals.idempotency_keys SET created_at = $1 WHERE tenant_id = $2 AND key = 'old'",
        datetime.now(UTC) - timedelta(hours=25),
        caller.tenant_id,
    )
    await IdempotencySweep(notes.database, TABLES).sweep()
    keys = await connection.fetch("SELECT key FROM goals.idempotency_keys WHERE tenant_id = $1", caller.tenant_id)
    await connection.close()
    assert [row["key"] for row in keys] == ["fresh"]
