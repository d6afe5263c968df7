"""Addresses of subscriptions, whose query strings may hold secrets, sealed as the other secrets are.

Answers that are stored to be repeated, and show an address, are dropped: the same request again is a new one.
"""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op
from cryptography.fernet import Fernet

from shared.db.migration import secrets_key

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "tracking"


def upgrade() -> None:
    _begin()
    op.alter_column("subscriptions", "url", new_column_name="sealed_url", schema=SCHEMA)
    _replace(lambda box: lambda address: box.encrypt(address.encode()).decode())
    op.execute(f"DELETE FROM {SCHEMA}.idempotency_keys WHERE position('\"url\":'::bytea IN response_body) > 0")


def downgrade() -> None:
    _begin()
    _replace(lambda box: lambda sealed: box.decrypt(sealed).decode())
    op.alter_column("subscriptions", "sealed_url", new_column_name="url", schema=SCHEMA)


def _begin() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")


def _replace(how: Callable[[Fernet], Callable[[str], str]]) -> None:
    connection = op.get_bind()
    found = sa.text(f"SELECT tenant_id, id, sealed_url FROM {SCHEMA}.subscriptions WHERE sealed_url <> '' FOR UPDATE")
    rows = connection.execute(found).all()
    if not rows:
        return
    replaced = how(Fernet(secrets_key()))
    connection.execute(
        sa.text(f"UPDATE {SCHEMA}.subscriptions SET sealed_url = :address WHERE tenant_id = :tenant_id AND id = :id"),
        [{"tenant_id": row.tenant_id, "id": row.id, "address": replaced(row.sealed_url)} for row in rows],
    )
