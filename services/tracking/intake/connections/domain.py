"""Connections to CRMs: what identifies them, how their secrets rotate, how their words map to ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.tracking.intake.sources.domain import Source, SourceMapping
from shared.kernel.errors import Conflict, InvalidInput, NotFound
from shared.kernel.rotation import SealedSecret, with_secret, without_secret


class ConnectionStatus(StrEnum):
    """A disabled connection accepts no delivery; what it has received stays."""

    ACTIVE = "active"
    DISABLED = "disabled"


class ConnectionNotFound(NotFound):
    """No connection of the tenant has this id."""

    code = "connection_not_found"
    title = "Connection not found"


class InvalidAllowList(InvalidInput):
    """The connection restricts its sender to what the source does not say of itself, or fails to restrict it."""

    code = "invalid_allow_list"
    title = "Invalid allow-list"


class InvalidApiAccess(InvalidInput):
    """The access is not one to the API of the connection's source."""

    code = "invalid_api_access"
    title = "Invalid API access"


class SecretNotFound(NotFound):
    """The connection has no valid secret with this id."""

    code = "secret_not_found"
    title = "Secret not found"


class RotationUnderWay(Conflict):
    """Two secrets are valid already: retire the old one before the next rotation."""

    code = "rotation_under_way"
    title = "Rotation under way"


class LastSecret(Conflict):
    """A connection has at least one secret: rotate first, or disable the connection."""

    code = "last_secret"
    title = "Last secret"


@dataclass(frozen=True, slots=True)
class Connection:
    """One CRM of one tenant. Deals carry `identity_source` as their source; identities are looked up by it.

    `allowed`: what the sender may say of itself, such as its organisation's id, by name. `api`: the sealed credentials
    for the source's API; None where there is no access to it.
    """

    tenant_id: UUID
    id: UUID
    source: Source
    name: str
    identity_source: str
    status: ConnectionStatus
    secrets: tuple[SealedSecret, ...]
    mapping: SourceMapping
    version: int
    created_at: datetime
    updated_at: datetime
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    api: str | None = None

    @property
    def hook_path(self) -> str:
        """Where its source sends to, on this service."""
        return f"/hooks/{self.id}"

    @property
    def has_api_access(self) -> bool:
        """Whether its source's API may be called."""
        return self.api is not None

    def rotated(self, secret: SealedSecret, *, overlap: timedelta, now: datetime) -> "Connection":
        """With a new secret, the old one valid for `overlap` more. Raises RotationUnderWay while two are valid."""
        secrets = with_secret(self.secrets, secret, overlap=overlap, now=now)
        if secrets is None:
            raise RotationUnderWay("Two secrets are valid; retire the old one first.")
        return self._changed(now, secrets=secrets)

    def with_retired(self, secret_id: UUID, *, now: datetime) -> "Connection":
        """Without one of its secrets. Raises SecretNotFound, and LastSecret when none would be left."""
        remaining = without_secret(self.secrets, secret_id, now=now)
        if remaining is None:
            raise SecretNotFound("The connection has no valid secret with this id.")
        if not remaining:
            raise LastSecret("This is the only secret of the connection.")
        return self._changed(now, secrets=remaining)

    def edited(
        self,
        *,
        name: str | None,
        status: ConnectionStatus | None,
        mapping: SourceMapping | None,
        allowed: Mapping[str, tuple[str, ...]] | None,
        now: datetime,
    ) -> "Connection":
        """With what is given changed."""
        return replace(
            self._changed(now, secrets=self.secrets),
            name=name or self.name,
            status=status or self.status,
            mapping=mapping or self.mapping,
            allowed=self.allowed if allowed is None else allowed,
        )

    def with_api(self, credentials: str | None, *, now: datetime) -> "Connection":
        """With these sealed credentials for its source's API, or without access to it."""
        return replace(self._changed(now, secrets=self.secrets), api=credentials)

    def _changed(self, now: datetime, *, secrets: tuple[SealedSecret, ...]) -> "Connection":
        return replace(self, secrets=secrets, version=self.version + 1, updated_at=now)


@dataclass(frozen=True, slots=True)
class OpenSecret:
    """A secret as the sender knows it, and the Unix time it is valid until."""

    value: str
    expires_at_seconds: float | None


@dataclass(frozen=True, slots=True)
class Sender:
    """What the hot path needs to know of a connection."""

    tenant_id: UUID
    connection_id: UUID
    source: Source
    secrets: Sequence[OpenSecret]
    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def valid_secrets(self, now_seconds: float) -> list[str]:
        """The secrets that count at a Unix time."""
        return [
            secret.value
            for secret in self.secrets
            if secret.expires_at_seconds is None or now_seconds < secret.expires_at_seconds
        ]
