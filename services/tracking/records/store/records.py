"""The statements on the newest versions of one kind of record and on all versions beside them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from inspect import signature
from operator import attrgetter
from typing import Final, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

from sqlalchemy import Row, RowMapping, Table, TextClause, text

from services.tracking.records.columns import Column
from shared.contracts.base import RecordEvent
from shared.db.arrays import Element, array_text
from shared.db.database import Transaction
from shared.db.failures import Collision
from shared.kernel.deals import RecordVersion
from shared.kernel.org import CrmUser
from shared.kernel.records import RecordFacts

EventT = TypeVar("EventT", bound=RecordEvent)
EventT_co = TypeVar("EventT_co", bound=RecordEvent, covariant=True)
FactsT = TypeVar("FactsT", bound=RecordFacts)
FilterT = TypeVar("FilterT")

RecordKey = tuple[UUID, UUID]
"""A tenant and a record of it."""
VersionKey = tuple[datetime, int, UUID]
"""What a version is ordered by."""
StoredRows = Sequence[Row[*tuple[object, ...]]]
"""What recording answers: how many of the newest were replaced, and what was stored before."""

_VERSION: Final = ("modified_at", "sequence", "delivery_id")
_FACTS_AT: Final = 1 + len(_VERSION)
"""Where the facts begin in what is read of a record before: the first of them is its id."""
_NOTHING_BEFORE: Final = UUID(int=0)


class RecordedTogether(Collision):
    """Two transactions recorded versions of one record at the same time; this one must be done again."""


class RecordedVersion(NamedTuple, Generic[EventT_co]):
    """A version of a record and when it was recorded."""

    event: EventT_co
    recorded_at: datetime

    @property
    def key(self) -> VersionKey:
        """What it is ordered by."""
        return (self.event.modified_at, self.event.sequence, self.event.delivery_id)


class RecordStore(ABC, Generic[EventT, FactsT, FilterT]):
    """The statements on `newest` and on `versions`, which are made of `columns`: the tenant first, then the record.

    The primary key of the newest are these two, that of the versions the three that order them too; the versions have
    `recorded_at` beside the columns. JSON travels as text. `facts` are made with the values of their columns and their
    version.
    """

    def __init__(
        self,
        event: type[EventT],
        facts: Callable[..., FactsT],
        columns: Sequence[Column],
        newest: Table,
        versions: Table,
    ) -> None:
        self._event = event
        self._facts = facts
        self._columns = columns
        self._newest = newest.fullname
        self._versions = versions.fullname
        self._id = columns[1].name
        self._attributes = attrgetter(*(column.attribute or column.name for column in columns))
        fact_names = list(signature(facts).parameters)
        self._version_place = fact_names.index("version")
        fact_names.remove("version")
        by_name = {column.name: column for column in columns}
        self._fact_columns = [by_name[name] for name in ("tenant_id", *_VERSION, *fact_names)]
        self._fact_readers = [
            (place, column.fact) for place, column in enumerate(by_name[name] for name in fact_names) if column.fact
        ]
        self.record_statement: Final = text(self._recording())
        self._find = text(
            f"SELECT {self._read('r')} FROM {self._newest} AS r WHERE r.tenant_id = :tenant_id AND r.{self._id} = :id"
        )
        self._find_all = text(
            f"""
            SELECT stored.* FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS named(tenant_id, id)
            CROSS JOIN LATERAL (
                SELECT {self._read("r")} FROM {self._newest} AS r
                WHERE r.tenant_id = named.tenant_id AND r.{self._id} = named.id LIMIT 1
            ) AS stored
            ORDER BY stored.tenant_id, stored.{self._id}
            """
        )
        self._find_versions = text(
            f"""
            SELECT named.tenant_id, named.id, stored.*
            FROM unnest(CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[])) AS named(tenant_id, id)
            CROSS JOIN LATERAL (
                SELECT {", ".join(_VERSION)} FROM {self._newest} AS r
                WHERE r.tenant_id = named.tenant_id AND r.{self._id} = named.id LIMIT 1
            ) AS stored
            """
        )
        self._after = text(
            f"""
            SELECT {self._read("r")} FROM {self._newest} AS r
            WHERE (r.tenant_id, r.{self._id}) > (CAST(:after_tenant_id AS uuid), CAST(:after_id AS uuid))
            ORDER BY r.tenant_id, r.{self._id} LIMIT :limit
            """
        )
        self._unrecorded = text(
            f"""
            SELECT named.n FROM unnest(
                CAST(:tenant_ids AS uuid[]), CAST(:ids AS uuid[]), CAST(:modified_at AS timestamptz[]),
                CAST(:sequence AS bigint[]), CAST(:delivery_id AS uuid[])
            ) WITH ORDINALITY AS named(tenant_id, id, modified_at, sequence, delivery_id, n)
            LEFT JOIN LATERAL (
                SELECT 1 AS stored FROM {self._versions} AS v
                WHERE v.tenant_id = named.tenant_id AND v.{self._id} = named.id AND v.modified_at = named.modified_at
                    AND v.sequence = named.sequence AND v.delivery_id = named.delivery_id LIMIT 1
            ) AS found ON true
            WHERE found.stored IS NULL
            """
        )
        self._brought = text(
            f"""
            SELECT 1 FROM {self._versions} AS v
            WHERE v.tenant_id = :tenant_id AND v.{self._id} = :id AND v.delivery_id = :delivery_id LIMIT 1
            """
        )

    @abstractmethod
    def _seen_by(self, users: Collection[CrmUser]) -> tuple[str, dict[str, object]]:
        """The condition on the record `r` that it concerns one of the users, and its parameters."""

    @abstractmethod
    def _wanted(self, wanted: FilterT) -> tuple[Sequence[str], dict[str, object]]:
        """The conditions on the record `r` that a filter comes to, and their parameters."""

    def arrays(self, versions: Sequence[EventT], newest: Sequence[bool]) -> Mapping[str, str]:
        """What `record` takes: `versions` are distinct and sorted by tenant, record and version.

        `newest` marks at most one of each record.
        """
        values = zip(*map(self._attributes, versions), strict=True)
        columns = {column.name: _array(column, stated) for column, stated in zip(self._columns, values, strict=True)}
        return {**columns, "newest": array_text(newest)}

    async def record(self, tx: Transaction, _versions: Sequence[EventT], arrays: Mapping[str, str]) -> StoredRows:
        """Append versions, and store those marked as newest as such where they are newer than what is stored."""
        return (await tx.execute(self.record_statement, {**arrays, "recorded_at": tx.now})).all()

    def with_stored(
        self, versions: Sequence[EventT], newest: Sequence[bool], rows: StoredRows
    ) -> list[tuple[EventT, FactsT | None]]:
        """The versions marked `newest`, each with what was stored of its record before, as `record` answered.

        Raises RecordedTogether when what was stored changed while the statement ran.
        """
        before = {
            (columns[0], columns[_FACTS_AT]): self._facts_of(columns) for _, *columns in rows if columns[0] is not None
        }
        marked = [
            (event, before.get((event.tenant_id, event.id)))
            for event, is_newest in zip(versions, newest, strict=True)
            if is_newest
        ]
        if sum(facts is None or facts.version < event.version for event, facts in marked) != rows[0][0]:
            raise RecordedTogether("Records were changed by another transaction at the same time.")
        return marked

    async def page(
        self,
        tx: Transaction,
        tenant_id: UUID,
        users: Collection[CrmUser] | None,
        wanted: FilterT,
        *,
        after: UUID | None,
        limit: int,
    ) -> list[EventT]:
        """Records that concern one of some users (None: all records), by id."""
        conditions, parameters = self._wanted(wanted)
        if users is not None:
            seen, seen_parameters = self._seen_by(users)
            conditions, parameters = [*conditions, seen], parameters | seen_parameters
        parameters |= {"tenant_id": tenant_id, "after": after or _NOTHING_BEFORE, "limit": limit}
        return [self._stated(row) for row in await tx.rows(self.page_statement(conditions), parameters)]

    def page_statement(self, conditions: Sequence[str]) -> TextClause:
        """The newest versions of a tenant's records `r` after an id, by id, under further conditions."""
        return text(
            f"""
            SELECT {self._read("r")} FROM {self._newest} AS r
            WHERE {" AND ".join(("r.tenant_id = :tenant_id", f"r.{self._id} > :after", *conditions))}
            ORDER BY r.{self._id} LIMIT :limit
            """
        )

    async def find(self, tx: Transaction, tenant_id: UUID, record_id: UUID) -> EventT | None:
        """The newest version of a record of the tenant."""
        row = await tx.one_or_none(self._find, {"tenant_id": tenant_id, "id": record_id})
        return None if row is None else self._stated(row)

    async def find_all(self, tx: Transaction, keys: Collection[RecordKey]) -> list[EventT]:
        """The newest versions of these records, in their order; those that are not stored are left out."""
        return [self._stated(row) for row in await tx.rows(self._find_all, _named(keys))]

    async def find_versions(self, tx: Transaction, keys: Collection[RecordKey]) -> dict[RecordKey, RecordVersion]:
        """Which version of these records is the newest; those that are not stored are left out."""
        rows = await tx.rows(self._find_versions, _named(keys))
        return {(row["tenant_id"], row["id"]): RecordVersion(*(row[name] for name in _VERSION)) for row in rows}

    async def unrecorded(self, tx: Transaction, versions: Sequence[tuple[RecordKey, RecordVersion]]) -> list[int]:
        """The positions of those versions that are not stored."""
        parameters: dict[str, object] = {
            "tenant_ids": [key[0] for key, _ in versions],
            "ids": [key[1] for key, _ in versions],
            "modified_at": [version.modified_at for _, version in versions],
            "sequence": [version.sequence for _, version in versions],
            "delivery_id": [version.delivery_id for _, version in versions],
        }
        return [row["n"] - 1 for row in await tx.rows(self._unrecorded, parameters)]

    async def after(self, tx: Transaction, key: RecordKey, *, limit: int) -> list[EventT]:
        """The newest versions of the next records of every tenant in the transaction's scope, by tenant and record."""
        parameters = {"after_tenant_id": key[0], "after_id": key[1], "limit": limit}
        return [self._stated(row) for row in await tx.rows(self._after, parameters)]

    async def is_brought_by(self, tx: Transaction, tenant_id: UUID, record_id: UUID, delivery_id: UUID) -> bool:
        """Whether the delivery brought a version of the record."""
        parameters = {"tenant_id": tenant_id, "id": record_id, "delivery_id": delivery_id}
        return await tx.one_or_none(self._brought, parameters) is not None

    async def versions(
        self, tx: Transaction, tenant_id: UUID, record_id: UUID, *, before: VersionKey | None, limit: int
    ) -> list[RecordedVersion[EventT]]:
        """Versions of a record of the tenant, newest first."""
        parameters: dict[str, object] = {"tenant_id": tenant_id, "id": record_id, "limit": limit}
        condition = ""
        if before is not None:
            # The months after it are left out by the time alone.
            condition = (
                "AND v.modified_at <= :modified_at"
                " AND (v.modified_at, v.sequence, v.delivery_id) < (:modified_at, :sequence, :delivery_id)"
            )
            parameters |= dict(zip(_VERSION, before, strict=True))
        statement = text(
            f"""
            SELECT {self._read("v")}, v.recorded_at FROM {self._versions} AS v
            WHERE v.tenant_id = :tenant_id AND v.{self._id} = :id {condition}
            ORDER BY v.modified_at DESC, v.sequence DESC, v.delivery_id DESC LIMIT :limit
            """
        )
        return [RecordedVersion(self._stated(row), row["recorded_at"]) for row in await tx.rows(statement, parameters)]

    def _recording(self) -> str:
        """Append versions, given as an array for each column, and store those marked `newest` where they are newer.

        Returned are the number of those stored and, in each row, the facts of what was stored before of a record of
        which a version is marked; the rest of the row is empty where nothing was stored of any.
        """
        # What is replaced is what stands there when the row is locked, whoever has put it there. `newer` sees the rows
        # as they were before the statement: where another transaction changed one of these meanwhile, the number of
        # those replaced is too small. The look-up is lateral so that no plan, however old its statistics, reads the
        # whole table.
        fact_names = ", ".join(column.name for column in self._fact_columns)
        names = ", ".join(column.name for column in self._columns)
        arrays = ", ".join(
            f"CAST(CAST(:{column.name} AS text) AS {'text' if column.document else column.type}[])"
            for column in self._columns
        )
        values = ", ".join(
            f"CAST({column.name} AS jsonb) AS {column.name}" if column.document else column.name
            for column in self._columns
        )
        return f"""
            WITH incoming AS MATERIALIZED (
                SELECT {values}, newest
                FROM unnest({arrays}, CAST(CAST(:newest AS text) AS boolean[])) AS t({names}, newest)
            ),
            versions AS (
                INSERT INTO {self._versions} ({names}, recorded_at)
                SELECT {names}, :recorded_at FROM incoming
                ON CONFLICT DO NOTHING
            ),
            replaced AS (
                INSERT INTO {self._newest} AS stored ({names})
                SELECT {names} FROM incoming WHERE newest
                ON CONFLICT (tenant_id, {self._id}) DO UPDATE
                SET {", ".join(f"{column.name} = excluded.{column.name}" for column in self._columns[2:])}
                WHERE (stored.modified_at, stored.sequence, stored.delivery_id)
                    < (excluded.modified_at, excluded.sequence, excluded.delivery_id)
                RETURNING WITH (OLD AS before, NEW AS after)
                    after.tenant_id AS after_tenant_id, after.{self._id} AS after_id,
                    {self._read_facts("before")}
            ),
            newer AS (
                SELECT stored.*
                FROM incoming CROSS JOIN LATERAL (
                    SELECT {self._read_facts("r")} FROM {self._newest} AS r
                    WHERE r.tenant_id = incoming.tenant_id AND r.{self._id} = incoming.{self._id}
                    LIMIT 1
                ) AS stored
                WHERE incoming.newest AND (incoming.tenant_id, incoming.{self._id}) NOT IN (
                    SELECT after_tenant_id, after_id FROM replaced
                )
            )
            SELECT counted.replaced, before.* FROM (SELECT count(*) AS replaced FROM replaced) AS counted
            LEFT JOIN (
                SELECT {fact_names} FROM replaced WHERE tenant_id IS NOT NULL UNION ALL SELECT {fact_names} FROM newer
            ) AS before ON true
            """

    def _read(self, alias: str) -> str:
        return _selected(self._columns, alias)

    def _read_facts(self, alias: str) -> str:
        return _selected(self._fact_columns, alias)

    def _facts_of(self, columns: Sequence[object]) -> FactsT:
        """The facts in the columns of `_read_facts`."""
        version = RecordVersion(*cast(VersionKey, columns[1:_FACTS_AT]))
        values = list(columns[_FACTS_AT:])
        for place, read in self._fact_readers:
            values[place] = read(values[place])
        values.insert(self._version_place, version)
        return self._facts(*values)

    def _stated(self, row: RowMapping) -> EventT:
        """The event in the columns of `_read`."""
        documents = {column.name: column.document.read(row[column.name]) for column in self._columns if column.document}
        return self._event.model_validate({**row, "id": row[self._id], **documents})


def _array(column: Column, stated: Sequence[Element]) -> str:
    """What a column is in several versions; nothing where none states it, as a shorter array is filled up with NULL."""
    if column.document is not None:
        return array_text([*map(column.document.write, stated)] if any(stated) else ())
    return array_text(() if stated[0] is None and stated.count(None) == len(stated) else stated)


def _selected(columns: Sequence[Column], alias: str) -> str:
    return ", ".join(
        f"{alias}.{column.name}::text AS {column.name}" if column.document else f"{alias}.{column.name}"
        for column in columns
    )


def _named(keys: Collection[RecordKey]) -> dict[str, object]:
    ordered = sorted(keys)
    return {"tenant_ids": [tenant_id for tenant_id, _ in ordered], "ids": [record_id for _, record_id in ordered]}
