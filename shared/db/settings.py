"""Where the database is."""

from typing import Annotated

from pydantic import AfterValidator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_ACCEPTED_DRIVERS = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})


def database_url(text: str) -> URL:
    """A URL for asyncpg from `postgresql://…` or `postgresql+asyncpg://…`; ValueError when it is neither.

    libpq's `sslmode` is understood.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("not a database URL; expected postgresql://user:password@host:port/database") from None
    if url.drivername not in _ACCEPTED_DRIVERS:
        raise ValueError(f"{url.drivername}:// is not supported; expected postgresql://")
    ssl_mode = url.query.get("sslmode")
    if ssl_mode is not None:
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": ssl_mode})
    return url.set(drivername="postgresql+asyncpg")


def _checked(text: str) -> str:
    database_url(text)
    return text


class DatabaseSettings(BaseSettings):
    """`ATTAIN_DATABASE_URL`: one database for the whole product, a schema for each service."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_", extra="ignore")

    database_url: Annotated[str, AfterValidator(_checked)]
