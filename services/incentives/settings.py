"""What the processes of the incentives service are told by their environment."""

from typing import Final

from shared.db.settings import DatabaseSettings
from shared.http.settings import HttpSettings

SERVICE: Final = "incentives"


class ApiSettings(HttpSettings, DatabaseSettings):
    """Of the API process."""
