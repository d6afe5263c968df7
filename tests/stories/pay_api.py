"""A tenant of incentives over HTTP, as administrators, managers and reps use it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import httpx
import pytest

from services.incentives.app import create_app
from services.incentives.credits.domain.credit import ReceivedDeal
from services.incentives.earnings.consumer import DefinitionsHandler
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.contracts.envelope import to_message
from shared.contracts.org import Identity, Membership, Person, Team
from shared.db.database import Database, Scope, Transaction
from shared.db.projection import Snapshot
from shared.http.auth import Role
from shared.http.settings import HttpSettings
from shared.kafka.domain import Record
from tests.oracles.incentives import DealVersion, Rated
from tests.servers.callers import bearer
from tests.stories.incentives import SOURCE, deal_event, named, rates_event
from tests.stories.pay import EARNINGS, rebuilder

ANN, BEN, MAX, AUTHOR, APPROVER, AGREEING = (named("person", number) for number in (0, 1, 3, 50, 51, 52))
QUARTER = "/v1/statements?start=2026-01-01&end=2026-04-01"
Json = dict[str, object]


@dataclass
class Company:
    """A tenant with ann and ben (users 0 and 1) in max's team, seen by clients of different roles."""

    tenant: UUID
    database: Database
    http: httpx.AsyncClient
    settings: HttpSettings

    def headers(self, person: UUID | None, *roles: Role, **more: str) -> dict[str, str]:
        return {**bearer(self.settings, self.tenant, *roles, person=person), **more}

    async def get(self, path: str, person: UUID = AUTHOR, role: Role = Role.ADMIN, **query: object) -> httpx.Response:
        url = httpx.URL(path).copy_merge_params({name: str(value) for name, value in query.items()})
        return await self.http.get(url, headers=self.headers(person, role))

    async def send(
        self, method: str, path: str, body: object = None, person: UUID = AUTHOR, **headers: str
    ) -> httpx.Response:
        named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = self.headers(person, Role.ADMIN, **named_headers)
        return await self.http.request(method, path, json=body, headers=sent)

    async def found(self) -> None:
        team = named("team", 0)
        events: list[Event] = [
            Team(tenant_id=self.tenant, id=team, version=1, name="West", parent_id=None, manager_id=MAX),
            Person(tenant_id=self.tenant, id=ANN, version=1, name="Ann", email=None, active=True),
        ]
        for number, person in ((0, ANN), (1, BEN)):
            events.append(
                Membership(
                    tenant_id=self.tenant,
                    id=named("stay", number),
                    version=1,
                    person_id=person,
                    team_id=team,
                    start=date(2020, 1, 1),
                    end=None,
                    deleted=False,
                )
            )
            events.append(
                Identity(
                    tenant_id=self.tenant,
                    id=named("user", number),
                    version=1,
                    source=SOURCE,
                    external_user_id=str(number),
                    person_id=person,
                    deleted=False,
                )
            )
        await self.publish(events)

    async def found_person(self, person: UUID, name: str, employee_number: str | None = None, version: int = 1) -> None:
        """One more person, in no team, or a newer version of one."""
        found = Person(
            tenant_id=self.tenant,
            id=person,
            version=version,
            name=name,
            email=None,
            active=True,
            employee_number=employee_number,
        )
        await self.publish([found], version)

    async def publish(self, events: Sequence[Event], version: int = 1) -> None:
        """Have these arrive, all in one version, and what they change worked out."""
        snapshots = [Snapshot(self.tenant, e.subject, e.event_type, version, e.model_dump_json()) for e in events]

        async def apply(tx: Transaction) -> None:
            await EARNINGS.apply_definitions(tx, [self.tenant], snapshots)

        await self.database.run(Scope.of(self.tenant), apply)
        await rebuilder(self.database).rebuild_all()

    async def deal(self, *versions: DealVersion) -> None:
        await self.receive([deal_event(self.tenant, version) for version in versions])

    async def receive(self, events: Sequence[Deal]) -> None:
        incoming = [
            ReceivedDeal(self.tenant, event.facts(), event.model_dump_json(), event.connection_id) for event in events
        ]

        async def apply(tx: Transaction) -> None:
            await EARNINGS.apply_deals(tx, [self.tenant], incoming)

        await self.database.run(Scope.of(self.tenant), apply)

    async def rates(self, version: int, rated: Rated, *, rebuild: bool = True) -> None:
        event = rates_event(self.tenant, version, rated)
        message = to_message(event, event_id=uuid4(), source="goals", time=datetime(2026, 2, 1, tzinfo=UTC))
        record = Record(message.topic, 0, 0, message.key, dict(message.headers), message.value, 0)

        async def apply(tx: Transaction) -> None:
            await DefinitionsHandler(EARNINGS).apply(tx, [record])

        await self.database.run(Scope.of(self.tenant), apply)
        if rebuild:
            await rebuilder(self.database).rebuild_all()

    async def plan(self, **changes: object) -> str:
        """An active plan with one component; its id."""
        created = await self.send("POST", "/v1/plans", {"name": "Reps", "currency": "USD", "period": "quarter"})
        assert created.status_code == 201, created.text
        plan_id = str(created.json()["id"])
        body = {"effective_from": "2026-01-01", "components": [component(**changes)]}
        drafted = await self.send("POST", f"/v1/plans/{plan_id}/versions", body)
        assert drafted.status_code == 201, drafted.text
        approved = await self.step(plan_id, "approve", "1", APPROVER)
        assert approved.status_code == 200, approved.text
        activated = await self.step(plan_id, "activate", "2")
        assert activated.status_code == 200, activated.text
        return plan_id

    async def step(self, plan_id: str, step: str, version: str, person: UUID = AUTHOR) -> httpx.Response:
        path = f"/v1/plans/{plan_id}/versions/1/{step}"
        return await self.send("POST", path, person=person, if_match=f'"{version}"')

    async def assign(self, plan_id: str, person: UUID, **more: object) -> httpx.Response:
        body = {"person_id": str(person), "plan_id": plan_id, "start": "2026-01-01", **more}
        answer = await self.send("POST", "/v1/assignments", body)
        return await self.approved(answer) if answer.status_code == 201 else answer

    async def approved(self, proposed: httpx.Response) -> httpx.Response:
        """What another person answers to a proposal, worked out."""
        assignment = proposed.json()
        path, version = f"/v1/assignments/{assignment['id']}/approve", f'"{assignment["version"]}"'
        answer = await self.send("POST", path, person=AGREEING, if_match=version)
        assert answer.status_code == 200, answer.text
        await rebuilder(self.database).rebuild_all()
        return answer


def component(**changes: object) -> Json:
    return {
        "kind": "commission",
        "key": "bookings",
        "name": "New business",
        "measure": {
            "aggregate": "sum",
            "value_field": "amount",
            "date_field": "closed",
            "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
            "currency": "USD",
        },
        "rate": {
            "shape": "tiers",
            "mode": "marginal",
            "by": "amount",
            "tiers": [{"from": "0", "rate": "0.04"}, {"from": "150000", "rate": "0.06"}],
        },
        **changes,
    }


def won(deal: int, amount: int, version: int = 1, day: date = date(2026, 2, 1), owner: int | None = 0) -> DealVersion:
    return DealVersion(deal, version, owner, (), amount * 100, True, day, "USD", False)


@asynccontextmanager
async def running_company(url: str) -> AsyncIterator[Company]:
    """A new one on a database."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATTAIN_DATABASE_URL", url)
        environment.setenv("ATTAIN_JWT_SECRET", "a secret of at least thirty-two characters")
        app = create_app()
        database = Database(url, service="incentives")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://incentives") as http:
            opened = Company(uuid4(), database, http, HttpSettings())
            await opened.found()
            yield opened
        await database.close()
        await app.state.database.close()
