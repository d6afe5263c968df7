"""Employee numbers, and addresses as they are compared; those that people have in common stay."""

from unicodedata import normalize

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("people", sa.Column("employee_number", sa.Text(), nullable=True), schema=SCHEMA)
    op.add_column("people", sa.Column("email_folded", sa.Text(), nullable=True), schema=SCHEMA)
    connection = op.get_bind()
    people = connection.execute(sa.text("SELECT tenant_id, id, email FROM goals.people WHERE email IS NOT NULL")).all()
    folded = [
        {"tenant_id": tenant_id, "id": person_id, "folded": normalize("NFC", normalize("NFC", email).casefold())}
        for tenant_id, person_id, email in people
    ]
    if folded:
        statement = "UPDATE goals.people SET email_folded = :folded WHERE tenant_id = :tenant_id AND id = :id"
        connection.execute(sa.text(statement), folded)
    op.create_index("ix_people_email_folded", "people", ["email_folded", "tenant_id"], schema=SCHEMA)
    op.create_index(
        "uq_people_employee_number",
        "people",
        ["employee_number", "tenant_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("employee_number IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("uq_people_employee_number", table_name="people", schema=SCHEMA)
    op.drop_index("ix_people_email_folded", table_name="people", schema=SCHEMA)
    op.drop_column("people", "email_folded", schema=SCHEMA)
    op.drop_column("people", "employee_number", schema=SCHEMA)
