"""What the environment sets for the processes of the incentives service."""

from typing import Final

from shared.db.settings import DatabaseSettings
from shared.http.settings import HttpSettings

SERVICE: Final = "incentives"


class ApiSettings(HttpSettings, DatabaseSettings):
    """Of the API process."""
