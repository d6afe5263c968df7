"""Texts in Unicode's NFC, as every text is from now on that comes in.

Of two identities that are then the same user, the one that is written otherwise stays as it is.
"""

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

SCHEMA = "goals"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The owner of a table, too, sees rows of no tenant unless it asks for those of every tenant.
    op.execute("SET LOCAL app.tenants = '*'")
    op.execute(
        f"UPDATE {SCHEMA}.people SET name = normalize(name, NFC), email = normalize(email, NFC)"
        " WHERE name IS NOT NFC NORMALIZED OR email IS NOT NFC NORMALIZED"
    )
    op.execute(f"UPDATE {SCHEMA}.teams SET name = normalize(name, NFC) WHERE name IS NOT NFC NORMALIZED")
    op.execute(
        f"""
        UPDATE {SCHEMA}.identities AS identity
        SET source = normalize(source, NFC), external_user_id = normalize(external_user_id, NFC)
        WHERE (source IS NOT NFC NORMALIZED OR external_user_id IS NOT NFC NORMALIZED) AND NOT EXISTS (
            SELECT FROM {SCHEMA}.identities AS other
            WHERE other.tenant_id = identity.tenant_id AND other.id <> identity.id AND NOT other.deleted
                AND normalize(other.source, NFC) = normalize(identity.source, NFC)
                AND normalize(other.external_user_id, NFC) = normalize(identity.external_user_id, NFC)
        )
        """
    )


def downgrade() -> None:
    """An earlier release compares texts as they are, and these are as good as any."""
