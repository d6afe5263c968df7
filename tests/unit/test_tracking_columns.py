"""Nothing of a record is forgotten between its event, its columns, its facts and what filters may name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest

from services.tracking.records.columns import ACTIVITY_COLUMNS, DEAL_COLUMNS, Column
from shared.contracts.activities import Activity
from shared.contracts.base import RecordEvent
from shared.contracts.deals import Deal
from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import DealFacts
from shared.kernel.filters import FieldType
from shared.kernel.records import RECORD_TYPES, RecordKind

_SQL_TYPES = {FieldType.TEXT: "text", FieldType.NUMBER: "numeric", FieldType.DATE: "date"}


@dataclass(frozen=True)
class Kind:
    record: RecordKind
    event: type[RecordEvent]
    facts: type[DealFacts | ActivityFacts]
    columns: Sequence[Column]


KINDS = [
    Kind(RecordKind.DEAL, Deal, DealFacts, DEAL_COLUMNS),
    Kind(RecordKind.ACTIVITY, Activity, ActivityFacts, ACTIVITY_COLUMNS),
]
of_each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.record.value)


def not_stored(event: type[RecordEvent], columns: Sequence[Column]) -> set[str]:
    """What an event states and no column stores."""
    return set(event.model_fields) - {column.attribute or column.name for column in columns}


def not_read_back(facts: Iterable[str], columns: Sequence[Column]) -> set[str]:
    """What the rules see of a record and no column has."""
    return {*facts} - {column.name for column in columns}


@of_each_kind
def test_all_that_an_event_states_is_stored(kind: Kind) -> None:
    assert not_stored(kind.event, kind.columns) == set()


@of_each_kind
def test_every_column_is_stated_by_the_event(kind: Kind) -> None:
    stated = {column.attribute or column.name for column in kind.columns}
    assert {name for name in stated if name not in kind.event.model_fields and not hasattr(kind.event, name)} == set()


@of_each_kind
def test_a_field_that_an_event_gains_and_no_column_stores_is_seen(kind: Kind) -> None:
    wider = type("Wider", (kind.event,), {"__annotations__": {"rival": str | None}})
    assert not_stored(wider, kind.columns) == {"rival"}
    assert not_stored(kind.event, kind.columns[:-1]) == {"corrections"}


@of_each_kind
def test_all_facts_but_the_version_are_columns(kind: Kind) -> None:
    assert not_read_back(kind.facts._fields, kind.columns) == {"version"}
    assert not_read_back((*kind.facts._fields, "rival"), kind.columns) == {"version", "rival"}


@of_each_kind
def test_a_filter_names_facts_and_columns_of_the_type_it_compares(kind: Kind) -> None:
    catalogue = RECORD_TYPES[kind.record].fields
    types = {column.name: column.type for column in kind.columns}
    named = {name: kind_of for name in catalogue.names if (kind_of := catalogue.type_of(name)) is not None}
    assert {name: types.get(name) for name in named} == {name: _SQL_TYPES[kind_of] for name, kind_of in named.items()}
    assert [name for name in named if not hasattr(kind.facts, name)] == []
