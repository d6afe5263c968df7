"""Every statement on files that are sent in parts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from services.goals.files.domain import Upload
from services.goals.files.tables import upload_parts, uploads
from shared.db.database import Transaction


async def add_upload(tx: Transaction, tenant_id: UUID, upload: Upload, *, forget_before: datetime) -> None:
    """Store a file without parts, and forget those of the tenant that are older than a moment."""
    columns = uploads.c
    await tx.execute(delete(uploads).where(columns.tenant_id == tenant_id, columns.created_at < forget_before))
    await tx.execute(
        insert(uploads).values(
            tenant_id=tenant_id,
            id=upload.id,
            kind=upload.kind,
            media_type=upload.media_type,
            created_at=upload.created_at,
        )
    )


async def find_upload(tx: Transaction, tenant_id: UUID, upload_id: UUID) -> Upload | None:
    """The file, which nobody takes away before the end of the transaction."""
    columns = uploads.c
    row = await tx.one_or_none(
        select(uploads).where(columns.tenant_id == tenant_id, columns.id == upload_id).with_for_update(read=True)
    )
    return None if row is None else Upload(row["id"], row["kind"], row["media_type"], row["created_at"])


async def put_part(tx: Transaction, tenant_id: UUID, upload_id: UUID, number: int, content: bytes) -> None:
    """Store a part, instead of the one of that number."""
    statement = upsert(upload_parts).values(tenant_id=tenant_id, upload_id=upload_id, number=number, content=content)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "upload_id", "number"], set_={"content": statement.excluded.content}
        )
    )


async def part_numbers(tx: Transaction, tenant_id: UUID, upload_id: UUID) -> list[int]:
    """The numbers of the parts that there are, in order."""
    columns = upload_parts.c
    rows = await tx.rows(
        select(columns.number)
        .where(columns.tenant_id == tenant_id, columns.upload_id == upload_id)
        .order_by(columns.number)
    )
    return [row["number"] for row in rows]


async def part(tx: Transaction, tenant_id: UUID, upload_id: UUID, number: int) -> bytes:
    """The content of a part that there is."""
    columns = upload_parts.c
    [row] = await tx.rows(
        select(columns.content).where(
            columns.tenant_id == tenant_id, columns.upload_id == upload_id, columns.number == number
        )
    )
    return bytes(row["content"])


async def delete_upload(tx: Transaction, tenant_id: UUID, upload_id: UUID) -> None:
    """Forget a file with its parts."""
    await tx.execute(delete(uploads).where(uploads.c.tenant_id == tenant_id, uploads.c.id == upload_id))


async def mark(tx: Transaction) -> None:
    """Where `undo_since_mark` goes back to."""
    await tx.execute(text("SAVEPOINT checked"))


async def undo_since_mark(tx: Transaction) -> None:
    """As if nothing had been done since `mark`."""
    await tx.execute(text("ROLLBACK TO SAVEPOINT checked"))
