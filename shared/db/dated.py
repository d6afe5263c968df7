"""Effective-dated things: a row has what is in force from the beginning of time, another table its changes by day."""

from sqlalchemy import ColumnElement, Label, Table, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by


def dated_changes(table: Table, belongs: ColumnElement[bool], *columns: str) -> Label[object]:
    """The changes of a row in the order of their days, each as a list of its columns."""
    values = func.jsonb_build_array(*(table.c[name] for name in ("start_on", *columns)))
    found = func.jsonb_agg(aggregate_order_by(values, table.c.start_on))
    statement = select(func.coalesce(found, text("'[]'::jsonb"), type_=JSONB())).where(belongs)
    return statement.scalar_subquery().label("changes")
