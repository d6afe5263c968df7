"""The statements on a table of the newest versions of records and on the table of all versions beside it."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import TextClause, text

_KEY_COLUMNS: Final = 2


class SnapshotSql:
    """The statements on `tracking.<newest>` and `tracking.<versions>`, whose common columns are in `types`.

    `types` has the SQL type of each column in the order it is read and written in: the tenant first, then the record's
    id, `modified_at`, `sequence` and `delivery_id`. Both tables have them as primary key, the newest the first two; the
    versions have `recorded_at` beside them. JSON travels as text.
    """

    def __init__(self, newest: str, versions: str, types: Mapping[str, str]) -> None:
        self._newest = newest
        self._versions = versions
        self._types = types
        self._id = list(types)[1]
        self._names = ", ".join(types)
        self._read = ", ".join(
            f"{{0}}.{name}::text AS {name}" if kind == "jsonb" else f"{{0}}.{name}" for name, kind in types.items()
        )

    def columns_of(self, alias: str) -> str:
        """The select list of a record or a version."""
        return self._read.format(alias)

    def record(self) -> TextClause:
        """Append versions, given as an array for each column, and keep those marked `newest` where they are newer.

        Told are the number of those kept and, in each row, what was held before of a record of which a version is
        marked; the rest of the row is empty where nothing was held of any.
        """
        # Every part of one statement sees the rows as they were before it, so `before` is what the upsert replaces. The
        # look-up is lateral so that no plan, however old its statistics, reads the whole table.
        updated = list(self._types)[_KEY_COLUMNS:]
        return text(
            f"""
            WITH incoming AS MATERIALIZED ({self._incoming()}),
            before AS (
                SELECT held.*
                FROM incoming CROSS JOIN LATERAL (
                    SELECT {self.columns_of(self._newest)} FROM tracking.{self._newest}
                    WHERE {self._newest}.tenant_id = incoming.tenant_id
                        AND {self._newest}.{self._id} = incoming.{self._id}
                    LIMIT 1
                ) AS held
                WHERE incoming.newest
            ),
            versions AS (
                INSERT INTO tracking.{self._versions} ({self._names}, recorded_at)
                SELECT {self._names}, :recorded_at FROM incoming
                ON CONFLICT DO NOTHING
            ),
            kept AS (
                INSERT INTO tracking.{self._newest} AS held ({self._names})
                SELECT {self._names} FROM incoming WHERE newest
                ON CONFLICT (tenant_id, {self._id}) DO UPDATE
                SET {", ".join(f"{name} = excluded.{name}" for name in updated)}
                WHERE (held.modified_at, held.sequence, held.delivery_id)
                    < (excluded.modified_at, excluded.sequence, excluded.delivery_id)
                RETURNING 1
            )
            SELECT counted.kept, before.* FROM (SELECT count(*) AS kept FROM kept) AS counted
            LEFT JOIN before ON true
            """
        )

    def find(self) -> TextClause:
        """The newest version of the record `id` of the tenant."""
        return text(
            f"SELECT {self.columns_of('r')} FROM tracking.{self._newest} AS r"
            f" WHERE r.tenant_id = :tenant_id AND r.{self._id} = :id"
        )

    def find_all(self) -> TextClause:
        """The newest versions of the records `ids` of the `tenant_ids` beside them, in their order."""
        return text(
            f"""
            SELECT held.* FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS asked(tenant_id, id)
            CROSS JOIN LATERAL (
                SELECT {self.columns_of("r")} FROM tracking.{self._newest} AS r
                WHERE r.tenant_id = asked.tenant_id AND r.{self._id} = asked.id LIMIT 1
            ) AS held
            ORDER BY held.tenant_id, held.{self._id}
            """
        )

    def after(self) -> TextClause:
        """The newest versions of the next records of every tenant in scope, by tenant and id."""
        return text(
            f"""
            SELECT {self.columns_of("r")} FROM tracking.{self._newest} AS r
            WHERE (r.tenant_id, r.{self._id}) > (CAST(:after_tenant_id AS uuid), CAST(:after_id AS uuid))
            ORDER BY r.tenant_id, r.{self._id} LIMIT :limit
            """
        )

    def page(self, conditions: str) -> TextClause:
        """The newest versions of a tenant's records `r` after an id, by id, under further conditions."""
        return text(
            f"""
            SELECT {self.columns_of("r")} FROM tracking.{self._newest} AS r
            WHERE r.tenant_id = :tenant_id AND r.{self._id} > :after {conditions}
            ORDER BY r.{self._id} LIMIT :limit
            """
        )

    def versions(self, conditions: str) -> TextClause:
        """The versions `v` of the record `id` of the tenant, the newest first, under further conditions."""
        return text(
            f"""
            SELECT {self.columns_of("v")}, v.recorded_at FROM tracking.{self._versions} AS v
            WHERE v.tenant_id = :tenant_id AND v.{self._id} = :id {conditions}
            ORDER BY v.modified_at DESC, v.sequence DESC, v.delivery_id DESC LIMIT :limit
            """
        )

    def brought(self) -> TextClause:
        """Whether the delivery `delivery_id` brought a version of the record `id` of the tenant: a row or none."""
        return text(
            f"""
            SELECT 1 FROM tracking.{self._versions} AS v
            WHERE v.tenant_id = :tenant_id AND v.{self._id} = :id AND v.delivery_id = :delivery_id LIMIT 1
            """
        )

    def _incoming(self) -> str:
        types = self._types
        arrays = ", ".join(f"CAST(:{name} AS {'text' if kind == 'jsonb' else kind}[])" for name, kind in types.items())
        values = ", ".join(
            f"CAST({name} AS jsonb) AS {name}" if kind == "jsonb" else name for name, kind in types.items()
        )
        return f"SELECT {values}, newest FROM unnest({arrays}, CAST(:newest AS boolean[])) AS t({self._names}, newest)"
