"""Bring the database's three schemas to this version with alembic, or say in one sentence why that cannot be."""

import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from deploy.local.errors import StackError
from shared.db.settings import database_url

SERVICES = ("goals", "tracking", "incentives")
_HISTORIES = Path(__file__).resolve().parents[2] / "migrations"
_CONNECT_TIMEOUT_SECONDS = 10.0


def migrate(url: str) -> None:
    """Upgrade every service's history to its head; nothing happens where it is there already.

    Call it where no event loop runs. Raises `StackError` for a URL that is none, a server that cannot be reached, a
    database of a newer version, and a migration that fails.
    """
    target = _parsed(url)
    _require_reachable(target)
    for service in SERVICES:
        try:
            command.upgrade(_configuration(service, target), "head")
        except CommandError as error:
            raise StackError(
                f"The {service} schema in {_shown(target)} is not one this version can upgrade: {error}."
            ) from error
        except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
            raise StackError(f"Migrating {service} in {_shown(target)} failed: {_first_line(error)}") from error


def require_current_schema(url: str) -> None:
    """Raise `StackError` unless every service's schema is exactly the one of this version."""
    target = _parsed(url)
    _require_reachable(target)
    for service in SERVICES:
        expected = ScriptDirectory.from_config(_configuration(service, target)).get_current_head()
        found = asyncio.run(_current_revision(target, service))
        if found != expected:
            raise StackError(
                f"The {service} schema in {_shown(target)} is at {found or 'nothing'}, this version needs {expected}: "
                "run `attain migrate`."
            )


def _configuration(service: str, target: URL) -> Config:
    configuration = Config(attributes={"database_url": target.render_as_string(hide_password=False)})
    configuration.set_main_option("script_location", str(_HISTORIES / service).replace("%", "%%"))
    return configuration


def _parsed(url: str) -> URL:
    try:
        return database_url(url)
    except ValueError as error:
        raise StackError(f"ATTAIN_DATABASE_URL cannot be used: {error}.") from error


def _require_reachable(target: URL) -> None:
    try:
        asyncio.run(_connect_once(target))
    except (SQLAlchemyError, asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise StackError(
            f"Cannot connect to the database {_shown(target)} (ATTAIN_DATABASE_URL): {_first_line(error)}"
        ) from error


async def _connect_once(target: URL) -> None:
    engine = create_async_engine(target, poolclass=NullPool, connect_args={"timeout": _CONNECT_TIMEOUT_SECONDS})
    async with engine.connect():
        pass


async def _current_revision(target: URL, service: str) -> str | None:
    def revision(connection: Connection) -> str | None:
        return MigrationContext.configure(connection, opts={"version_table_schema": service}).get_current_revision()

    engine = create_async_engine(target, poolclass=NullPool)
    async with engine.connect() as connection:
        return await connection.run_sync(revision)


def _shown(target: URL) -> str:
    return target.set(drivername="postgresql").render_as_string(hide_password=True)


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, SQLAlchemyError) and error.__cause__ else error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
