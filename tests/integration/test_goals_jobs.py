"""Jobs on real Postgres: worked at chunk by chunk exactly once, watched, paused, resumed, cancelled over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.goals.calendar.service import Calendars
from services.goals.jobs.domain import Chunk, Job
from services.goals.jobs.service import Jobs, Work
from services.goals.jobs.work import JobRunner
from services.goals.metadata import transport
from services.goals.org.service import Organisation
from shared.db.database import Database, Scope, Transaction
from shared.http.auth import Role
from shared.kernel.approvals import SERVICE, Actor
from shared.kernel.errors import InvalidInput
from shared.outbox.outbox import Outbox
from tests.servers.infrastructure import eventually
from tests.stories.goals import Caller, Service, query, running_goals

_OUTBOX = Outbox(transport)
ORGANISATION = Organisation(_OUTBOX, Calendars(_OUTBOX))


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
async def database(module_database: str) -> AsyncIterator[Database]:
    opened = Database(module_database, service="goals")
    yield opened
    await opened.close()


class Counting:
    """Work that leaves a mark for each number of its total, ten a chunk, and does what a test wants in between."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.chunks: list[tuple[UUID, int]] = []
        self.holds_at: int | None = None
        self.holding = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        first = int(job.cursor or 0)
        marks = [{"tenant": tenant_id, "key": f"{job.id}/{number}"} for number in range(first, first + 10)]
        await tx.execute(
            text("INSERT INTO goals.idempotency_keys (tenant_id, key, fingerprint) VALUES (:tenant, :key, '')"), marks
        )
        self.chunks.append((job.id, first))
        if first == self.holds_at:
            self.holding.set()
            await asyncio.Event().wait()
        if self.error is not None and first > 0:
            raise self.error
        next_number = first + 10
        return Chunk(10, str(next_number) if next_number < int(str(job.parameters["total"])) else None, {"marked": 10})

    @property
    def works(self) -> Mapping[str, Work]:
        return {self.kind: self}


@pytest.fixture
def counting() -> Counting:
    return Counting(f"counting-{uuid4()}")


async def requested(
    database: Database, kind: str, total: int, *, tenant: UUID | None = None, actor: Actor = SERVICE
) -> tuple[UUID, UUID]:
    tenant = tenant or uuid4()
    async with database.transaction(Scope.of(tenant)) as tx:
        tx.actor, tx.reason = actor, "As planned"
        job = await Jobs().request_job(tx, tenant, kind, {"total": total}, total=total)
    return tenant, job.id


async def marked(service: Service, job_id: UUID) -> list[int]:
    rows = await query(service, "SELECT key FROM goals.idempotency_keys WHERE key LIKE $1", f"{job_id}/%")
    return sorted(int(row["key"].split("/")[1]) for row in rows)


async def state(caller: Caller, job_id: UUID) -> dict[str, object]:
    response = await caller.send("GET", f"/v1/jobs/{job_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_job_is_done_in_chunks_and_says_how_far_it_is(
    service: Service, database: Database, counting: Counting
) -> None:
    tenant, job_id = await requested(database, counting.kind, 30)
    caller = Caller(service, tenant, Role.SERVICE)
    queued = await state(caller, job_id)
    assert (queued["state"], queued["percent"], queued["total"], queued["reason"]) == ("queued", 0, 30, "As planned")
    await JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all()
    done = await state(caller, job_id)
    assert (done["state"], done["percent"], done["done"], done["counts"]) == ("done", 100, 30, {"marked": 30})
    assert isinstance(done["per_minute"], int) and done["seconds_left"] is None and done["ended_at"] is not None
    assert [first for _, first in counting.chunks] == [0, 10, 20]
    assert await marked(service, job_id) == list(range(30))


async def test_a_job_that_is_cut_short_in_a_chunk_is_done_exactly_once(
    service: Service, database: Database, counting: Counting
) -> None:
    tenant, job_id = await requested(database, counting.kind, 40)
    counting.holds_at = 20
    runner = asyncio.create_task(JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all())
    await asyncio.wait_for(counting.holding.wait(), 10)
    runner.cancel()
    await asyncio.gather(runner, return_exceptions=True)
    counting.holds_at = None
    await asyncio.gather(
        *(JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all() for _ in range(2))
    )
    done = await state(Caller(service, tenant, Role.SERVICE), job_id)
    assert (done["state"], done["done"], done["counts"]) == ("done", 40, {"marked": 40})
    assert await marked(service, job_id) == list(range(40))


async def _chunks(counting: Counting, number: int) -> bool:
    return len(counting.chunks) >= number


async def test_two_who_work_are_never_at_the_same_job_and_jobs_take_turns(
    database: Database, counting: Counting
) -> None:
    jobs = [(await requested(database, counting.kind, 30))[1] for _ in range(2)]
    await JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all()
    assert counting.chunks == [(job_id, first) for first in (0, 10, 20) for job_id in jobs]
    _, third = await requested(database, counting.kind, 100)
    await asyncio.gather(
        *(JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all() for _ in range(3))
    )
    assert [first for job_id, first in counting.chunks if job_id == third] == list(range(0, 100, 10))


