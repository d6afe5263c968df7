"""The company that `attain seed` sets up and `attain demo` shows: who works there, sells what, and is paid how."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pydantic import JsonValue

NAME: Final = "Kestrel Analytics"
CURRENCY: Final = "EUR"
FISCAL_START_MONTH: Final = 4
TIME_ZONE: Final = "Europe/Berlin"

CRM_SOURCE: Final = "kestrel-crm"
PIPEDRIVE_SOURCE: Final = "pipedrive"


@dataclass(frozen=True, slots=True)
class Employee:
    """One of the twelve. `team` None is the company's root; targets are of a quarter and None for who does not sell."""

    key: str
    name: str
    pipedrive_user: str
    team: str | None
    bookings_target: Decimal | None = None
    deals_target: Decimal | None = None

    @property
    def email(self) -> str:
        return f"{self.key}@kestrel-analytics.example"

    @property
    def crm_user(self) -> str:
        """How the company's own CRM calls them; Pipedrive has numbers."""
        return f"u-{self.key}"


@dataclass(frozen=True, slots=True)
class DemoTeam:
    """A team right below the root, with the targets of a quarter."""

    key: str
    name: str
    manager: str
    bookings_target: Decimal
    deals_target: Decimal


CHIEF: Final = "mara.lindqvist"
ANALYST: Final = "hana.kovac"
"""Writes the commission plan, which the chief approves."""

TEAMS: Final = (
    DemoTeam("enterprise", "Enterprise", "tomasz.nowak", Decimal(2_000_000), Decimal(24)),
    DemoTeam("mid-market", "Mid-Market", "priya.raman", Decimal(950_000), Decimal(24)),
    DemoTeam("partners", "Partners", "erik.solheim", Decimal(750_000), Decimal(15)),
)
COMPANY_BOOKINGS_TARGET: Final = Decimal(3_600_000)
COMPANY_DEALS_TARGET: Final = Decimal(62)
MANAGERS_TOLERANCE: Final = Decimal("0.05")
"""How far from what was handed down the managers may state the targets of their sellers."""

EMPLOYEES: Final = (
    Employee(CHIEF, "Mara Lindqvist", "11201", None),
    Employee(ANALYST, "Hana Kovač", "11202", None),
    Employee("tomasz.nowak", "Tomasz Nowak", "11210", "enterprise"),
    Employee("ines.carvalho", "Ines Carvalho", "11211", "enterprise", Decimal(480_000), Decimal(8)),
    Employee("jonas.weber", "Jonas Weber", "11212", "enterprise", Decimal(650_000), Decimal(8)),
    Employee("aiko.tanaka", "Aiko Tanaka", "11213", "enterprise", Decimal(800_000), Decimal(8)),
    Employee("priya.raman", "Priya Raman", "11220", "mid-market"),
    Employee("luca.ferrari", "Luca Ferrari", "11221", "mid-market", Decimal(500_000), Decimal(12)),
    Employee("chloe.martin", "Chloé Martin", "11222", "mid-market", Decimal(450_000), Decimal(12)),
    Employee("erik.solheim", "Erik Solheim", "11230", "partners"),
    Employee("nadia.haddad", "Nadia Haddad", "11231", "partners", Decimal(300_000), Decimal(7)),
    Employee("diego.morales", "Diego Morales", "11232", "partners", Decimal(450_000), Decimal(8)),
)
SELLERS: Final = tuple(employee for employee in EMPLOYEES if employee.bookings_target is not None)
BY_KEY: Final = {employee.key: employee for employee in EMPLOYEES}

CRM_STAGES: Final = {
    "Qualification": "open",
    "Proposal": "open",
    "Negotiation": "open",
    "Closed Won": "won",
    "Closed Lost": "lost",
}
"""Stage → status. The CRM of this company sends stages only."""

PIPEDRIVE_REGION_FIELD: Final = "9dc80c50d78a15643bfc4ca79d76156a73a1ca0e"
PIPEDRIVE_COMPETITOR_FIELD: Final = "3b5e8d5a1c0f4c6f9a7d2e1b8c4f6a7d9e0b1c2d"

WON: Final[dict[str, JsonValue]] = {"all": [{"field": "status", "op": "eq", "value": "won"}]}
BOOKINGS_METRIC: Final[dict[str, JsonValue]] = {
    "aggregate": "sum",
    "value_field": "amount",
    "date_field": "closed",
    "filter": WON,
    "currency": CURRENCY,
}
DEALS_METRIC: Final[dict[str, JsonValue]] = {"aggregate": "count", "date_field": "closed", "filter": WON}

PLAN_NAME: Final = "Sales commission"
BOOKINGS_COMPONENT: Final = "bookings"
TEAM_SELLING_COMPONENT: Final = "team_selling"
BOOKINGS_TIERS: Final = (
    (Decimal(0), Decimal("0.04")),
    (Decimal("0.5"), Decimal("0.06")),
    (Decimal(1), Decimal("0.09")),
)
"""Attainment from which on, rate of the slice above it."""
TEAM_SELLING_RATE: Final = Decimal("0.01")


def plan_components() -> list[JsonValue]:
    """The terms of the commission plan."""
    measure: dict[str, JsonValue] = {**BOOKINGS_METRIC}
    return [
        {
            "kind": "commission",
            "key": BOOKINGS_COMPONENT,
            "name": "Bookings",
            "measure": measure,
            "crediting": "owner",
            "rate": {
                "shape": "tiers",
                "mode": "marginal",
                "by": "attainment",
                "tiers": [{"from": str(start), "rate": str(rate)} for start, rate in BOOKINGS_TIERS],
            },
        },
        {
            "kind": "commission",
            "key": TEAM_SELLING_COMPONENT,
            "name": "Team selling",
            "measure": measure,
            "crediting": "split",
            "rate": {"shape": "flat", "rate": str(TEAM_SELLING_RATE)},
        },
    ]
