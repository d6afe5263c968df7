"""The settings of an HTTP process, from its environment (`ATTAIN_*`)."""

from typing import Final, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

_SHARED_KEY_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
_PUBLIC_KEY_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)


class HttpSettings(BaseSettings):
    """How callers are authenticated and what is accepted from them.

    Exactly one of `jwt_secret` (development), `jwt_public_key` (PEM) and `jwt_jwks_url` is set. `jwt_algorithms` pins
    the signature algorithms; by default HS256 for a secret, RS256, ES256 and EdDSA for public keys. A shared secret
    and public keys never mix, so a public key can not be passed off as a secret.
    """

    model_config = SettingsConfigDict(env_prefix="ATTAIN_", extra="ignore", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    operations_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Where /healthz, /readyz, /metrics, /docs and /openapi.json are served instead of the API's port.",
    )
    public_url: str = Field("/", description="Where clients reach the service; the server named in the OpenAPI.")
    body_bytes_max: int = Field(1_048_576, ge=1)
    connections_max: int = Field(4000, ge=1, description="Connections this process has at a time.")
    connections_per_peer_max: int = Field(
        1000, ge=1, description="Of these, from one address; behind a proxy, which is one address, as many as in all."
    )
    streams_max: int = Field(2000, ge=1, description="Event streams this process serves at a time.")
    streams_per_tenant_max: int = Field(1000, ge=1, description="Of these, to the people of one tenant.")
    streams_per_person_max: int = Field(20, ge=1, description="Of these, to one person.")
    unfinished_bytes_max: int = Field(
        67_108_864, ge=1_048_576, description="Bytes held for requests that are not answered yet, in all."
    )
    jwt_secret: SecretStr | None = Field(None, min_length=32)
    jwt_public_key: str | None = None
    jwt_jwks_url: str | None = Field(None, pattern=r"^https?://")
    jwt_jwks_stale_seconds_max: int = Field(
        86_400, ge=300, description="How long known keys serve while the JWKS cannot be fetched; then tokens get 503."
    )
    jwt_algorithms: frozenset[str] = frozenset()
    jwt_issuer: str = "attain"
    jwt_audience: str = "attain"

    @model_validator(mode="after")
    def _one_key_and_its_algorithms(self) -> Self:
        keys = [key for key in (self.jwt_secret, self.jwt_public_key, self.jwt_jwks_url) if key is not None]
        if len(keys) != 1:
            raise ValueError(
                "set exactly one of ATTAIN_JWT_SECRET (development), ATTAIN_JWT_PUBLIC_KEY and ATTAIN_JWT_JWKS_URL"
            )
        allowed = _PUBLIC_KEY_ALGORITHMS if self.jwt_secret is None else _SHARED_KEY_ALGORITHMS
        if refused := self.jwt_algorithms - allowed:
            raise ValueError(
                f"ATTAIN_JWT_ALGORITHMS {sorted(refused)} do not fit the kind of key; accepted: {sorted(allowed)}"
            )
        return self

    @property
    def pinned_algorithms(self) -> list[str]:
        """The only signature algorithms a token may use."""
        if self.jwt_algorithms:
            return sorted(self.jwt_algorithms)
        return ["EdDSA", "ES256", "RS256"] if self.jwt_secret is None else ["HS256"]


def read_settings(kind: type[SettingsT]) -> SettingsT:
    """The settings the environment gives; SystemExit with one line that names the variables when they can not be used.

    For the start of a process. Values are not repeated, as they may be secrets.
    """
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config["env_prefix"]
        problems = [
            f"{prefix}{'_'.join(str(part) for part in item['loc'])}".upper() + f": {item['msg']}"
            if item["loc"]
            else item["msg"]
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SystemExit(f"The settings in the environment cannot be used. {'; '.join(problems)}.") from None
