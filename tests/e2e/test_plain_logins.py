"""Who the processes of a running stack are to its database."""

import asyncpg

from deploy.local.logins import login_name
from deploy.local.stack import Stack
from shared.db.migration import SERVICES

_SESSIONS = """
    SELECT DISTINCT s.usename AS login, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication,
        r.oid IN (SELECT relowner FROM pg_class) OR r.oid IN (SELECT nspowner FROM pg_namespace)
        OR r.oid IN (SELECT datdba FROM pg_database) OR r.oid IN (SELECT proowner FROM pg_proc) AS owns,
        ARRAY(
            SELECT g.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
            WHERE m.member = r.oid ORDER BY 1
        ) AS granted
    FROM pg_stat_activity AS s JOIN pg_roles AS r ON r.rolname = s.usename
    WHERE s.backend_type = 'client backend' AND s.pid <> pg_backend_pid() AND s.datname = current_database()
    ORDER BY 1
"""


async def test_every_session_of_a_running_stack_is_a_plain_login_that_owns_nothing(stack: Stack) -> None:
    administrator = await asyncpg.connect(stack.database_url)
    try:
        sessions = await administrator.fetch(_SESSIONS)
    finally:
        await administrator.close()
    assert [tuple(session) for session in sessions] == [
        (login_name(service), False, False, False, False, False, False, [f"{service}_app"])
        for service in sorted(SERVICES)
    ]
