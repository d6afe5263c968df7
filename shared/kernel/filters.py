"""Filters as data: `all`/`any` of `{field, op, value}`, checked once against a catalogue, evaluated purely.

A field that has no value satisfies no comparison, with three exceptions: `ne` and `not_in` match a missing value, and
`exists` tests for it. Text compares exactly; `contains` and `starts_with` ignore case. Names and values are in NFC, as
records are, in whatever form they were written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from shared.kernel.errors import InvalidInput, escaped
from shared.kernel.money import format_amount, parse_amount
from shared.kernel.reading import is_text, read_day
from shared.kernel.text import composed
from shared.kernel.words import accepted_names, shown

Value = str | Decimal | date
Record = Callable[[str], Value | None]
RecordT = TypeVar("RecordT")

DEPTH_MAX = 5
CONDITIONS_MAX = 50
VALUES_MAX = 500
TEXT_LENGTH_MAX = 500


def _is_short_text(raw: str) -> bool:
    return len(raw) <= TEXT_LENGTH_MAX and is_text(raw)


class FieldType(StrEnum):
    """What a field's values are, and so which operators it has."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"


class Operator(StrEnum):
    """The comparisons a condition can make."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    EXISTS = "exists"


_EQUALITY = (Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN, Operator.EXISTS)
_ORDER = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
OPERATORS: Mapping[FieldType, tuple[Operator, ...]] = {
    FieldType.TEXT: (*_EQUALITY, Operator.CONTAINS, Operator.STARTS_WITH),
    FieldType.NUMBER: (*_EQUALITY, *_ORDER),
    FieldType.DATE: (*_EQUALITY, *_ORDER),
}
_LIST_OPERATORS = (Operator.IN, Operator.NOT_IN)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `values` has one member, several for `in` and `not_in`, none for `exists`."""

    field: str
    op: Operator
    values: tuple[Value, ...] = ()
    expected: bool = True
    """For `exists` alone: whether a value must be there or must be missing."""


@dataclass(frozen=True, slots=True)
class All:
    """Every member matches; an empty `all` matches everything."""

    members: tuple["Filter", ...] = ()


@dataclass(frozen=True, slots=True)
class Any:
    """At least one member matches; an empty `any` is refused when parsed."""

    members: tuple["Filter", ...]


Filter = Condition | All | Any
EVERYTHING = All()


class Catalogue:
    """Which fields a filter may name: fixed ones, and open families such as `custom.` whose members are text."""

    def __init__(self, fields: Mapping[str, FieldType], *, text_families: Sequence[str] = ()) -> None:
        self._fields = dict(fields)
        self._families = tuple(text_families)

    def type_of(self, field: str) -> FieldType | None:
        """The type of a field, or None when there is no such field."""
        known = self._fields.get(field)
        if known is None and any(field.startswith(family) and field != family for family in self._families):
            return FieldType.TEXT if _is_short_text(field) else None
        return known

    @property
    def names(self) -> Sequence[str]:
        """The fixed fields."""
        return tuple(self._fields)

    @property
    def numbers(self) -> Sequence[str]:
        """The fields that can be summed, by name."""
        return sorted(name for name, kind in self._fields.items() if kind is FieldType.NUMBER)

    @property
    def described(self) -> str:
        """The accepted names."""
        return ", ".join(self._names)

    def near(self, field: object) -> str:
        """The accepted names, for error messages, those nearest to a field that is not known first."""
        return accepted_names(str(field), self._names)

    @property
    def _names(self) -> Sequence[str]:
        return [*sorted(self._fields), *(f"{family}<name>" for family in self._families)]


def parse_filter(data: object, catalogue: Catalogue, *, pointer: str = "/filter") -> Filter:
    """A checked filter from its JSON form, or InvalidInput that points at the part that is wrong."""
    return _Parser(catalogue).parse(data, pointer, depth=1)


class _Parser:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._conditions = 0

    def parse(self, data: object, pointer: str, *, depth: int) -> Filter:
        if depth > DEPTH_MAX:
            raise InvalidInput.field(pointer, "is nested too deeply", f"at most {DEPTH_MAX} levels")
        if not isinstance(data, Mapping):
            raise InvalidInput.field(pointer, "is not a filter", '{"all": [...]}, {"any": [...]} or {field, op, value}')
        keys = set(data)
        if keys == {"all"} or keys == {"any"}:
            return self._group(data, pointer, depth)
        return self._condition(data, pointer)

    def _group(self, data: Mapping[str, object], pointer: str, depth: int) -> Filter:
        ((name, raw_members),) = data.items()
        at = f"{pointer}/{name}"
        if not isinstance(raw_members, list):
            raise InvalidInput.field(at, "is not a list", "a list of filters")
        members = tuple(self.parse(raw, f"{at}/{index}", depth=depth + 1) for index, raw in enumerate(raw_members))
        if name == "all":
            return All(members)
        if not members:
            raise InvalidInput.field(at, "is empty and would hold for nothing", "at least one filter")
        return Any(members)

    def _condition(self, data: Mapping[str, object], pointer: str) -> Condition:
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            raise InvalidInput.field(pointer, "is one condition too many", f"at most {CONDITIONS_MAX} conditions")
        if unknown := set(data) - {"field", "op", "value"}:
            raise InvalidInput.field(
                f"{pointer}/{escaped(min(unknown))}", "is not part of a condition", "field, op, value"
            )
        field = data.get("field")
        field = composed(field) if isinstance(field, str) else field
        kind = self._catalogue.type_of(field) if isinstance(field, str) else None
        if not isinstance(field, str) or kind is None:
            raise InvalidInput.field(f"{pointer}/field", f"{shown(field)} is not a field", self._catalogue.near(field))
        op = _operator(data.get("op"), kind, f"{pointer}/op")
        raw = data.get("value")
        at = f"{pointer}/value"
        if op is Operator.EXISTS:
            if not isinstance(raw, bool):
                raise InvalidInput.field(at, f"{shown(raw)} is not a truth value", "true or false")
            return Condition(field, op, expected=raw)
        if op in _LIST_OPERATORS:
            if not isinstance(raw, list) or not 1 <= len(raw) <= VALUES_MAX:
                raise InvalidInput.field(at, "is not a list of values", f"a list of 1 to {VALUES_MAX} values")
            return Condition(field, op, tuple(_value(item, kind, f"{at}/{i}") for i, item in enumerate(raw)))
        return Condition(field, op, (_value(raw, kind, at),))


