"""The logins that services connect as: each may take its own service's role and owns nothing."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url

from deploy.local.errors import StackError
from shared.db.migration import SERVICES
from shared.db.settings import database_url

_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_ATTEMPTS: Final = 5


def login_name(service: str) -> str:
    """What a service's login is called."""
    return f"attain_{service}"


def login_url(url: str, service: str, password: str) -> str:
    """The URL of the same database for a service."""
    return make_url(url).set(username=login_name(service), password=password).render_as_string(hide_password=False)


def derived_password(secret: str, service: str) -> str:
    """A password that follows from a secret, so that it need not be stored."""
    return hmac.new(secret.encode(), f"login/{service}".encode(), hashlib.sha256).hexdigest()


def create_logins(url: str, password_of: Callable[[str], str]) -> None:
    """Make the services' logins, or give them their passwords again.

    The schemas are migrated, and `url` is of somebody who may make roles. Call it from a thread where no event loop
    runs. Raises `StackError`.
    """
    try:
        asyncio.run(_create(url, password_of))
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise StackError(f"The logins of the services could not be made: {error}.") from error


async def _create(url: str, password_of: Callable[[str], str]) -> None:
    target = database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(target, timeout=_CONNECT_TIMEOUT_SECONDS)
    try:
        for service in SERVICES:
            await _create_one(connection, service, password_of(service))
    finally:
        await connection.close()


async def _create_one(connection: "asyncpg.Connection[asyncpg.Record]", service: str, password: str) -> None:
    login = login_name(service)
    literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
    attributes = f"LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT PASSWORD {literal}"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with connection.transaction():
                known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", login)
                await connection.execute(f"{'ALTER' if known else 'CREATE'} ROLE {login} {attributes}")
                await connection.execute(f"GRANT {service}_app TO {login}")
            return
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            # Somebody else is at it: roles are of the whole server.
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(0.1 * attempt)
