"""What new terms may say beside being well formed: words that a record can have, and currencies that there are.

Terms that break these rules can never count anything. They are refused where somebody states them, and only there: what
was stored before is read as it is.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.deals import DealStatus
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import All, Condition, Filter, Operator
from shared.kernel.measures import Measure
from shared.kernel.money import known_currency
from shared.kernel.records import RecordKind

_WORDS: Final[Mapping[RecordKind, Mapping[str, tuple[str, ...]]]] = {
    RecordKind.DEAL: {"status": tuple(DealStatus)},
    RecordKind.ACTIVITY: {"status": tuple(ActivityStatus), "type": tuple(ActivityType)},
}
"""The fields that have one of a few words."""
_CURRENCIES: Final = frozenset({"currency", "home_currency"})
_PARTS: Final = (Operator.CONTAINS, Operator.STARTS_WITH)


def check_terms_can_count(measure: Measure) -> None:
    """Raise InvalidInput, with a pointer into the metric, for a word or a currency that no record can have."""
    if measure.currency is not None:
        known_currency(measure.currency)
    for currency, _ in measure.fixed_rates:
        known_currency(currency, pointer=f"/fixed_rates/{currency}")
    words = _WORDS[measure.record]
    conditions = [*_conditions(measure.filter, "/filter")]
    if measure.numerator_filter is not None:
        conditions += _conditions(measure.numerator_filter, "/numerator_filter")
    for pointer, condition in conditions:
        for at, value in _values(condition, f"{pointer}/value"):
            if condition.field in _CURRENCIES and condition.op not in _PARTS:
                known_currency(value, pointer=at)
            elif condition.field in words and not _can_be(condition.op, value, words[condition.field]):
                raise InvalidInput.field(
                    at, f"{value!r} is never the {condition.field} of a record", ", ".join(words[condition.field])
                )


def _conditions(node: Filter, pointer: str) -> Iterator[tuple[str, Condition]]:
    if isinstance(node, Condition):
        yield pointer, node
        return
    name = "all" if isinstance(node, All) else "any"
    for index, member in enumerate(node.members):
        yield from _conditions(member, f"{pointer}/{name}/{index}")


def _values(condition: Condition, pointer: str) -> Iterator[tuple[str, str]]:
    is_list = condition.op in (Operator.IN, Operator.NOT_IN)
    for index, value in enumerate(condition.values):
        if isinstance(value, str):
            yield f"{pointer}/{index}" if is_list else pointer, value


def _can_be(op: Operator, value: str, words: tuple[str, ...]) -> bool:
    if op is Operator.CONTAINS:
        return any(value.lower() in word for word in words)
    if op is Operator.STARTS_WITH:
        return any(word.startswith(value.lower()) for word in words)
    return value in words
