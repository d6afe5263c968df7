"""The work of jobs that take a file: every row is looked at by itself, some a chunk, and then all are stored at once.

So what is wrong with a row is found while the job goes on and can be paused, and nothing of a file is ever stored
without the rest: the last chunk stores every row in its one transaction, with the end of the job.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final
from uuid import UUID

from services.goals.files.kinds import AnyKind, Tables
from services.goals.files.service import Uploads
from services.goals.jobs.domain import Chunk, Job
from shared.db.database import Transaction
from shared.http.tables import rows_of
from shared.tables.columns import ReadRow, read_rows

CHUNK_ROWS: Final = 5000
_STORE: Final = "store"
"""The cursor before the last chunk; before it is the number of rows that were looked at."""


class ImportWork:
    """Takes files."""

    def __init__(self, tables: Tables, uploads: Uploads) -> None:
        self._tables = tables
        self._uploads = uploads

    async def __call__(self, tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        """Look at the next rows, or store all of them. Raises UploadNotFound, InvalidTable."""
        upload_id = UUID(str(job.parameters["upload_id"]))
        upload, file = await self._uploads.open(tx, tenant_id, upload_id)
        with file:
            kind = self._tables.kinds[upload.kind]
            rows = read_rows(kind.columns, rows_of(upload.media_type, file))
            if job.cursor == _STORE:
                counts = await self._store(tx, tenant_id, kind, rows, check=bool(job.parameters["check"]))
                if not job.parameters["check"]:
                    await self._uploads.forget(tx, tenant_id, upload_id)
                return Chunk(sum(counts.values()), None, counts)
            first = int(job.cursor or 0)
            some = await asyncio.to_thread(_next_rows, rows, first)
            await kind.check(tx, tenant_id, some)
            if len(some) == CHUNK_ROWS:
                return Chunk(len(some), str(first + len(some)))
            # Each row is looked at once and stored once.
            return Chunk(len(some), _STORE, total=2 * (first + len(some)))

    async def _store(
        self, tx: Transaction, tenant_id: UUID, kind: AnyKind, rows: Iterator[ReadRow], *, check: bool
    ) -> dict[str, int]:
        counts: Counter[str] = Counter()
        await self._uploads.mark(tx)
        while some := await asyncio.to_thread(_next_rows, rows, 0):
            counts.update(line.became.value for line in await kind.put(tx, tenant_id, some))
        if check:
            await self._uploads.undo(tx)
        return dict(counts)


def _next_rows(rows: Iterator[ReadRow], skipped: int) -> Sequence[ReadRow]:
    return list(islice(rows, skipped, skipped + CHUNK_ROWS))
