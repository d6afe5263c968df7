"""Tables of goals and the organisation: each member of a thing has its column, and each thing its rows."""

from datetime import date
from uuid import UUID

from pydantic import BaseModel

from services.goals.files.columns import GOALS, IDENTITIES, MEMBERSHIPS, PEOPLE, TEAMS, team_rows
from services.goals.org.domain import Place, Team
from services.goals.org.schemas import IdentityBody, MembershipBody, PersonBody, TeamBody
from services.goals.targets.schemas import DatesBody, GoalBody, MetricBody, OwnerBody
from shared.tables.columns import Column, Kind

A, B = UUID(int=1), UUID(int=2)


def members(columns: tuple[Column, ...]) -> set[str]:
    return {"/".join(column.member) for column in columns} - {"id", "version"}


def test_every_member_of_a_thing_has_its_column() -> None:
    bodies: list[tuple[tuple[Column, ...], type[BaseModel], set[str]]] = [
        (PEOPLE, PersonBody, {"active"}),
        (TEAMS, TeamBody, {"start"}),
        (MEMBERSHIPS, MembershipBody, set()),
        (IDENTITIES, IdentityBody, set()),
    ]
    for columns, body, more in bodies:
        assert members(columns) == set(body.model_fields) | more
    parts: dict[str, type[BaseModel]] = {"owner": OwnerBody, "metric": MetricBody, "period": DatesBody}
    # What a template fills is in the file itself.
    expected = {
        f"{name}/{inner}" if inner else name
        for name in GoalBody.model_fields.keys() - {"template_id"}
        for inner in (parts[name].model_fields if name in parts else [""])
    }
    assert members(GOALS) == expected | {"status"}


def test_parts_of_a_metric_that_are_no_text_are_documents() -> None:
    documents = {column.name for column in GOALS if column.kind is Kind.DOCUMENT}
    assert documents >= {"metric_filter", "metric_fixed_rates"}
    assert {"metric_aggregate", "metric_currency", "metric_role"} & documents == set()


def test_a_team_has_a_row_for_each_place_it_has_had() -> None:
    team = Team(A, 3, "Central", Place(None, None), ((date(2026, 1, 1), Place(B, None)),))
    assert [(row["start"], row["parent_id"], row["version"]) for row in team_rows(team)] == [
        (None, None, 3),
        (date(2026, 1, 1), B, 3),
    ]
