"""Bring the database's schemas to this version, or say in one sentence why that cannot be."""

import asyncio

import asyncpg
from alembic.util.exc import CommandError
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from deploy.local.errors import StackError
from shared.db.migration import SERVICES, SecretsKeyMissing, upgrade
from shared.db.settings import database_url

_CONNECT_TIMEOUT_SECONDS = 10.0


def migrate(url: str, *, secrets_key: str | None = None) -> None:
    """Upgrade every service's schema to its newest revision; nothing happens where it is there already.

    `secrets_key` is that of ATTAIN_SECRETS_KEY where the environment does not have it.

    Call it from a thread where no event loop runs. Raises `StackError` for a URL that is none, a server that cannot
    be reached, a schema of a newer version, and a migration that fails.
    """
    target = _parsed(url)
    asyncio.run(_require_reachable(target))
    for service in SERVICES:
        try:
            upgrade(service, url, secrets_key=secrets_key)
        except CommandError as error:
            raise StackError(
                f"The {service} schema in {_shown(target)} is not one that this version can upgrade: {error}."
            ) from error
        except SecretsKeyMissing as error:
            raise StackError(error.detail) from error
        except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
            raise StackError(f"Migrating {service} in {_shown(target)} failed: {_first_line(error)}.") from error


def _parsed(url: str) -> URL:
    try:
        return database_url(url)
    except ValueError as error:
        raise StackError(f"ATTAIN_DATABASE_URL cannot be used: {error}.") from error


async def _require_reachable(target: URL) -> None:
    engine = create_async_engine(target, poolclass=NullPool, connect_args={"timeout": _CONNECT_TIMEOUT_SECONDS})
    try:
        async with engine.connect():
            pass
    except (SQLAlchemyError, asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise StackError(
            f"Cannot connect to the database {_shown(target)} (ATTAIN_DATABASE_URL): {_first_line(error)}."
        ) from error


def _shown(target: URL) -> str:
    return target.set(drivername="postgresql").render_as_string(hide_password=True)


def _first_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(cause).__name__
