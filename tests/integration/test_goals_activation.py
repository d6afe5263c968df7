"""Drafts activated by the thousand, as a job: each once, also by a killed worker; what cannot be is listed."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from services.goals.calendar.service import Calendars
from services.goals.evidence.service import Evidence
from services.goals.jobs.service import Jobs
from services.goals.jobs.work import JobRunner
from services.goals.metadata import audit, transport
from services.goals.moves.service import strengths
from services.goals.org.service import Organisation
from services.goals.smart.service import SmartChecks
from services.goals.targets.activation import ACTIVATE_GOALS, Activation
from services.goals.targets.service import Goals
from shared.db.database import Database
from shared.http.auth import Role
from shared.outbox.outbox import Outbox
from shared.outbox.trail import Trail
from tests.integration.test_goals_worker import running_worker
from tests.servers.infrastructure import eventually, own_ports, service_url
from tests.stories.goals import AHEAD, Caller, Service, goal_body, query, running_goals

PARTS = {"aggregate": "children"}


@pytest.fixture(scope="module")
async def service(module_database: str) -> AsyncIterator[Service]:
    async with running_goals(module_database) as running:
        yield running


@pytest.fixture
async def runner(module_database: str) -> AsyncIterator[JobRunner]:
    database = Database(module_database, service="goals")
    trail = Trail(audit)
    outbox = Outbox(transport, trail=trail)
    calendars, jobs = Calendars(outbox), Jobs()
    organisation = Organisation(outbox, calendars)
    checks = SmartChecks(organisation, calendars, Evidence(), strengths)
    goals = Goals(outbox, organisation, calendars, trail, checks)
    yield JobRunner(database, jobs, {ACTIVATE_GOALS: Activation(goals, jobs).activate_chunk}, organisation.check_active)
    await database.close()


async def drafted(caller: Caller, *bodies: dict[str, object]) -> list[str]:
    response = await caller.send("POST", "/v1/goals/bulk", {"create": bodies})
    assert response.status_code == 200, response.text
    return [goal["id"] for goal in response.json()["created"]]


async def activation(caller: Caller, **wanted: object) -> dict[str, object]:
    response = await caller.send("POST", "/v1/goals/activations?reason=Plan", wanted)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"
    return dict(response.json())


async def job(caller: Caller, job_id: object) -> dict[str, object]:
    return dict((await caller.send("GET", f"/v1/jobs/{job_id}")).json())


async def statuses(caller: Caller) -> dict[str, str]:
    rows = await query(caller.service, "SELECT id, status FROM goals.goals WHERE tenant_id = $1", caller.tenant)
    return {str(row["id"]): row["status"] for row in rows}


async def test_all_drafts_of_a_filter_are_activated_and_what_cannot_be_is_listed(
    service: Service, runner: JobRunner
) -> None:
    admin = Caller(service, uuid4(), Role.SERVICE)
    ada, bo = await admin.person("Ada"), await admin.person("Bo")
    revops = Caller(service, admin.tenant, Role.REVOPS, person=UUID(ada))
    drafts = await drafted(admin, *(goal_body(bo, name=f"G{n}", period=AHEAD) for n in range(700)))
    own, contrary, later = await drafted(
        admin,
        goal_body(ada, period=AHEAD),
        goal_body(bo, target="1", baseline="2", period=AHEAD),
        goal_body(bo, period={"kind": "quarter", "containing": "2027-02-14"}),
    )
    requested = await activation(revops, on="2099-02-14")
    assert (requested["state"], requested["total"], requested["reason"]) == ("queued", 702, "Plan")
    await runner.work_all()
    done = await job(revops, requested["id"])
    assert (done["state"], done["done"], done["counts"]) == ("done", 702, {"activated": 700, "refused": 2})
    problems = done["problems"]
    assert isinstance(problems, list)
    assert {problem["pointer"] for problem in problems} == {f"/goals/{own}", f"/goals/{contrary}/target"}
    assert await statuses(admin) == {
        **dict.fromkeys(drafts, "active"),
        **dict.fromkeys((own, contrary, later), "draft"),
    }
    history = (await admin.send("GET", f"/v1/goals/{drafts[0]}/changes")).json()["items"]
    assert [(change["version"], change["reason"], change["actor"]["person_id"]) for change in history] == [
        (2, "Plan", ada),
        (1, None, None),
    ]
    revisions = (await admin.send("GET", f"/v1/goals/{drafts[-1]}/revisions")).json()["items"]
    assert [(item["revision"], item["revised_by"]) for item in revisions] == [(1, ada)]


async def test_goals_made_of_parts_are_activated_behind_these_level_by_level(
    service: Service, runner: JobRunner
) -> None:
    admin = Caller(service, uuid4(), Role.SERVICE)
    ada = await admin.person()
    [top] = await drafted(admin, goal_body(ada, name="Top", metric=PARTS, target="100"))
    middle = await drafted(
        admin, *(goal_body(ada, metric=PARTS, target="100", parent_id=top, weight="0.5") for _ in range(2))
    )
    parts = await drafted(admin, *(goal_body(ada, parent_id=each, weight="0.5") for each in middle for _ in range(2)))
    [short] = await drafted(admin, goal_body(ada, metric=PARTS, target="100"))
    [third] = await drafted(admin, goal_body(ada, parent_id=short, weight="0.3"))
    requested = await activation(admin)
    await runner.work_all()
    done = await job(admin, requested["id"])
    assert (done["state"], done["done"], done["counts"]) == ("done", 9, {"activated": 8, "refused": 1})
    found = await statuses(admin)
    assert {goal: found[goal] for goal in (top, *middle, *parts, third, short)} == {
        **dict.fromkeys((top, *middle, *parts, third), "active"),
        short: "draft",
    }
    problems = done["problems"]
    assert isinstance(problems, list)
    assert [problem["pointer"] for problem in problems] == [f"/goals/{short}/weight"]
    [fourth] = await drafted(admin, goal_body(ada, parent_id=top, weight="0.1"))
    again = await activation(admin, parent_id=top)
    await runner.work_all()
    refused = await job(admin, again["id"])
    assert (refused["state"], refused["counts"], (await statuses(admin))[fourth]) == (
        "done",
        {"activated": 0, "refused": 1},
        "draft",
    )


async def test_only_who_may_edit_activates_many(service: Service) -> None:
    tenant = uuid4()
    for role in Role:
        caller = Caller(service, tenant, role, person=None if role is Role.SERVICE else uuid4())
        response = await caller.send("POST", "/v1/goals/activations", {})
        assert response.status_code == (202 if role in {Role.ADMIN, Role.REVOPS, Role.SERVICE} else 403), role


async def test_a_worker_that_is_killed_in_the_middle_activates_each_goal_once(
    service: Service, kafka_bootstrap: str
) -> None:
    admin = Caller(service, uuid4(), Role.SERVICE)
    ada = await admin.person()
    for first in range(0, 4000, 1000):
        await drafted(admin, *(goal_body(ada, name=f"G{n}") for n in range(first, first + 1000)))
    requested = await activation(admin)
    settings = {
        "ATTAIN_DATABASE_URL": service_url(service.database_url, "goals"),
        "ATTAIN_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ATTAIN_WORKER_PORT": str(own_ports().goals_worker),
    }

    async def under_way() -> bool:
        return (await job(admin, requested["id"]))["done"] != 0

    async def over() -> bool:
        return (await job(admin, requested["id"]))["state"] == "done"

    async with running_worker(**settings) as worker:
        await eventually(under_way, 60, expectation="a job that is under way")
        worker.kill()
        await worker.wait()
    left = (await job(admin, requested["id"]))["state"]
    async with running_worker(**settings):
        await eventually(over, 60, expectation="a job that is done")
    done = await job(admin, requested["id"])
    assert (left, done["done"], done["counts"]) == ("running", 4000, {"activated": 4000, "refused": 0})
    [row] = await query(
        service,
        """
        SELECT (SELECT count(*) FROM goals.goals WHERE tenant_id = $1 AND status = 'active' AND version = 2) AS active,
            (SELECT count(*) FROM goals.goal_revisions WHERE tenant_id = $1) AS revisions,
            (SELECT count(*) FROM goals.audit WHERE tenant_id = $1 AND subject LIKE 'goal/%' AND version = 2) AS changes
        """,
        admin.tenant,
    )
    assert dict(row) == {"active": 4000, "revisions": 4000, "changes": 4000}
