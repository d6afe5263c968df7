"""How the hot statements find their rows in tables whose rows nobody has counted yet, as on the first day."""

import re

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from services.incentives.credits import store as credits
from services.incentives.earnings import store as cells
from services.incentives.ledger import store as ledger
from services.incentives.plans import store as plans
from tests.servers.statements import plan_of


async def fill(url: str) -> None:
    """One tenant's rows of everything a batch of deals looks up, in tables that are never analyzed."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    tenant = "'00000000-0000-0000-0000-000000000001'::uuid"
    number = "lpad(n::text, 32, '0')::uuid"
    try:
        for table in ("deals", "credits", "cells", "ledger_transactions", "ledger_entries"):
            await connection.execute(f"ALTER TABLE incentives.{table} SET (autovacuum_enabled = false)")
        for table, values in {
            "deals": f"{tenant}, {number}, now(), 0, {number}, 'crm', (n % 50)::text,"
            " json_build_object('note', repeat('x', 300))::text",
            "credits": f"{tenant}, {number}, {number}, 'c', {number}, now(), now(), now(), 100, n",
            "cells": f"{tenant}, {number}, {number}, 'c', now(), now(), {number}, {number}, 1, 'USD', 1, 1, 1, 1, 1, 1,"
            " now()",
            "ledger_transactions": f"{tenant}, n, now(), {number}, {number}, {number}, 'c', 'deal', {number}, now(),"
            f" 0, {number}, '[]', ''",
            "ledger_entries": f"{tenant}, n, 1, 'payable:x', 0, 'USD'",
        }.items():
            await connection.execute(
                f"INSERT INTO incentives.{table} SELECT {values} FROM generate_series(1, 20000) AS n"
            )
    finally:
        await connection.close()


HOT = {
    "keep deals": (
        credits._STORE_NEWEST,
        "pk_credits",
        "(tenant_id = newer.tenant_id) AND (deal_id = newer.id)",
    ),
    "deals": (credits._BODIES, "pk_deals", "AND (id = wanted.id)"),
    "deals of users": (credits._BODIES_OF_USERS, "ix_deals_owner", "(owner_external_id = u.external_id)"),
    "deals found": (credits._BODIES_OF_USERS, "pk_deals", "AND (id = deals.id)"),
    "split users": (credits._BODIES_OF_USERS, "pk_deal_split_users", "AND (external_id = u_1.external_id)"),
    "delete credits": (credits._DELETE, "pk_credits", "AND (deal_id = gone.deal_id)"),
    "credits of assignments": (credits._OF_ASSIGNMENTS, "ix_credits_assignment_id", "(assignment_id = wanted.id)"),
    "credits of cells": (credits._OF_CELLS, "ix_credits_cell_id", "(cell_id = wanted.id)"),
    "cells": (cells._BY_ID, "pk_cells", "AND (id = wanted.id)"),
    "cells of assignments": (cells._OF_ASSIGNMENTS, "ix_cells_assignment_id", "(assignment_id = wanted.id)"),
    "states": (plans._STATES, "pk_stale_assignments", "(tenant_id = t.t)"),
    "transactions of cells": (ledger._BALANCES_OF, "ix_ledger_transactions_cell_id", "(cell_id = wanted.id)"),
    "entries": (ledger._BALANCES_OF, "pk_ledger_entries", "AND (sequence = "),
}


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
async def test_rows_are_looked_up_by_key_however_many_there_are(fresh_database: str, filled: bool) -> None:
    if filled:
        await fill(fresh_database)
    for name, (statement, index, condition) in HOT.items():
        plan = await plan_of(fresh_database, "incentives", statement)
        looked_up = rf"Index (Only )?Scan using {index} |Bitmap Index Scan on {index} "
        assert re.search(looked_up, plan), f"{name}: {plan}"
        assert condition in plan, f"{name}: {plan}"
        assert "Seq Scan" not in plan, f"{name}: {plan}"
