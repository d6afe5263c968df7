"""A sales organisation of which everybody can call the goals service."""

from uuid import UUID, uuid4

import httpx

from shared.http.auth import Role
from tests.stories.goals import AHEAD, Caller, Service, goal_body

ROLES = {
    "Eve": Role.MANAGER,
    "Mia": Role.MANAGER,
    "Sam": Role.MANAGER,
    "Rex": Role.REVOPS,
    "Rita": Role.REVOPS,
    "Ann": Role.FINANCE,
}


class House:
    """Eve leads Sales, Mia manages the team North in it, Ray and Roy sell there; Rex and Rita are RevOps."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.tenant = uuid4()
        self.system = Caller(service, self.tenant, Role.SERVICE)
        self.ids: dict[str, str] = {}

    async def furnish(self) -> "House":
        for name in ("Eve", "Mia", "Ray", "Roy", "Rex", "Rita", "Ann"):
            self.ids[name] = await self.system.person(name)
        self.ids["Sales"] = await self.system.team("Sales", manager_id=self.ids["Eve"])
        self.ids["North"] = await self.system.team("North", manager_id=self.ids["Mia"], parent_id=self.ids["Sales"])
        for name in ("Ray", "Roy", "Mia"):
            await self.system.member(self.ids[name], self.ids["North"])
        return self

    def __getitem__(self, name: str) -> Caller:
        return Caller(self._service, self.tenant, ROLES.get(name, Role.REP), person=UUID(self.ids[name]))

    def body(self, owner: str) -> dict[str, object]:
        return goal_body(self.ids[owner], kind="team" if owner in ("Sales", "North") else "person", period=AHEAD)

    async def drafted(self, by: str, owner: str) -> httpx.Response:
        return await self[by].send("POST", "/v1/goals", self.body(owner))

    async def active(self, owner: str) -> str:
        goal = await self.system.made("/v1/goals", self.body(owner))
        activated = await self.system.send("POST", f"/v1/goals/{goal}/activate", version=1)
        assert activated.status_code == 200, activated.text
        return goal
