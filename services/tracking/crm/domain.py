"""Connections to CRMs: what they are told apart by, how their secrets rotate, how their words map to ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar
from uuid import UUID

from shared.kernel.deals import DealStatus
from shared.kernel.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from shared.kernel.text import composed

StatusT = TypeVar("StatusT")

SECRETS_VALID_MAX: Final = 2
OVERLAP_DAYS_MAX: Final = 30


class Source(StrEnum):
    """The kinds of sender a connection can be made for."""

    STANDARD_WEBHOOKS = "standard_webhooks"
    PIPEDRIVE = "pipedrive"
    ZOHO = "zoho"
    FXIAOKE = "fxiaoke"
    SALESFORCE = "salesforce"
    HUBSPOT = "hubspot"


class ConnectionStatus(StrEnum):
    """A disabled connection accepts no delivery; what it has received stays."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Rejection(StrEnum):
    """Why a delivery is not from who it says. For metrics only: the sender is not told."""

    UNKNOWN_CONNECTION = "unknown_connection"
    HEADERS = "headers"
    TIMESTAMP = "timestamp"
    SIGNATURE = "signature"
    ADDRESS = "address"
    """Signed with a secret of the connection, for another address than this service takes for its own."""
    NOT_ALLOWED = "not_allowed"
    """It knows a secret of the connection, and says of itself what the connection does not allow."""


class ConnectionNotFound(NotFound):
    """No connection of the tenant has this id."""

    code = "connection_not_found"
    title = "Connection not found"


class ConnectionChanged(PreconditionFailed):
    """The connection was changed since it was read."""

    code = "connection_changed"
    title = "Connection changed"


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
    """A connection keeps at least one secret: rotate first, or disable the connection."""

    code = "last_secret"
    title = "Last secret"


class InvalidSecret(InvalidInput):
    """The secret is not one that this kind of source signs or authenticates with."""

    code = "invalid_secret"
    title = "Invalid secret"


class Untranslatable(Exception):
    """A delivery that cannot become deals, however often it is tried as it is: it goes to quarantine.

    `reason` is one of a fixed few, `pointer` the place in the body (JSON pointer), `detail` what is wrong there.
    """

    def __init__(self, reason: "QuarantineReason", pointer: str, detail: str) -> None:
        super().__init__(f"{reason}: {pointer}: {detail}")
        self.reason = reason
        self.pointer = pointer
        self.detail = detail


class QuarantineReason(StrEnum):
    """Why deliveries are put in quarantine."""

    NOT_JSON = "not_json"
    NOT_XML = "not_xml"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    STAGE_UNMAPPED = "stage_unmapped"
    API_ACCESS_MISSING = "api_access_missing"
    RECORD_INCOMPLETE = "record_incomplete"
    ADAPTER_FAILED = "adapter_failed"


class RemarkKind(StrEnum):
    """What is to be told of something that was translated all the same."""

    UNKNOWN_MEMBER = "unknown_member"
    """A member that no canonical record has, so that what it holds is not kept."""
    FROM_THE_FUTURE = "from_the_future"
    """A record modified later than its delivery can have been sent: it is ordered by when it was received."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something of a delivery that whoever looks after the connection should know, and where in the body it is."""

    kind: RemarkKind
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class TeamShare:
    """What each member of a deal's team with some role has of the deal: `percent` of 100, credited in `role`."""

    role: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class ProductFields:
    """Where a source's deal has what is sold with it, as dotted paths: `lines` in the deal, the others in each line."""

    lines: str
    sku: str
    quantity: str | None = None
    amount: str | None = None


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """How one CRM's words become ours.

    `stages`: raw stage → status, stronger than a status the source states. `fields`: canonical field → where the
    source has it, as a dotted path into its deal. `custom_fields`: the source's custom field → our name for it.
    `users`: the source's user → the external user id that identities know. `pipelines`: the source's pipeline → our
    name for it. `currency`: of deals for which the source states none. `split_type`: which of the source's kinds of
    split counts; None for all. `teams`: the source's team or department → the external user id that owns what only the
    team owns. `team_roles`: a member's role in the team of a deal → its share. `products`: where what is sold with a
    deal stands, if the source has no place of its own for it. `asks_products`: whether a deal is asked for when a
    webhook tells it without what is sold with it.
    """

    stages: Mapping[str, DealStatus] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    custom_fields: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    pipelines: Mapping[str, str] = field(default_factory=dict)
    currency: str | None = None
    split_type: str | None = None
    teams: Mapping[str, str] = field(default_factory=dict)
    team_roles: Mapping[str, TeamShare] = field(default_factory=dict)
    products: ProductFields | None = None
    asks_products: bool = False

    def status_of(self, stage: object, otherwise: StatusT) -> DealStatus | StatusT:
        """The status that a stage of the source stands for; `otherwise` for one that is not mapped."""
        return self.stages.get(composed(stage), otherwise) if isinstance(stage, str) else otherwise


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret at rest. Without `expires_at` it is valid until it is retired."""

    id: UUID
    ciphertext: str
    created_at: datetime
    expires_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


def with_secret(
    secrets: Sequence[SealedSecret], secret: SealedSecret, *, overlap: timedelta, now: datetime
) -> tuple[SealedSecret, ...] | None:
    """With a new secret, the old one valid for `overlap` more, never longer than it was; None while two are valid."""
    valid = [known for known in secrets if known.is_valid(now)]
    if len(valid) >= SECRETS_VALID_MAX:
        return None
    until = now + overlap
    old = [
        replace(known, expires_at=until if known.expires_at is None else min(known.expires_at, until))
        for known in valid
    ]
    return (*(known for known in old if known.is_valid(now)), secret)


def without_secret(
    secrets: Sequence[SealedSecret], secret_id: UUID, *, now: datetime
) -> tuple[SealedSecret, ...] | None:
    """The valid ones without one of them, the only one left then valid without end; None where that is not valid.

    So taking the new one back undoes a rotation, and there is no time after which none is valid.
    """
    valid = [known for known in secrets if known.is_valid(now)]
    kept = [known for known in valid if known.id != secret_id]
    if len(kept) == len(valid):
        return None
    return tuple(replace(known, expires_at=None) for known in kept) if len(kept) == 1 else tuple(kept)


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

    def rotated(self, secret: SealedSecret, *, overlap: timedelta, now: datetime) -> "Connection":
        """With a new secret, the old one valid for `overlap` more. Raises RotationUnderWay while two are valid."""
        secrets = with_secret(self.secrets, secret, overlap=overlap, now=now)
        if secrets is None:
            raise RotationUnderWay("Two secrets are valid; retire the old one first.")
        return self._changed(now, secrets=secrets)

    def with_retired(self, secret_id: UUID, *, now: datetime) -> "Connection":
        """Without one of its secrets. Raises SecretNotFound, and LastSecret when none would be left."""
        kept = without_secret(self.secrets, secret_id, now=now)
        if kept is None:
            raise SecretNotFound("The connection has no valid secret with this id.")
        if not kept:
            raise LastSecret("This is the only secret of the connection.")
        return self._changed(now, secrets=kept)

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