def _operator(raw: object, kind: FieldType, pointer: str) -> Operator:
    allowed = OPERATORS[kind]
    if raw not in allowed:
        raise InvalidInput.field(pointer, f"{shown(raw)} does not fit a {kind} field", ", ".join(allowed))
    return Operator(str(raw))


def _value(raw: object, kind: FieldType, pointer: str) -> Value:
    if kind is FieldType.NUMBER:
        if isinstance(raw, bool) or not isinstance(raw, str | int | Decimal):
            raise InvalidInput.field(pointer, f"{shown(raw)} is not exact", 'a decimal in a string, such as "50000"')
        return parse_amount(raw, pointer=pointer)
    if not isinstance(raw, str):
        raise InvalidInput.field(pointer, f"{shown(raw)} is not a text", "a string")
    if kind is FieldType.DATE:
        day = read_day(raw)
        if day is None:
            raise InvalidInput.field(pointer, f"{shown(raw)} is not a date", "YYYY-MM-DD")
        return day
    if not _is_short_text(raw):
        raise InvalidInput.field(
            pointer, "is too long or has a character that no text has", f"at most {TEXT_LENGTH_MAX} characters"
        )
    return composed(raw)


def filter_to_json(node: Filter) -> dict[str, object]:
    """The JSON form that `parse_filter` reads back to an equal filter."""
    if isinstance(node, All):
        return {"all": [filter_to_json(member) for member in node.members]}
    if isinstance(node, Any):
        return {"any": [filter_to_json(member) for member in node.members]}
    value: object
    if node.op is Operator.EXISTS:
        value = node.expected
    elif node.op in _LIST_OPERATORS:
        value = [_value_to_json(item) for item in node.values]
    else:
        value = _value_to_json(node.values[0])
    return {"field": node.field, "op": node.op.value, "value": value}


def _value_to_json(value: Value) -> str:
    return format_amount(value) if isinstance(value, Decimal) else str(value)


def conditions_of(node: Filter) -> Iterator[Condition]:
    """Every comparison of the filter."""
    if isinstance(node, Condition):
        yield node
    else:
        for member in node.members:
            yield from conditions_of(member)


def first_failing(node: Filter, record: Record) -> Filter | None:
    """The first part of the filter that does not match, as an explanation; None when the whole filter matches."""
    if isinstance(node, Condition):
        return None if _matches(node, record(node.field)) else node
    if isinstance(node, All):
        for member in node.members:
            failing = first_failing(member, record)
            if failing is not None:
                return failing
        return None
    if any(first_failing(member, record) is None for member in node.members):
        return None
    return node


def predicate(node: Filter, field: Callable[[str], Callable[[RecordT], Value | None]]) -> Callable[[RecordT], bool]:
    """Whether the whole filter matches, prepared once for many records: `first_failing` is None.

    `field` gives, for a field's name, the function that reads it from a record.
    """
    if isinstance(node, Condition):
        return _prepared(node, field(node.field))
    members = tuple(predicate(member, field) for member in node.members)
    if len(members) == 1:
        return members[0]
    if isinstance(node, All):
        return lambda record: all(member(record) for member in members)
    return lambda record: any(member(record) for member in members)


def _prepared(condition: Condition, read: Callable[[RecordT], Value | None]) -> Callable[[RecordT], bool]:
    op, values = condition.op, condition.values
    if op is Operator.EQ:
        expected = values[0]
        return lambda record: read(record) == expected
    if op is Operator.IN:
        accepted = frozenset(values)
        return lambda record: read(record) in accepted
    return lambda record: _matches(condition, read(record))


def _matches(condition: Condition, value: Value | None) -> bool:
    op, values = condition.op, condition.values
    if op is Operator.EXISTS:
        return (value is not None) == condition.expected
    if value is None:
        return op in (Operator.NE, Operator.NOT_IN)
    if op is Operator.EQ:
        return value == values[0]
    if op is Operator.NE:
        return value != values[0]
    if op is Operator.IN:
        return value in values
    if op is Operator.NOT_IN:
        return value not in values
    if op is Operator.CONTAINS or op is Operator.STARTS_WITH:
        text, part = str(value).lower(), str(values[0]).lower()
        return part in text if op is Operator.CONTAINS else text.startswith(part)
    return _ordered(op, value, values[0])


def _ordered(op: Operator, value: Value, bound: Value) -> bool:
    # The parser gave both sides the field's type, so they compare.
    above, equal = value > bound, value == bound  # type: ignore[operator]
    return {
        Operator.GT: above,
        Operator.GTE: above or equal,
        Operator.LT: not (above or equal),
        Operator.LTE: not above,
    }[op]
