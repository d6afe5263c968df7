"""People, teams, memberships, identities, calendars; goals and their revisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.migration import enable_row_level_security

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_TABLES = ("calendars", "people", "teams", "memberships", "identities", "goals", "goal_revisions")


def _versioned() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )


def _changed_at() -> sa.Column[object]:
    return sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False)


def _reference(table: str, column: str, referred: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"goals.{referred}.tenant_id", f"goals.{referred}.id"],
        name=f"fk_{table}_{column}_{referred}",
    )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "calendars",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("start_month", sa.SmallInteger(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        _changed_at(),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_calendars"),
        sa.CheckConstraint("start_month BETWEEN 1 AND 12", name="ck_calendars_start_month"),
        schema="goals",
    )
    op.create_table(
        "people",
        *_versioned(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        _changed_at(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_people"),
        schema="goals",
    )
    op.create_table(
        "teams",
        *_versioned(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("manager_id", sa.Uuid(), nullable=True),
        _changed_at(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_teams"),
        _reference("teams", "parent_id", "teams"),
        _reference("teams", "manager_id", "people"),
        schema="goals",
    )
    op.create_table(
        "memberships",
        *_versioned(),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("end_on", sa.Date(), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        _changed_at(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_memberships"),
        sa.CheckConstraint("end_on > start_on", name="ck_memberships_range"),
        _reference("memberships", "person_id", "people"),
        _reference("memberships", "team_id", "teams"),
        schema="goals",
    )
    op.create_index(
        "ix_memberships_person_id_team_id",
        "memberships",
        ["person_id", "team_id"],
        schema="goals",
    )
    op.create_index("ix_memberships_team_id", "memberships", ["team_id"], schema="goals")
    op.create_table(
        "identities",
        *_versioned(),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_user_id", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        _changed_at(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_identities"),
        _reference("identities", "person_id", "people"),
        schema="goals",
    )
    op.create_index("ix_identities_person_id", "identities", ["person_id"], schema="goals")
    op.create_index(
        "uq_identities_external_user_id",
        "identities",
        ["external_user_id", "source", "tenant_id"],
        unique=True,
        postgresql_where=sa.text("NOT deleted"),
        schema="goals",
    )
    op.create_table(
        "goals",
        *_versioned(),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("metric", JSONB(), nullable=False),
        sa.Column("target", sa.Numeric(), nullable=False),
        sa.Column("baseline", sa.Numeric(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("end_on", sa.Date(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("weight", sa.Numeric(), nullable=False),
        _changed_at(),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_goals"),
        sa.CheckConstraint("status IN ('draft', 'active', 'closed', 'cancelled')", name="ck_goals_status"),
        sa.CheckConstraint("owner_kind IN ('person', 'team')", name="ck_goals_owner_kind"),
        sa.CheckConstraint("direction IN ('higher', 'lower')", name="ck_goals_direction"),
        sa.CheckConstraint("end_on > start_on", name="ck_goals_period"),
        _reference("goals", "parent_id", "goals"),
        schema="goals",
    )
    op.create_index("ix_goals_owner_id", "goals", ["owner_id"], schema="goals")
    op.create_index("ix_goals_parent_id", "goals", ["parent_id"], schema="goals")
    op.create_table(
        "goal_revisions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("goal_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("terms", JSONB(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revised_by", sa.Uuid(), nullable=True),
        sa.Column("revised_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "goal_id", "revision", name="pk_goal_revisions"),
        _reference("goal_revisions", "goal_id", "goals"),
        schema="goals",
    )
    for table in _TABLES:
        enable_row_level_security(op, "goals", table)
    # Revisions are history: the service adds them and can do no more.
    op.execute("REVOKE UPDATE, DELETE ON goals.goal_revisions FROM goals_app")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in reversed(_TABLES):
        op.drop_table(table, schema="goals")
