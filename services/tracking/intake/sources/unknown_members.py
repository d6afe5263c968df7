"""Members that a sender of canonical records made up, or misspelt: they are not stored, but remarked on. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pydantic import BaseModel

from services.tracking.intake.sources.canonical import (
    CanonicalDeal,
    CanonicalInvoice,
    CanonicalPayment,
    CanonicalProduct,
    CanonicalSplit,
)
from services.tracking.intake.sources.domain import Remark, RemarkKind, SourceMapping
from shared.kernel.errors import escaped
from shared.kernel.text import composed
from shared.kernel.words import near_names

UNKNOWN_MEMBERS_MAX: Final = 20
"""How many are listed of one record."""
_NAME_CHARACTERS_MAX: Final = 100
_PARTS: Final[Mapping[str, type[BaseModel]]] = {
    "splits": CanonicalSplit,
    "products": CanonicalProduct,
    "payments": CanonicalPayment,
    "invoices": CanonicalInvoice,
}


def unknown_members_of_deal(raw: Mapping[str, object], mapping: SourceMapping, pointer: str) -> list[Remark]:
    """The members of a deal, and of its parts, that neither a canonical deal has nor the mapping reads."""
    mapped = [*mapping.fields.values(), *([] if mapping.products is None else [mapping.products.lines])]
    for each in (mapping.payments, mapping.invoices):
        if each is not None:
            own = (each.on, each.amount) if each.lines is None else (each.lines,)
            mapped += [path for path in own if path is not None]
    read = {name for path in mapped for name in (path, path.partition(".")[0])}
    found = list(
        _unknown({name: None for name in raw if composed(name) not in read}, CanonicalDeal.model_fields, pointer)
    )
    for name, model in _PARTS.items():
        parts = raw.get(name)
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if len(found) < UNKNOWN_MEMBERS_MAX and isinstance(part, Mapping):
                found += _unknown(part, model.model_fields, f"{pointer}/{name}/{index}")
    return found[:UNKNOWN_MEMBERS_MAX]


def unknown_members(raw: Mapping[str, object], known: Iterable[str], pointer: str) -> list[Remark]:
    """The members of a record that none of these names is of."""
    return list(_unknown(raw, known, pointer))[:UNKNOWN_MEMBERS_MAX]


def _unknown(raw: Mapping[str, object], known: Iterable[str], pointer: str) -> Iterator[Remark]:
    names = sorted(known)
    for name in raw:
        if name not in names:
            near = near_names(name, names)
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            yield Remark(
                RemarkKind.UNKNOWN_MEMBER,
                f"{pointer}/{escaped(name[:_NAME_CHARACTERS_MAX])}",
                f"is not read: no such member{advice}",
            )
