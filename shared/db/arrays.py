"""Arrays as parameters of a statement, for statements on many rows.

Each travels as one text, `CAST(CAST(:ids AS text) AS uuid[])`: the driver would look at every element several times
over, and that costs more than all that Postgres does to read them.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from pydantic_core import to_json

Element = str | int | Decimal | UUID | date | None
"""A text, a number, a truth, an id, a day, or a moment whose offset is of whole minutes."""


def array_text(elements: Sequence[Element]) -> str:
    """The array of elements of one kind, as Postgres writes it."""
    if not elements:
        return "{}"
    try:
        # As long as all are texts: most arrays are, and nothing is faster.
        joined = '","'.join(elements)  # type: ignore[arg-type]
    except TypeError:
        written = to_json(elements).decode()
        if "\\" not in written:
            return f"{{{written[1:-1]}}}"
        return f"{{{','.join('NULL' if each is None else _quoted(str(each)) for each in elements)}}}"
    if "\\" in joined or joined.count('"') != 2 * (len(elements) - 1):
        return f"{{{','.join(_quoted(str(each)) for each in elements)}}}"
    return f'{{"{joined}"}}'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
