"""A versioned thing: one row of a tenant, read by id or page by page, and changed only from its current version.

A new kind is a table with `tenant_id`, `id` and `version`, a class of the domain, and a function each way:

    PEOPLE: Final = VersionedTable("person", people, _person, _person_values, PersonNotFound)

Where every version is published as well, `shared.outbox.published` does both.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    ColumnElement,
    RowMapping,
    Select,
    Table,
    TableValuedAlias,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    update,
)

from shared.db.conditions import among
from shared.db.database import Transaction
from shared.kernel.errors import NotFound, VersionMismatch, check_version

Key = tuple[UUID, UUID]
"""A tenant and the id of one of its things."""

FIRST_KEY: Final[Key] = (UUID(int=0), UUID(int=0))
"""Before every key."""


class Thing(Protocol):
    """Something as it was made, in version 1, or as one of its changes left it, each in the next version."""

    @property
    def version(self) -> int: ...


ThingT = TypeVar("ThingT", bound=Thing)


class VersionedTable(Generic[ThingT]):
    """The things of one kind. Who changes one counts its version; a deleted one stays as a row."""

    def __init__(
        self,
        noun: str,
        table: Table,
        thing_of: Callable[[RowMapping], ThingT],
        values_of: Callable[[ThingT], Mapping[str, object]],
        not_found: type[NotFound],
        *,
        rows: Select[*tuple[object, ...]] | None = None,
        present: ColumnElement[bool] | None = None,
        store_parts: Callable[[Transaction, UUID, Sequence[ThingT]], Awaitable[None]] | None = None,
    ) -> None:
        """`values_of` gives every column but the tenant and the moment: `created_at` and `changed_at` are that of the
        transaction, in a table that has them and unless it gives them. In a table without `id` a tenant has one thing,
        whose id is the tenant's.

        `rows` are what `thing_of` is given, where that is more than the table's columns; `store_parts` stores that.
        `present` is the condition that a row's thing is not deleted.
        """
        self._noun = noun
        self._table = table
        self._id = table.c.get("id", table.c.tenant_id)
        self._thing_of = thing_of
        self._values_of = values_of
        self._not_found = not_found
        self._rows = select(table) if rows is None else rows
        self._present = true() if present is None else present
        self._store_parts = store_parts

    async def find(
        self, tx: Transaction, tenant_id: UUID, thing_id: UUID, *conditions: ColumnElement[bool]
    ) -> ThingT | None:
        """The thing; None where there is none that meets the conditions, such as being in sight."""
        row = await tx.one_or_none(self._of(tenant_id, self._id == thing_id, *conditions))
        return None if row is None else self._thing_of(row)

    async def get(self, tx: Transaction, tenant_id: UUID, thing_id: UUID, *conditions: ColumnElement[bool]) -> ThingT:
        """The thing. Raises the kind's NotFound, also where it does not meet the conditions."""
        return self.found(thing_id, await self.find(tx, tenant_id, thing_id, *conditions))

    async def locked(self, tx: Transaction, tenant_id: UUID, thing_id: UUID) -> ThingT:
        """The thing, which nobody else changes until the end of the transaction. Raises the kind's NotFound.

        What is in other tables is as of when the statement began: whoever stores that locks the tenant before.
        """
        statement = self._of(tenant_id, self._id == thing_id).with_for_update(key_share=True, of=self._table)
        row = await tx.one_or_none(statement)
        return self.found(thing_id, None if row is None else self._thing_of(row))

    async def locked_many(self, tx: Transaction, tenant_id: UUID, thing_ids: Collection[UUID]) -> dict[UUID, ThingT]:
        """Those of these things that there are, by id, each as `locked` gives it."""
        statement = self._of(tenant_id, among(self._id, frozenset(thing_ids))).order_by(self._id)
        rows = await tx.rows(statement.with_for_update(key_share=True, of=self._table))
        return {row[self._id.name]: self._thing_of(row) for row in rows}

    async def for_change(self, tx: Transaction, tenant_id: UUID, thing_id: UUID, expected_version: int) -> ThingT:
        """The thing as `locked` gives it, in the version a change was made from. Raises VersionMismatch."""
        stored = await self.locked(tx, tenant_id, thing_id)
        check_version(stored.version, expected_version)
        return stored

    async def known(self, tx: Transaction, tenant_id: UUID, thing_ids: Collection[UUID]) -> frozenset[UUID]:
        """The ids of those of these things that there are."""
        if not thing_ids:
            return frozenset()
        statement = select(self._id).where(
            self._table.c.tenant_id == tenant_id, self._present, among(self._id, frozenset(thing_ids))
        )
        return frozenset(row[self._id.name] for row in await tx.rows(statement))

    async def used_ids(self, tx: Transaction, tenant_id: UUID, ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of these ids that a thing has, deleted ones among them."""
        statement = select(self._id).where(self._table.c.tenant_id == tenant_id, among(self._id, frozenset(ids)))
        return frozenset(row[self._id.name] for row in await tx.rows(statement))

    async def matching(self, tx: Transaction, tenant_id: UUID, *conditions: ColumnElement[bool]) -> list[ThingT]:
        """Every thing of the tenant that meets the conditions, by id."""
        return [self._thing_of(row) for row in await tx.rows(self._of(tenant_id, *conditions).order_by(self._id))]

    async def page(
        self, tx: Transaction, tenant_id: UUID, after: UUID | None, limit: int | None, *conditions: ColumnElement[bool]
    ) -> list[ThingT]:
        """The next things that meet the conditions, by id, which is the order they were made in; None: all of them."""
        beyond = true() if after is None else self._id > after
        statement = self._of(tenant_id, beyond, *conditions).order_by(self._id).limit(limit)
        return [self._thing_of(row) for row in await tx.rows(statement)]

    async def every(self, tx: Transaction, after: Key, limit: int) -> list[tuple[Key, ThingT]]:
        """The next things of all tenants in scope, deleted ones among them.

        None of them changes before the end of the transaction: what is published of them stays true.
        """
        key = (self._table.c.tenant_id, self._id)
        statement = (
            self._rows.where(tuple_(*key) > tuple_(*(literal(part, Uuid()) for part in after)))
            .order_by(*key)
            .limit(limit)
            .with_for_update(read=True, of=self._table)
        )
        return [((row["tenant_id"], row[self._id.name]), self._thing_of(row)) for row in await tx.rows(statement)]

    async def add(self, tx: Transaction, tenant_id: UUID, added: ThingT) -> ThingT:
        """Store a new thing."""
        await self.add_many(tx, tenant_id, [added])
        return added

    async def add_many(self, tx: Transaction, tenant_id: UUID, added: Sequence[ThingT]) -> None:
        """Store new things, however many in as many statements as for one."""
        if not added:
            return
        moments = self._moments(tx, "created_at", "changed_at")
        rows = [{**moments, **self._values_of(each), "tenant_id": tenant_id} for each in added]
        given = self._given(rows)
        names = list(rows[0])
        await tx.execute(insert(self._table).from_select(names, select(*(given.c[name] for name in names))))
        await self._store_parts_of(tx, tenant_id, added)

    async def save(self, tx: Transaction, tenant_id: UUID, saved: ThingT) -> ThingT:
        """Store the next version of a thing. Raises VersionMismatch unless the one before is the one that is stored."""
        await self.save_many(tx, tenant_id, [saved])
        return saved

    async def save_many(self, tx: Transaction, tenant_id: UUID, saved: Sequence[ThingT]) -> None:
        """Store the next version of each of several things, which nobody else changes: see `locked_many`.

        Raises VersionMismatch unless of each the one before is the one that is stored.
        """
        if not saved:
            return
        moments = self._moments(tx, "changed_at")
        rows = [{**moments, **self._values_of(each), "tenant_id": tenant_id} for each in saved]
        given = self._given(rows)
        statement = (
            update(self._table)
            .where(
                self._table.c.tenant_id == tenant_id,
                self._id == given.c[self._id.name],
                self._table.c.version == given.c.version - 1,
                self._present,
            )
            .values({name: given.c[name] for name in rows[0] if name not in ("tenant_id", "id")})
        )
        if (await tx.execute(statement)).rowcount != len(saved):
            raise VersionMismatch(f"The {self._noun} was changed at the same time.")
        await self._store_parts_of(tx, tenant_id, saved)

    def _given(self, rows: Sequence[Mapping[str, object]]) -> TableValuedAlias:
        """Rows as a table of these columns, typed as those of the thing's table."""
        no_row: ColumnElement[object] = literal_column(f"CAST(NULL AS {self._table.fullname})")
        texts = cast(bindparam("rows", to_json(rows).decode(), type_=Text()), JSON())
        columns = [column(name, self._table.c[name].type) for name in rows[0]]
        return func.json_populate_recordset(no_row, texts).table_valued(*columns, name="given")

    def found(self, thing_id: UUID, thing: ThingT | None) -> ThingT:
        """The thing. Raises the kind's NotFound where there is none."""
        if thing is None:
            raise self._not_found(f"There is no {self._noun} {thing_id}.")
        return thing

    def _of(self, tenant_id: UUID, *conditions: ColumnElement[bool]) -> Select[*tuple[object, ...]]:
        return self._rows.where(self._table.c.tenant_id == tenant_id, self._present, *conditions)

    def _moments(self, tx: Transaction, *names: str) -> dict[str, object]:
        return {name: tx.now for name in names if name in self._table.c}

    async def _store_parts_of(self, tx: Transaction, tenant_id: UUID, things: Sequence[ThingT]) -> None:
        if self._store_parts is not None:
            await self._store_parts(tx, tenant_id, things)
