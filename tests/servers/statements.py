"""How Postgres means to execute a statement."""

import re

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import make_url


async def plan_of(url: str, service: str, statement: TextClause) -> str:
    """The plan that is kept for a prepared statement of a service, whatever its parameters."""
    sql = str(statement.compile(dialect=PGDialect_asyncpg()))  # type: ignore[no-untyped-call]
    parameters = max(int(number) for number in re.findall(r"\$(\d+)", sql))
    connection = await asyncpg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
        server_settings={"role": f"{service}_app", "plan_cache_mode": "force_generic_plan", "app.tenants": "*"},
    )
    try:
        await connection.execute(f"PREPARE hot AS {sql}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE hot({', '.join(['NULL'] * parameters)})")
    finally:
        await connection.close()
    return "\n".join(row[0] for row in rows)
