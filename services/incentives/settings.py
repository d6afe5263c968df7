"""What the processes of the incentives service are told by their environment."""

from typing import Final

from shared.db.settings import DatabaseSettings
from shared.http.settings import HttpSettings
from shared.http.worker import WorkerSettings

SERVICE: Final = "incentives"


class ApiSettings(HttpSettings, DatabaseSettings):
    """Of the API process."""


class IncentivesWorkerSettings(WorkerSettings, DatabaseSettings):
    """Of the worker; where Kafka is stands in `shared.kafka.settings.KafkaSettings`."""
