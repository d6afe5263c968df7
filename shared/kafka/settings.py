"""Where Kafka is and how to speak with it."""

import ssl
from typing import Literal, TypedDict

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.kafka.connection import use_own_connections


class ClientOptions(TypedDict):
    """What every aiokafka client is made with."""

    bootstrap_servers: str
    client_id: str
    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None


class KafkaSettings(BaseSettings):
    """`ATTAIN_KAFKA_…`. OAUTHBEARER is left out: aiokafka does not renew its tokens on open connections."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_KAFKA_", extra="ignore")

    bootstrap: str = Field(default="127.0.0.1:9092", min_length=1)
    """`host:port`, several separated by commas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    certificate_file: str | None = None
    key_file: str | None = None
    """The client's own certificate and key, for mutual TLS."""
    replication_factor: int = Field(default=-1, ge=-1, le=10)
    """Of topics that are made; -1 is the broker's default."""
    fetch_wait_milliseconds: int = Field(default=250, ge=1, le=5000)
    """How long the broker may hold an empty fetch. New records are answered at once whatever this is."""

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> "KafkaSettings":
        if self.security_protocol.startswith("SASL") and (self.sasl_username is None or self.sasl_password is None):
            raise ValueError("SASL needs ATTAIN_KAFKA_SASL_USERNAME and ATTAIN_KAFKA_SASL_PASSWORD")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("ATTAIN_KAFKA_CERTIFICATE_FILE and ATTAIN_KAFKA_KEY_FILE go together")
        return self

    def client_options(self, client_id: str) -> ClientOptions:
        """Arguments common to every client. Reads the certificate files: OSError or ssl.SSLError if they are bad."""
        use_own_connections()
        return ClientOptions(
            bootstrap_servers=self.bootstrap,
            client_id=client_id,
            security_protocol=self.security_protocol,
            ssl_context=self._ssl_context() if self.security_protocol.endswith("SSL") else None,
            sasl_mechanism=self.sasl_mechanism,
            sasl_plain_username=self.sasl_username,
            sasl_plain_password=None if self.sasl_password is None else self.sasl_password.get_secret_value(),
        )

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context
