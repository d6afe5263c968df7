"""What of a delivery is shown to who sees one of the records in it: the members that are of that record, nothing else.

Pure. A delivery may have records of many people. What is left of its body is translated by the source's adapter: it has
to state the one record and no other, or it is not shown.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import JsonValue

from services.tracking.intake.connections.domain import Connection
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.inbox.translation import statements_in
from services.tracking.intake.sources.adapter import Fetch, SeenUser, Statement
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import RecordChange, Remark

_Path = tuple[str, ...]
_UTF8: Final = "utf-8"


def members_of(connection: Connection, origin: Origin, body: bytes, external_id: str) -> JsonValue:
    """The members of a body that are of one record, as the source names them; None where they cannot be separated.

    Of a JSON body its own structure, without what lists have of other records; else the fields that it states of the
    record.
    """
    try:
        document: JsonValue = json.loads(body)
    except ValueError:
        return _fields(connection, origin, body, external_id)
    remaining = _without_others(connection, origin, document, external_id)
    return remaining if _is_only_of(connection, origin, remaining, external_id) else None


def _without_others(connection: Connection, origin: Origin, document: JsonValue, external_id: str) -> JsonValue:
    """The document with just those elements of its outermost lists that are of the record and of no other."""
    lists = dict(_outermost_lists(document, external_id))
    bare = document
    for path in lists:
        bare = _put(bare, path, [])
    narrowed = bare
    for path, elements in lists.items():
        own = [
            element
            for element in elements
            if _mentions(element, external_id)
            and _is_only_of(connection, origin, _put(bare, path, [element]), external_id)
        ]
        narrowed = _put(narrowed, path, own)
    return narrowed


def _is_only_of(connection: Connection, origin: Origin, document: JsonValue, external_id: str) -> bool:
    body = json.dumps(document, ensure_ascii=False).encode(_UTF8)
    statements = statements_in(connection, origin, body, connection.mapping)
    of_records = [each for each in statements if not isinstance(each, SeenUser | Remark)]
    return bool(of_records) and all(_is_of(each, external_id) for each in of_records)


def _is_of(statement: Statement, external_id: str) -> bool:
    match statement:
        case CanonicalDeal() | CanonicalActivity() | RecordChange() | Fetch():
            return statement.external_id == external_id
    return False


def _fields(connection: Connection, origin: Origin, body: bytes, external_id: str) -> JsonValue:
    changes: Sequence[RecordChange] = [
        each
        for each in statements_in(connection, origin, body, connection.mapping)
        if isinstance(each, RecordChange) and each.external_id == external_id
    ]
    fields = {name: value for change in changes for name, value in change.values.items()}
    members: JsonValue = json.loads(json.dumps(fields, default=str))
    return members or None


def _outermost_lists(node: JsonValue, external_id: str, path: _Path = ()) -> Iterator[tuple[_Path, list[JsonValue]]]:
    """The lists of objects that lie in no other list and not in the record itself, which is left as it is."""
    if isinstance(node, list):
        if any(isinstance(each, dict | list) for each in node):
            yield path, node
    elif isinstance(node, dict) and not any(_is_id(value, external_id) for value in node.values()):
        for name, value in node.items():
            yield from _outermost_lists(value, external_id, (*path, name))


def _mentions(node: JsonValue, external_id: str) -> bool:
    match node:
        case dict():
            return any(_mentions(value, external_id) for value in node.values())
        case list():
            return any(_mentions(value, external_id) for value in node)
    return _is_id(node, external_id)


def _is_id(value: JsonValue, external_id: str) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value) == external_id


def _put(node: JsonValue, path: _Path, value: list[JsonValue]) -> JsonValue:
    """A copy of the document with this list at that path."""
    if not path:
        return value
    name, *rest = path
    members = node if isinstance(node, dict) else {}
    return {**members, name: _put(members.get(name), tuple(rest), value)}
