"""Conditions of a query that are there only where a filter is given."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, literal, true


def among(column: ColumnElement[object], ids: frozenset[UUID] | None) -> ColumnElement[bool]:
    """Whether the column is one of `ids`; None is all there are."""
    return true() if ids is None else column == any_(literal(sorted(ids), ARRAY(Uuid())))


def one_of(column: ColumnElement[object], texts: Collection[str]) -> ColumnElement[bool]:
    """Whether the column is one of these texts."""
    return column == any_(literal(sorted(texts), ARRAY(Text())))


def equal(column: ColumnElement[object], value: object | None) -> ColumnElement[bool]:
    """Whether the column is the value; with None it need not be."""
    return true() if value is None else column == value
