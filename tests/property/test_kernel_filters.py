from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.filters import Catalogue, FieldType, Value, filter_to_json, first_failing, parse_filter

CATALOGUE = Catalogue(
    {"text": FieldType.TEXT, "number": FieldType.NUMBER, "day": FieldType.DATE}, text_families=("x.",)
)

letters = st.text(alphabet="abAB ", max_size=3)
numbers = st.integers(-3, 3).map(str)
dates = st.dates(date(2026, 1, 1), date(2026, 1, 4)).map(date.isoformat)
records: st.SearchStrategy[Mapping[str, str]] = st.fixed_dictionaries(
    {}, optional={"text": letters, "x.tier": letters, "number": numbers, "day": dates}
)
VALUES: Mapping[str, st.SearchStrategy[str]] = {"text": letters, "x.tier": letters, "number": numbers, "day": dates}
ACCEPTED_SIGNS = {"eq": {0}, "ne": {-1, 1}, "gt": {1}, "gte": {0, 1}, "lt": {-1}, "lte": {-1, 0}}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, object]:
    field = draw(st.sampled_from(sorted(VALUES)))
    text = field in ("text", "x.tier")
    ops = ["eq", "ne", "in", "not_in", "exists"] + (["contains", "starts_with"] if text else ["gt", "gte", "lt", "lte"])
    op = draw(st.sampled_from(ops))
    if op == "exists":
        return {"field": field, "op": op, "value": draw(st.booleans())}
    if op in ("in", "not_in"):
        return {"field": field, "op": op, "value": draw(st.lists(VALUES[field], min_size=1, max_size=3))}
    return {"field": field, "op": op, "value": draw(VALUES[field])}


def group(name: str, inner: list[dict[str, object]]) -> dict[str, object]:
    return {name: inner}


def groups(inner: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    return st.builds(group, st.just("all"), st.lists(inner, max_size=3)) | st.builds(
        group, st.just("any"), st.lists(inner, min_size=1, max_size=3)
    )


filters = st.recursive(conditions(), groups, max_leaves=8)


def typed(field: str, raw: str) -> Value:
    if field == "number":
        return Decimal(raw)
    return date.fromisoformat(raw) if field == "day" else raw


def oracle(node: dict[str, object], record: Mapping[str, str]) -> bool:
    """What a filter means, said again in other words over the JSON itself."""
    if "all" in node:
        return not any(not oracle(member, record) for member in members(node["all"]))
    if "any" in node:
        return any(oracle(member, record) for member in members(node["any"]))
    field, op, wanted = str(node["field"]), str(node["op"]), node["value"]
    raw = record.get(field)
    if op == "exists":
        return (raw is None) is not wanted
    if raw is None:
        return op in {"ne", "not_in"}
    if isinstance(wanted, list):
        found = any(typed(field, raw) == typed(field, candidate) for candidate in wanted)
        return found if op == "in" else not found
    assert isinstance(wanted, str)
    if op == "contains":
        return raw.lower().find(wanted.lower()) >= 0
    if op == "starts_with":
        return raw.lower()[: len(wanted)] == wanted.lower()
    if field == "number":
        return sign(int(raw) - int(wanted)) in ACCEPTED_SIGNS[op]
    return sign((raw > wanted) - (raw < wanted)) in ACCEPTED_SIGNS[op]


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def members(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


@given(filters, records)
def test_a_filter_holds_when_its_words_say_so(data: dict[str, object], record: Mapping[str, str]) -> None:
    values = {field: typed(field, raw) for field, raw in record.items()}
    failing = first_failing(parse_filter(data, CATALOGUE), values.get)
    assert (failing is None) == oracle(data, record)
    if failing is not None:
        assert first_failing(failing, values.get) is not None


@given(filters)
def test_a_filter_reads_back_from_its_own_json(data: dict[str, object]) -> None:
    parsed = parse_filter(data, CATALOGUE)
    assert parse_filter(filter_to_json(parsed), CATALOGUE) == parsed
