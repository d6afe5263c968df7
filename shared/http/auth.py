"""Who is calling: bearer tokens (JWT) with pinned algorithms, and the roles they carry.

A token has `tenant` (UUID), `roles`, `exp`, `iss`, `aud`, and `sub`, the person's id, unless it speaks for a service.
It is taken from the `Authorization` header only, event streams included (a stream client built on fetch can set it):
a token in a URL ends up in logs and histories.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

import jwt
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jwt import PyJWK
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.http.keys import SigningKeys
from shared.http.settings import HttpSettings
from shared.kernel.approvals import Actor
from shared.kernel.errors import Forbidden, Unauthenticated

_CLOCK_SKEW_SECONDS_MAX: Final = 10


class Role(StrEnum):
    """What a caller may be. A rep sees itself, a manager its subtree; the others see their tenant."""

    ADMIN = "admin"
    REVOPS = "revops"
    MANAGER = "manager"
    REP = "rep"
    FINANCE = "finance"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller. `person_id` is None for a service.

    `expires_at`: from when the caller's token is refused; None when it was no token.
    """

    tenant_id: UUID
    person_id: UUID | None
    roles: frozenset[Role]
    expires_at: datetime | None = field(default=None, compare=False)

    @property
    def actor(self) -> Actor:
        """The caller as whoever did something: the same person by any of its tokens, or a service."""
        return Actor.of(self.person_id)

    def has(self, *roles: Role) -> bool:
        """Whether the caller has any of these roles."""
        return not self.roles.isdisjoint(roles)


class TokenMissing(Unauthenticated):
    """The request has no bearer token in its Authorization header."""

    code = "token_missing"
    title = "Token missing"


class TokenRefused(Unauthenticated):
    """The token is expired, malformed, not for this service, or not signed by the configured key."""

    code = "token_refused"
    title = "Token refused"


class RoleMissing(Forbidden):
    """The caller has none of the roles this needs."""

    code = "role_missing"
    title = "Role missing"


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")

    tenant: UUID
    sub: UUID | None = None
    roles: frozenset[Role] = Field(min_length=1)
    exp: datetime


class Authenticator:
    """Turns a token into a Principal, with the key and algorithms of the settings."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._algorithms = settings.pinned_algorithms
        self._jwks = (
            None
            if settings.jwt_jwks_url is None
            else SigningKeys(settings.jwt_jwks_url, stale_seconds_max=settings.jwt_jwks_stale_seconds_max)
        )

    async def principal(self, token: str) -> Principal:
        """The caller a token authenticates. Raises TokenRefused or KeysUnavailable."""
        try:
            claims = jwt.decode(
                token,
                await self._key(token),
                algorithms=self._algorithms,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=_CLOCK_SKEW_SECONDS_MAX,
                options={"require": ["exp", "iss", "aud"]},
            )
            known = _Claims.model_validate(claims)
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The token has expired.") from None
        except (jwt.PyJWTError, ValidationError) as error:
            raise TokenRefused("The token is not valid for this service.") from error
        if known.sub is None and known.roles != {Role.SERVICE}:
            raise TokenRefused("The token names no person and is not that of a service.")
        return Principal(
            tenant_id=known.tenant,
            person_id=known.sub,
            roles=known.roles,
            expires_at=known.exp + timedelta(seconds=_CLOCK_SKEW_SECONDS_MAX),
        )

    async def _key(self, token: str) -> str | PyJWK:
        settings = self._settings
        if settings.jwt_secret is not None:
            return settings.jwt_secret.get_secret_value()
        if settings.jwt_public_key is not None:
            return settings.jwt_public_key
        if self._jwks is None:
            raise TypeError("HttpSettings holds exactly one key")
        key = await self._jwks.key(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise TokenRefused("The token is not signed by a key of the identity provider.")
        return key


def issue_token(
    settings: HttpSettings,
    *,
    tenant_id: UUID,
    person_id: UUID | None,
    roles: frozenset[Role],
    ttl_seconds: int,
) -> str:
    """A token signed with the development secret. ValueError when another key is configured."""
    if settings.jwt_secret is None:
        raise ValueError("tokens are issued only with ATTAIN_JWT_SECRET; ask your identity provider for one")
    claims: dict[str, object] = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "tenant": str(tenant_id),
        "roles": sorted(roles),
        "exp": datetime.now(UTC) + timedelta(seconds=ttl_seconds),
    }
    if person_id is not None:
        claims["sub"] = str(person_id)
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), settings.pinned_algorithms[0])


_bearer: Final = HTTPBearer(scheme_name="bearer", bearerFormat="JWT", auto_error=False)


async def current_principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    """Dependency: the caller. 401 without a valid token."""
    if credentials is None:
        raise TokenMissing("Send a token: Authorization: Bearer <token>.")
    authenticator: Authenticator = request.app.state.authenticator
    return await authenticator.principal(credentials.credentials)


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]


def require(*roles: Role) -> Callable[[Principal], Awaitable[Principal]]:
    """Dependency: the caller, who has one of these roles. `Annotated[Principal, Depends(require(Role.ADMIN))]`."""

    async def with_role(principal: CurrentPrincipal) -> Principal:
        if not principal.has(*roles):
            raise RoleMissing(f"This needs one of the roles {', '.join(sorted(roles))}.")
        return principal

    return with_role
