"""Records put together from changes: whatever the order, the newest of every field."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracking.intake.inbox.domain.records import Record
from services.tracking.intake.sources.domain import RecordChange

_START = datetime(2026, 3, 31, tzinfo=UTC)
_VALUES = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.integers(0, 9).map(str))


@st.composite
def _changes(draw: st.DrawFn) -> list[RecordChange]:
    """Changes of one record, no two of the same moment."""
    moments = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), unique=True, min_size=1, max_size=8))
    return [
        RecordChange(
            "Opportunity",
            "006",
            draw(st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)),
            _START + timedelta(seconds=seconds),
            sequence,
            is_whole=draw(st.booleans()),
            is_deleted=draw(st.booleans()),
        )
        for seconds, sequence in moments
    ]


def _merged(changes: list[RecordChange]) -> Record:
    record = Record()
    for change in changes:
        record = record.merged(change)
    return record


@given(_changes(), st.data())
@settings(max_examples=100)
def test_order_and_repetition_make_no_difference(changes: list[RecordChange], data: st.DataObject) -> None:
    told = changes + data.draw(st.lists(st.sampled_from(changes), max_size=4))
    shuffled = data.draw(st.permutations(told))
    one, other = _merged(changes), _merged(list(shuffled))
    assert one.fields == other.fields
    assert one.is_whole == other.is_whole
    assert other.merges == len(told)


@given(_changes())
@settings(max_examples=100)
def test_every_field_is_as_the_newest_change_that_tells_it_says(changes: list[RecordChange]) -> None:
    in_time = sorted(changes, key=lambda change: (change.at, change.sequence))
    expected: dict[str, object] = {}
    for change in in_time:
        for name, value in change.values.items():
            expected[name] = value
    record = _merged(changes)
    assert record.values == {name: value for name, value in expected.items() if value is not None}
    assert record.is_deleted == in_time[-1].is_deleted
    assert record.newest_at == in_time[-1].at


def test_a_field_that_is_emptied_is_empty_also_when_an_older_value_comes_later() -> None:
    emptied = RecordChange("Opportunity", "006", {"Amount": None}, _START + timedelta(hours=1))
    older = RecordChange("Opportunity", "006", {"Amount": "100", "Name": "Acme"}, _START, is_whole=True)
    assert _merged([emptied, older]).values == {"Name": "Acme"}


def test_a_record_brought_back_is_there_again() -> None:
    deleted = RecordChange("Opportunity", "006", {}, _START, is_deleted=True)
    back = RecordChange("Opportunity", "006", {"Name": "Acme"}, _START + timedelta(seconds=1))
    assert _merged([deleted]).is_deleted
    assert not _merged([back, deleted]).is_deleted
