"""The tables of files that are sent in parts."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, LargeBinary, Table, Text, Uuid

from services.goals.metadata import metadata
from shared.db.tables import instant, tenant_id

uploads = Table(
    "uploads",
    metadata,
    tenant_id(),
    Column("id", Uuid(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    instant("created_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    tenant_id(),
    Column("upload_id", Uuid(), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "upload_id"],
        ["goals.uploads.tenant_id", "goals.uploads.id"],
        name="fk_upload_parts_upload_id_uploads",
        ondelete="CASCADE",
    ),
)
