"""Files that are sent in parts, as no request is as large as they are."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shared.kernel.errors import InvalidInput, NotFound

PARTS_MAX: Final = 128
RETENTION: Final = timedelta(days=7)
"""How long a file stays that nobody had taken."""


class UploadNotFound(NotFound):
    """There is no such file, it was taken already, or it is older than seven days."""

    code = "upload_not_found"
    title = "Upload not found"


class UploadIncomplete(InvalidInput):
    """A part of the file is missing."""

    code = "upload_incomplete"
    title = "Upload incomplete"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of things of a kind, all of whose parts together are what `media_type` says."""

    id: UUID
    kind: str
    media_type: str
    created_at: datetime


def check_complete(numbers: list[int]) -> None:
    """Raises UploadIncomplete unless these are the numbers of all parts, from 1 on."""
    missing = next((each for each, number in enumerate(numbers, 1) if each != number), None)
    if missing is not None or not numbers:
        raise UploadIncomplete(f"Part {missing or 1} is missing; parts are numbered from 1, without a gap.")
