"""Every statement on records that are put together."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, text

from services.tracking.intake.inbox.domain.records import Key, Record, Stamped
from shared.db.database import Transaction

_KEYS: Final = """unnest(
    CAST(:tenant_ids AS uuid[]), CAST(:connection_ids AS uuid[]), CAST(:objects AS text[]),
    CAST(:external_ids AS text[])
) AS wanted(tenant_id, connection_id, object_name, external_id)"""
_MAKE: Final = text(
    f"""
    INSERT INTO tracking.records (tenant_id, connection_id, object_name, external_id, fields, is_whole, merges)
    SELECT tenant_id, connection_id, object_name, external_id, '{{}}', false, 0 FROM {_KEYS}
    ON CONFLICT DO NOTHING
    """
)
_FIND: Final = f"""
    SELECT stored.* FROM {_KEYS} CROSS JOIN LATERAL (
        SELECT tenant_id, connection_id, object_name, external_id, CAST(fields AS text) AS fields, is_whole, merges
        FROM tracking.records AS r
        WHERE r.tenant_id = wanted.tenant_id AND r.connection_id = wanted.connection_id
            AND r.object_name = wanted.object_name AND r.external_id = wanted.external_id
        LIMIT 1 {{lock}}
    ) AS stored
"""
_SAVE: Final = text(
    """
    UPDATE tracking.records AS r SET fields = CAST(new.fields AS jsonb), is_whole = new.is_whole, merges = new.merges
    FROM unnest(
        CAST(:connection_ids AS uuid[]), CAST(:objects AS text[]), CAST(:external_ids AS text[]),
        CAST(:fields AS text[]), CAST(:whole AS boolean[]), CAST(:merges AS bigint[])
    ) AS new(connection_id, object_name, external_id, fields, is_whole, merges)
    WHERE r.tenant_id = ANY(:tenant_ids) AND r.connection_id = new.connection_id AND r.object_name = new.object_name
        AND r.external_id = new.external_id
    """
)


async def lock(tx: Transaction, keys: Collection[Key]) -> dict[Key, Record]:
    """These records, made where there are none, and nobody else's until the end of the transaction."""
    if not keys:
        return {}
    parameters = _parameters(keys)
    await tx.execute(_MAKE, parameters)
    return {_key(row): _record(row) for row in await tx.rows(text(_FIND.format(lock="FOR UPDATE")), parameters)}


async def find(tx: Transaction, keys: Collection[Key]) -> dict[Key, Record]:
    """These records as they are; an empty one where there is none."""
    if not keys:
        return {}
    rows = await tx.rows(text(_FIND.format(lock="")), _parameters(keys))
    return dict.fromkeys(keys, Record()) | {_key(row): _record(row) for row in rows}


async def save(tx: Transaction, records: Mapping[Key, Record]) -> None:
    """Store records that are locked."""
    if not records:
        return
    ordered = sorted(records)
    await tx.execute(
        _SAVE,
        {
            "tenant_ids": sorted({key[0] for key in ordered}),
            "connection_ids": [key[1] for key in ordered],
            "objects": [key[2] for key in ordered],
            "external_ids": [key[3] for key in ordered],
            "fields": [_fields_text(records[key]) for key in ordered],
            "whole": [records[key].is_whole for key in ordered],
            "merges": [records[key].merges for key in ordered],
        },
    )


def _parameters(keys: Collection[Key]) -> dict[str, object]:
    # In the order of the primary key, so that two transactions never wait for each other in a circle.
    ordered = sorted(keys)
    return {
        "tenant_ids": [key[0] for key in ordered],
        "connection_ids": [key[1] for key in ordered],
        "objects": [key[2] for key in ordered],
        "external_ids": [key[3] for key in ordered],
    }


def _key(row: RowMapping) -> Key:
    return (row["tenant_id"], row["connection_id"], row["object_name"], row["external_id"])


def _record(row: RowMapping) -> Record:
    fields = {
        name: Stamped(value, datetime.fromisoformat(at), sequence)
        for name, (value, at, sequence) in json.loads(row["fields"]).items()
    }
    return Record(fields, row["is_whole"], row["merges"])


def _fields_text(record: Record) -> str:
    fields = {name: (each.value, each.at.isoformat(), each.sequence) for name, each in record.fields.items()}
    return json.dumps(fields, default=str)
