"""Which changes of an event's JSON Schema would break a reader that was built against the older one."""

from collections.abc import Iterator, Mapping, Sequence

JsonSchema = Mapping[str, object]


def breaking_changes(released: JsonSchema, current: JsonSchema) -> list[str]:
    """What a reader of `released` could trip over in events of `current`; empty when nothing.

    Fields may be added. A field may not vanish, stop being always present, or change what it can hold: its type,
    format, pattern, constants, bounds that loosen, or new members of an enumeration.
    """
    return list(_compare(released, current, released, current, ""))


def _compare(old: JsonSchema, new: JsonSchema, old_root: JsonSchema, new_root: JsonSchema, path: str) -> Iterator[str]:
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    where = path or "/"
    for keyword in ("type", "format", "pattern", "const"):
        if old.get(keyword) != new.get(keyword):
            yield f"{where}: {keyword} changed from {old.get(keyword)!r} to {new.get(keyword)!r}"
    added = [member for member in _list(new, "enum") if member not in _list(old, "enum")]
    if added and "enum" in old:
        yield f"{where}: new values {added!r} that readers do not know"
    if "enum" in old and "enum" not in new:
        yield f"{where}: is no longer limited to {old['enum']!r}"
    for bound, loosened in _loosened_bounds(old, new):
        yield f"{where}: {bound} loosened from {old[bound]!r} to {loosened!r}"
    yield from _compare_object(old, new, old_root, new_root, path)
    for keyword in ("items", "additionalProperties"):
        before, after = old.get(keyword), new.get(keyword)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _compare(before, after, old_root, new_root, f"{path}/{keyword}")
        elif before != after:
            yield f"{where}: {keyword} changed"
    yield from _compare_alternatives(old, new, old_root, new_root, path)


def _compare_object(
    old: JsonSchema, new: JsonSchema, old_root: JsonSchema, new_root: JsonSchema, path: str
) -> Iterator[str]:
    before, after = _mapping(old, "properties"), _mapping(new, "properties")
    for name in before:
        if name not in after:
            yield f"{path}/{name}: removed"
            continue
        if name in _list(old, "required") and name not in _list(new, "required"):
            yield f"{path}/{name}: is no longer always present"
        yield from _compare(_mapping(before, name), _mapping(after, name), old_root, new_root, f"{path}/{name}")


def _compare_alternatives(
    old: JsonSchema, new: JsonSchema, old_root: JsonSchema, new_root: JsonSchema, path: str
) -> Iterator[str]:
    before = [_resolve(member, old_root) for member in _list(old, "anyOf") if isinstance(member, Mapping)]
    after = [_resolve(member, new_root) for member in _list(new, "anyOf") if isinstance(member, Mapping)]
    if bool(before) != bool(after):
        yield f"{path or '/'}: alternatives {'added' if after else 'removed'}"
        return
    for member in after:
        problems = [list(_compare(known, member, old_root, new_root, path)) for known in before]
        if all(problems):
            yield min(problems, key=len)[0]


def _loosened_bounds(old: JsonSchema, new: JsonSchema) -> Iterator[tuple[str, object]]:
    for bound in ("minimum", "exclusiveMinimum", "minLength", "minItems"):
        before, after = old.get(bound), new.get(bound)
        if isinstance(before, int | float) and not (isinstance(after, int | float) and after >= before):
            yield bound, after
    for bound in ("maximum", "exclusiveMaximum", "maxLength", "maxItems"):
        before, after = old.get(bound), new.get(bound)
        if isinstance(before, int | float) and not (isinstance(after, int | float) and after <= before):
            yield bound, after


def _resolve(schema: JsonSchema, root: JsonSchema) -> JsonSchema:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    return _resolve(_mapping(_mapping(root, "$defs"), reference.removeprefix("#/$defs/")), root)


def _mapping(schema: JsonSchema, key: str) -> JsonSchema:
    value = schema.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(schema: JsonSchema, key: str) -> Sequence[object]:
    value = schema.get(key)
    return value if isinstance(value, list) else []
