"""The position of each consumer group, stored in Postgres and moved by compare-and-swap."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import text

from shared.db.database import Transaction
from shared.db.tables import TransportTables
from shared.kafka.domain import Partition, Swap


class Positions:
    """The stored positions of one group. Positions of other groups are never touched."""

    def __init__(self, tables: TransportTables, group: str) -> None:
        self._group = group
        table = tables.consumer_positions.fullname
        self._read = text(
            f"""
            SELECT p.topic, p.partition, p.next_offset
            FROM {table} AS p
            JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS w (topic, partition)
                ON p.topic = w.topic AND p.partition = w.partition
            WHERE p."group" = :group
            """
        )
        self._rewind = text(
            f"""
            UPDATE {table} SET next_offset = :offset
            WHERE "group" = :group AND topic = :topic AND partition = :partition AND next_offset > :offset
            """
        )
        # The rows are locked in one order, so that two consumers who both believe they own partitions never deadlock.
        # The check is made on the newest version of a row, after any wait for its lock.
        self._swap = text(
            f"""
            WITH wanted AS (
                SELECT topic, partition, expected, next_offset
                FROM unnest(
                    CAST(:topics AS text[]), CAST(:partitions AS int[]),
                    CAST(:expected AS bigint[]), CAST(:next_offsets AS bigint[])
                ) AS w (topic, partition, expected, next_offset)
            ), taken AS (
                INSERT INTO {table} ("group", topic, partition, next_offset)
                SELECT :group, topic, partition, next_offset FROM wanted
                WHERE expected IS NULL ORDER BY topic, partition
                ON CONFLICT DO NOTHING
                RETURNING topic, partition
            ), locked AS (
                SELECT p.topic, p.partition, w.next_offset
                FROM {table} AS p JOIN wanted AS w ON p.topic = w.topic AND p.partition = w.partition
                WHERE p."group" = :group AND p.next_offset = w.expected
                ORDER BY p.topic, p.partition
                FOR UPDATE OF p
            ), moved AS (
                UPDATE {table} AS p SET next_offset = locked.next_offset
                FROM locked
                WHERE p."group" = :group AND p.topic = locked.topic AND p.partition = locked.partition
                RETURNING p.topic, p.partition
            )
            SELECT topic, partition FROM taken UNION ALL SELECT topic, partition FROM moved
            """
        )

    async def rewind(self, tx: Transaction, partition: Partition, offset: int) -> None:
        """Have the group read again from an offset that lies behind it.

        Replays change nothing where they are not needed. A consumer at work takes notice within seconds.
        """
        await tx.execute(
            self._rewind,
            {"group": self._group, "topic": partition.topic, "partition": partition.number, "offset": offset},
        )

    async def read(self, tx: Transaction, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        """The stored next offset of each of the partitions, None where there is none yet."""
        ordered = sorted(partitions)
        rows = await tx.rows(
            self._read,
            {
                "group": self._group,
                "topics": [partition.topic for partition in ordered],
                "partitions": [partition.number for partition in ordered],
            },
        )
        found: dict[Partition, int | None] = dict.fromkeys(ordered)
        found.update({Partition(row["topic"], row["partition"]): row["next_offset"] for row in rows})
        return found

    async def swap(self, tx: Transaction, swaps: Sequence[Swap]) -> frozenset[Partition]:
        """Move the positions that still are where they are expected, and say which those were.

        Waits for another transaction that is moving one of them. The caller rolls back if any is missing.
        """
        rows = await tx.rows(
            self._swap,
            {
                "group": self._group,
                "topics": [swap.partition.topic for swap in swaps],
                "partitions": [swap.partition.number for swap in swaps],
                "expected": [swap.expected for swap in swaps],
                "next_offsets": [swap.next_offset for swap in swaps],
            },
        )
        return frozenset(Partition(row["topic"], row["partition"]) for row in rows)
