"""Settings of the processes of the goals service, read from their environment."""

from typing import Final

from shared.db.settings import DatabaseSettings
from shared.http.settings import HttpSettings

SERVICE: Final = "goals"


class ApiSettings(HttpSettings, DatabaseSettings):
    """Of the API process."""
