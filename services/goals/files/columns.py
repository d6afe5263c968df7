"""The columns of each kind of table, and the rows of its things."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from services.goals.org.domain import Identity, Membership, Person, Place, Team
from services.goals.targets.domain import Goal
from services.goals.targets.schemas import MetricBody, StretchBody
from shared.tables.columns import Column, Kind, Value

_ID: Final = (Column("id", Kind.ID), Column("version", Kind.WHOLE))
PEOPLE: Final = (
    *_ID,
    Column("name", Kind.TEXT),
    Column("email", Kind.TEXT),
    Column("employee_number", Kind.TEXT),
    Column("active", Kind.FLAG),
)
TEAMS: Final = (
    *_ID,
    Column("name", Kind.TEXT),
    Column("start", Kind.DAY),
    Column("parent_id", Kind.ID),
    Column("manager_id", Kind.ID),
)
MEMBERSHIPS: Final = (
    *_ID,
    Column("person_id", Kind.ID),
    Column("team_id", Kind.ID),
    Column("start", Kind.DAY),
    Column("end", Kind.DAY),
)
IDENTITIES: Final = (
    *_ID,
    Column("source", Kind.TEXT),
    Column("external_user_id", Kind.TEXT),
    Column("person_id", Kind.ID),
)
_METRIC: Final = tuple(
    Column(
        f"metric_{name}",
        Kind.DOCUMENT if "dict" in str(field.annotation) or "list" in str(field.annotation) else Kind.TEXT,
        pointer=f"/metric/{name}",
    )
    for name, field in MetricBody.model_fields.items()
)
GOALS: Final = (
    *_ID,
    Column("status", Kind.WORD),
    Column("name", Kind.TEXT),
    Column("owner_kind", Kind.WORD, pointer="/owner/kind"),
    Column("owner_id", Kind.ID, pointer="/owner/id"),
    Column("target", Kind.NUMBER),
    Column("baseline", Kind.NUMBER),
    Column("unit", Kind.TEXT),
    Column("direction", Kind.WORD),
    Column("start", Kind.DAY, pointer="/period/start"),
    Column("end", Kind.DAY, pointer="/period/end"),
    Column("parent_id", Kind.ID),
    Column("weight", Kind.NUMBER),
    Column("stretch", Kind.DOCUMENT),
    Column("top", Kind.FLAG),
    Column("check_in", Kind.WORD),
    *_METRIC,
)

Values = Mapping[str, Value]


def person_row(person: Person) -> Values:
    return {
        "id": person.id,
        "version": person.version,
        "name": person.name,
        "email": person.email,
        "employee_number": person.employee_number,
        "active": person.active,
    }


def team_rows(team: Team) -> list[Values]:
    """A row for its place from the beginning of time on, and one for each change of it."""
    return [
        {"id": team.id, "version": team.version, "name": team.name, "start": start, **place._asdict()}
        for start, place in ((None, team.always), *team.changes)
    ]


def team_row_at(team: Team, values: Values) -> Values:
    """The row of the place that is in force from the day of another row on."""
    start = values.get("start")
    place: Place = team.on(start) if isinstance(start, date) else team.always
    return {"name": team.name, "start": start, **place._asdict()}


def membership_row(membership: Membership) -> Values:
    return {
        "id": membership.id,
        "version": membership.version,
        "person_id": membership.person_id,
        "team_id": membership.team_id,
        "start": membership.range.start,
        "end": membership.range.end,
    }


def identity_row(identity: Identity) -> Values:
    return {
        "id": identity.id,
        "version": identity.version,
        "source": identity.source,
        "external_user_id": identity.external_user_id,
        "person_id": identity.person_id,
    }


def goal_row(goal: Goal) -> Values:
    terms = goal.terms
    metric = MetricBody.of(terms.measure).model_dump(mode="json")
    return {
        "id": goal.id,
        "version": goal.version,
        "status": goal.status.value,
        "name": terms.name,
        "owner_kind": terms.owner.kind.value,
        "owner_id": terms.owner.id,
        "target": terms.target,
        "baseline": terms.baseline,
        "unit": terms.unit,
        "direction": terms.direction.value,
        "start": terms.period.start,
        "end": terms.period.end,
        "parent_id": terms.parent_id,
        "weight": terms.weight,
        "stretch": [StretchBody.of(level).model_dump(mode="json") for level in terms.stretch] or None,
        "top": terms.top,
        "check_in": terms.check_in.value,
        **{f"metric_{name}": value for name, value in metric.items()},
    }
