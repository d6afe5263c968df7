"""Filters compiled to SQL, for what is computed over stored records. Agrees with `shared.kernel.filters` on each.

Names and values travel as parameters; only operators and known columns are text of the statement.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.kernel.deals import CUSTOM_FAMILY
from shared.kernel.filters import All, Any, Catalogue, Condition, FieldType, Filter, Operator, Value

# Ignoring case means Unicode lower-casing, as in Python, whatever the database's own locale.
_CASE_COLLATION: Final = "pg_unicode_fast"
_COMPARISONS: Final[Mapping[Operator, str]] = {
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.LT: "<",
    Operator.LTE: "<=",
}
_SQL_TYPES: Final[Mapping[FieldType, str]] = {
    FieldType.TEXT: "text",
    FieldType.NUMBER: "numeric",
    FieldType.DATE: "date",
}


class FilterCompiler:
    """Compiles filters and field values over the columns of one table alias, into one set of parameters."""

    def __init__(self, alias: str, fields: Catalogue, days: Mapping[str, str]) -> None:
        """`fields` has what a filter may name: each a column of that name, or a member of `custom`.

        Except for `days`, which are worked out as the expressions say.
        """
        self._alias = alias
        self._fields = fields
        self._days = days
        self._parameters: dict[str, object] = {}

    @property
    def parameters(self) -> Mapping[str, object]:
        """Every parameter named so far."""
        return dict(self._parameters)

    def condition(self, node: Filter) -> str:
        """A boolean expression that is true exactly for the records the filter holds for."""
        if isinstance(node, All):
            return self._joined(" AND ", node.members, empty="true")
        if isinstance(node, Any):
            return self._joined(" OR ", node.members, empty="false")
        return self._comparison(node)

    def field(self, name: str) -> str:
        """An expression for the value of a field, NULL when the record has none."""
        if name.startswith(CUSTOM_FAMILY):
            return f"({self._alias}.custom ->> {self._parameter(name[len(CUSTOM_FAMILY) :], 'text')})"
        return self._days.get(name) or f"{self._alias}.{name}"

    def _joined(self, operator: str, members: Sequence[Filter], *, empty: str) -> str:
        return f"({operator.join(self.condition(member) for member in members)})" if members else empty

    def _comparison(self, condition: Condition) -> str:
        column, op = self.field(condition.field), condition.op
        kind = _SQL_TYPES[self._fields.type_of(condition.field) or FieldType.TEXT]
        match op:
            case Operator.EXISTS:
                return f"({column} IS {'NOT ' if condition.expected else ''}NULL)"
            case Operator.EQ:
                return f"({column} = {self._parameter(condition.values[0], kind)})"
            case Operator.NE:
                return f"({column} IS DISTINCT FROM {self._parameter(condition.values[0], kind)})"
            case Operator.IN:
                return f"({column} = ANY({self._parameter(list(condition.values), f'{kind}[]')}))"
            case Operator.NOT_IN:
                values = self._parameter(list(condition.values), f"{kind}[]")
                return f"({column} IS NULL OR {column} <> ALL({values}))"
            case Operator.CONTAINS | Operator.STARTS_WITH:
                text, part = _lower(column), self._parameter(str(condition.values[0]).lower(), "text")
                return f"(strpos({text}, {part}) > 0)" if op is Operator.CONTAINS else f"starts_with({text}, {part})"
            case _:
                return f"({column} {_COMPARISONS[op]} {self._parameter(condition.values[0], kind)})"

    def _parameter(self, value: Value | list[Value], kind: str) -> str:
        name = f"filter_{len(self._parameters)}"
        self._parameters[name] = value
        return f"CAST(:{name} AS {kind})"


def _lower(expression: str) -> str:
    return f'lower({expression} COLLATE "{_CASE_COLLATION}")'
