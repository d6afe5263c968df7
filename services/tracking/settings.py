"""The settings of the processes of the tracking service, from their environment."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.db.sealing import SecretsBox
from shared.db.settings import DatabaseSettings
from shared.http.settings import HttpSettings
from shared.worker.process import ServiceWorkerSettings

SERVICE: Final = "tracking"


def _checked(key: SecretStr) -> SecretStr:
    SecretsBox(key.get_secret_value())
    return key


class SecretsSettings(BaseSettings):
    """`ATTAIN_SECRETS_KEY`: the Fernet key that secrets of connections are sealed with."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_", extra="ignore", hide_input_in_errors=True)

    secrets_key: Annotated[SecretStr, AfterValidator(_checked)]


class ApiSettings(HttpSettings, DatabaseSettings, SecretsSettings):
    """Of the API process; those of Kafka are in `shared.kafka.settings.KafkaSettings`."""


class TrackingWorkerSettings(ServiceWorkerSettings, SecretsSettings):
    """Of the worker; those of Kafka are in `shared.kafka.settings.KafkaSettings`."""

    public_url: str = Field("/", description="Where sources reach the API process: the address they notify.")
    delivery_retention_days: int = Field(
        400,
        ge=1,
        description="How long bodies of translated deliveries are stored, and then until their month is dropped.",
    )
    alert_look_seconds: int = Field(
        30, ge=1, le=3600, description="From one look at how a connection is to the next, for alerts, at least."
    )
    outgoing_log_days: int = Field(30, ge=7, description="How long deliveries to subscribers are stored.")
    outgoing_concurrency: int = Field(64, ge=1, le=1000, description="Requests to subscribers under way at a time.")
    outgoing_concurrency_each: int = Field(4, ge=1, le=100, description="Of these, to one subscription's endpoint.")
