"""The tables of people, teams, memberships and identities.

The row of a team has what is in force from the beginning of time, those of changes what is from a day on.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKeyConstraint,
    Index,
    Table,
    Text,
    Uuid,
    text,
)

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

people = Table(
    "people",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=True),
    Column("active", Boolean, nullable=False),
    instant("changed_at"),
    Column("employee_number", Text, nullable=True),
    # The address as it is compared. Not unique: two people may have had the same before that was refused.
    Column("email_folded", Text, nullable=True),
    Index("ix_people_email_folded", "email_folded", "tenant_id"),
    Index(
        "uq_people_employee_number",
        "employee_number",
        "tenant_id",
        unique=True,
        postgresql_where=text("employee_number IS NOT NULL"),
    ),
)

teams = Table(
    "teams",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent_id", Uuid(), nullable=True),
    Column("manager_id", Uuid(), nullable=True),
    instant("changed_at"),
    ForeignKeyConstraint(
        ["tenant_id", "parent_id"], ["goals.teams.tenant_id", "goals.teams.id"], name="fk_teams_parent_id_teams"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "manager_id"], ["goals.people.tenant_id", "goals.people.id"], name="fk_teams_manager_id_people"
    ),
)

team_changes = Table(
    "team_changes",
    metadata,
    tenant_id(),
    Column("team_id", Uuid(), primary_key=True),
    Column("start_on", Date, primary_key=True),
    Column("parent_id", Uuid(), nullable=True),
    Column("manager_id", Uuid(), nullable=True),
    ForeignKeyConstraint(
        ["tenant_id", "team_id"], ["goals.teams.tenant_id", "goals.teams.id"], name="fk_team_changes_team_id_teams"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "parent_id"], ["goals.teams.tenant_id", "goals.teams.id"], name="fk_team_changes_parent_id_teams"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "manager_id"],
        ["goals.people.tenant_id", "goals.people.id"],
        name="fk_team_changes_manager_id_people",
    ),
)

memberships = Table(
    "memberships",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("team_id", Uuid(), nullable=False),
    Column("start_on", Date, nullable=False),
    Column("end_on", Date, nullable=True),
    Column("deleted", Boolean, nullable=False),
    instant("changed_at"),
    CheckConstraint("end_on > start_on", name="range"),
    ForeignKeyConstraint(
        ["tenant_id", "person_id"],
        ["goals.people.tenant_id", "goals.people.id"],
        name="fk_memberships_person_id_people",
    ),
    ForeignKeyConstraint(
        ["tenant_id", "team_id"], ["goals.teams.tenant_id", "goals.teams.id"], name="fk_memberships_team_id_teams"
    ),
    # The tenant is first in no index but the primary key: with a table's first rows not yet counted, a planner finds
    # every index that starts with the tenant as good as the primary key, and may read a whole tenant for each look-up.
    Index("ix_memberships_person_id_team_id", "person_id", "team_id"),
    Index("ix_memberships_team_id", "team_id"),
)

identities = Table(
    "identities",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("external_user_id", Text, nullable=False),
    Column("person_id", Uuid(), nullable=False),
    Column("deleted", Boolean, nullable=False),
    instant("changed_at"),
    ForeignKeyConstraint(
        ["tenant_id", "person_id"],
        ["goals.people.tenant_id", "goals.people.id"],
        name="fk_identities_person_id_people",
    ),
    Index("ix_identities_person_id", "person_id"),
    Index(
        "uq_identities_external_user_id",
        "external_user_id",
        "source",
        "tenant_id",
        unique=True,
        postgresql_where=text("NOT deleted"),
    ),
)