async def test_a_job_is_paused_resumed_and_cancelled_between_two_chunks(
    service: Service, database: Database, counting: Counting
) -> None:
    tenant, job_id = await requested(database, counting.kind, 10_000)
    caller, path = Caller(service, tenant, Role.SERVICE), f"/v1/jobs/{job_id}"
    runner = JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active)
    running = asyncio.create_task(runner.run())
    try:
        await eventually(lambda: _chunks(counting, 2), expectation="two chunks begun")
        paused = await caller.send("POST", f"{path}/pause", version=1)
        assert (paused.status_code, paused.json()["state"]) == (200, "paused")
        done = paused.json()["done"]
        assert 0 < done < 10_000
        assert (await caller.send("POST", f"{path}/pause", version=2)).json()["code"] == "job_not_in_state"
        assert (await caller.send("POST", f"{path}/resume", version=1)).status_code == 412
        assert await marked(service, job_id) == list(range(done))
        assert (await caller.send("POST", f"{path}/resume", version=2)).json()["state"] == "queued"
        await eventually(lambda: _chunks(counting, done // 10 + 1), expectation="a job that goes on")
        cancelled = (await caller.send("POST", f"{path}/cancel", version=3)).json()
        assert (cancelled["state"], cancelled["ended_at"] is None) == ("cancelled", False)
    finally:
        await runner.stop()
        await running
    assert await marked(service, job_id) == list(range(cancelled["done"]))
    assert (await caller.send("POST", f"{path}/resume", version=4)).status_code == 409


@pytest.mark.parametrize(
    ("error", "code"),
    [(InvalidInput.field("/rows/12", "is wrong", "another"), "invalid_input"), (RuntimeError("broken"), "unforeseen")],
)
async def test_a_chunk_that_fails_leaves_no_trace_and_the_job_goes_on_when_it_is_resumed(
    service: Service, database: Database, counting: Counting, error: Exception, code: str
) -> None:
    tenant, job_id = await requested(database, counting.kind, 20)
    caller = Caller(service, tenant, Role.SERVICE)
    counting.error = error
    await JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all()
    failed = await state(caller, job_id)
    failure = failed["failure"]
    assert isinstance(failure, dict)
    assert (failed["state"], failed["done"], failure["code"]) == ("failed", 10, code)
    assert [field["pointer"] for field in failure["fields"]] == (["/rows/12"] if code == "invalid_input" else [])
    assert "broken" not in failure["detail"]
    assert await marked(service, job_id) == list(range(10))
    counting.error = None
    assert (await caller.send("POST", f"/v1/jobs/{job_id}/resume", version=2)).json()["failure"] is None
    await JobRunner(database, Jobs(), counting.works, ORGANISATION.check_active).work_all()
    assert await marked(service, job_id) == list(range(20))


async def test_a_job_is_seen_and_changed_by_who_requested_it_and_who_may(service: Service, database: Database) -> None:
    manager, tenant = uuid4(), uuid4()
    _, own = await requested(database, "unknown", 1, tenant=tenant, actor=Actor.of(manager))
    _, others = await requested(database, "unknown", 1, tenant=tenant)
    by_role = {role: Caller(service, tenant, role, person=uuid4()) for role in Role if role is not Role.SERVICE}
    requester = Caller(service, tenant, Role.MANAGER, person=manager)
    assert await requester.ids("/v1/jobs") == {str(own)}
    assert await Caller(service, uuid4(), Role.ADMIN, person=manager).ids("/v1/jobs") == set()
    for role, caller in by_role.items():
        sees, edits = role in {Role.ADMIN, Role.REVOPS, Role.FINANCE}, role in {Role.ADMIN, Role.REVOPS}
        assert await caller.ids("/v1/jobs") == ({str(own), str(others)} if sees else set()), role
        assert (await caller.send("GET", f"/v1/jobs/{own}")).status_code == (200 if sees else 404), role
        version = (await requester.send("GET", f"/v1/jobs/{own}")).json()["version"]
        verb = "resume" if (await requester.send("GET", f"/v1/jobs/{own}")).json()["state"] == "paused" else "pause"
        response = await caller.send("POST", f"/v1/jobs/{own}/{verb}", version=version)
        assert response.status_code == (200 if edits else 403 if sees else 404), role
    assert await by_role[Role.ADMIN].ids(f"/v1/jobs?requested_by={manager}") == {str(own)}
    assert await by_role[Role.ADMIN].ids("/v1/jobs?state=done") == set()
    assert (await requester.send("POST", f"/v1/jobs/{own}/cancel", version=3)).json()["state"] == "cancelled"


async def test_who_is_not_active_any_more_has_no_more_done_not_even_the_last_chunk(
    service: Service, database: Database, counting: Counting
) -> None:
    tenant = uuid4()
    caller = Caller(service, tenant, Role.SERVICE)
    ada = await caller.person()
    _, job_id = await requested(database, counting.kind, 20, tenant=tenant, actor=Actor.of(UUID(ada)))

    async def leaves(tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        chunk = await counting(tx, tenant_id, job)
        left = await caller.send("PATCH", f"/v1/people/{ada}", {"active": False}, version=1)
        assert left.status_code == 200, left.text
        return chunk

    await JobRunner(database, Jobs(), {counting.kind: leaves}, ORGANISATION.check_active).work_all()
    failed = await state(caller, job_id)
    assert (failed["state"], failed["done"]) == ("failed", 10)
    assert isinstance(failed["failure"], dict) and failed["failure"]["code"] == "person_inactive"
    assert await marked(service, job_id) == list(range(10))
