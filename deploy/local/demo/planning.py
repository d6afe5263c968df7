"""What everybody of the company is to reach in a quarter, as the scenario that plans it and the goals it makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from pydantic import JsonValue

from deploy.local.demo import company
from deploy.local.demo.company import SELLERS, TEAMS, Employee
from shared.kernel.periods import Period


class Counted(StrEnum):
    """What is planned."""

    BOOKINGS = "bookings"
    DEALS = "deals won"


@dataclass(frozen=True, slots=True)
class QuarterPlan:
    """The targets of `company`, under the ids of the people and teams that are there."""

    quarter: Period
    counted: Counted
    people: Mapping[str, UUID]
    teams: Mapping[str | None, UUID]

    @property
    def name(self) -> str:
        """Of the scenario, which is that of the company's goal."""
        return self.goal_names[None]

    @property
    def goal_names(self) -> Mapping[str | None, str]:
        """By employee key, team key, and None for the company."""
        owners: dict[str | None, str] = {None: company.NAME, **{team.key: team.name for team in TEAMS}}
        owners |= {seller.key: seller.name for seller in SELLERS}
        return {key: self._goal_name(owner) for key, owner in owners.items()}

    @property
    def team_targets(self) -> Mapping[UUID, Decimal]:
        """By team."""
        is_money = self.counted is Counted.BOOKINGS
        return {self.teams[team.key]: team.bookings_target if is_money else team.deals_target for team in TEAMS}

    def seller_targets(self, team: str) -> Mapping[UUID, Decimal]:
        """By person, of those in the team."""
        return {self.people[seller.key]: self._target(seller) for seller in SELLERS if seller.team == team}

    def body(self) -> Mapping[str, JsonValue]:
        """The company's target, split by what the sellers' territories are worth; nobody else is given any."""
        is_money = self.counted is Counted.BOOKINGS
        by_potential: dict[str, JsonValue] = {"along": "people", "blend": {"potential": "1"}}
        facts: list[JsonValue] = [
            {
                "owner": {"kind": "person", "id": str(self.people[seller.key])},
                "potential": str(self._target(seller)),
            }
            for seller in SELLERS
        ]
        return {
            "name": self.name,
            "owner": {"kind": "team", "id": str(self.teams[None])},
            "period": {"kind": "quarter", "containing": self.quarter.start.isoformat()},
            "target": str(company.COMPANY_BOOKINGS_TARGET if is_money else company.COMPANY_DEALS_TARGET),
            "metric": company.BOOKINGS_METRIC if is_money else company.DEALS_METRIC,
            "goal_name": self._goal_name("{owner}"),
            "steps": [by_potential, {**by_potential, "tolerance": str(company.MANAGERS_TOLERANCE)}],
            "facts": facts,
        }

    def _goal_name(self, owner: str) -> str:
        return f"{owner}: {self.counted}, quarter from {self.quarter.start}"

    def _target(self, seller: Employee) -> Decimal:
        target = seller.bookings_target if self.counted is Counted.BOOKINGS else seller.deals_target
        if target is None:
            raise ValueError(f"{seller.key} does not sell")
        return target
