"""The use cases of files that are sent in parts."""

import tempfile
from typing import BinaryIO, Final, cast
from uuid import UUID

from services.goals.files import store
from services.goals.files.domain import RETENTION, Upload, UploadNotFound, check_complete
from services.goals.jobs.domain import Job
from services.goals.jobs.service import Jobs
from shared.db.database import Transaction

IMPORT: Final = "import_table"
"""The kind of the jobs that take a file."""
_MEMORY_BYTES: Final = 1_048_576


class Uploads:
    """The files of every tenant."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def create_upload(self, tx: Transaction, tenant_id: UUID, *, kind: str, media_type: str) -> Upload:
        """A file without parts. What nobody had taken of older ones is forgotten."""
        created = Upload(tx.new_id(), kind, media_type, tx.now)
        await store.add_upload(tx, tenant_id, created, forget_before=tx.now - RETENTION)
        return created

    async def set_part(self, tx: Transaction, tenant_id: UUID, upload_id: UUID, number: int, content: bytes) -> None:
        """A part by its number, from 1 on, instead of one that there is. Raises UploadNotFound."""
        await self._get(tx, tenant_id, upload_id)
        await store.put_part(tx, tenant_id, upload_id, number, content)

    async def request_import(self, tx: Transaction, tenant_id: UUID, upload_id: UUID, *, check: bool) -> Job:
        """A job that takes a file, or says what would become of it. Raises UploadNotFound, UploadIncomplete."""
        await self._get(tx, tenant_id, upload_id)
        check_complete(await store.part_numbers(tx, tenant_id, upload_id))
        parameters = {"upload_id": str(upload_id), "check": check}
        return await self._jobs.request_job(tx, tenant_id, IMPORT, parameters, total=None)

    async def open(self, tx: Transaction, tenant_id: UUID, upload_id: UUID) -> tuple[Upload, BinaryIO]:
        """A file, all but a small one on the disk; whoever opens it closes it. Raises UploadNotFound."""
        upload = await self._get(tx, tenant_id, upload_id)
        file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115
        try:
            for number in await store.part_numbers(tx, tenant_id, upload_id):
                file.write(await store.part(tx, tenant_id, upload_id, number))
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return upload, cast(BinaryIO, file)

    async def mark(self, tx: Transaction) -> None:
        """Where `undo` goes back to."""
        await store.mark(tx)

    async def undo(self, tx: Transaction) -> None:
        """As if nothing had been done since `mark`."""
        await store.undo_since_mark(tx)

    async def forget(self, tx: Transaction, tenant_id: UUID, upload_id: UUID) -> None:
        """A file that was taken."""
        await store.delete_upload(tx, tenant_id, upload_id)

    async def _get(self, tx: Transaction, tenant_id: UUID, upload_id: UUID) -> Upload:
        found = await store.find_upload(tx, tenant_id, upload_id)
        if found is None:
            raise UploadNotFound(f"There is no upload {upload_id}.")
        return found
