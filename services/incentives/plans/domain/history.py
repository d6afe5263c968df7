"""What was done to a plan version or an assignment, and where two documents of its terms differ."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.incentives.plans.domain.assignments import AssignmentChangeKind
from services.incentives.plans.domain.versions import ChangeKind
from shared.kernel.approvals import Actor

Json = dict[str, "Json"] | list["Json"] | str | bool | int | float | None
"""A JSON document, such as the terms of a version."""


@dataclass(frozen=True, slots=True)
class VersionChange:
    """What was done to a plan version. Terms are None where they did not change or were not recorded.

    `at` is None, and the actor unknown, of what happened before it was recorded.
    """

    revision: int
    kind: ChangeKind
    actor: Actor
    at: datetime | None
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class AssignmentChange:
    """What was done to an assignment, when and why. `before` is None for a new one, `after` of what was withdrawn."""

    assignment_id: UUID
    version: int
    kind: AssignmentChangeKind
    actor: Actor
    at: datetime
    reason: str | None
    before: Json
    after: Json


def differences(before: Json, after: Json, pointer: str = "") -> list[tuple[str, Json, Json]]:
    """Where two JSON documents differ: (pointer, value before, value after), None where there is no value.

    Lists are compared by position, except that objects with a `key` are matched by it.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            found
            for name in dict.fromkeys([*before, *after])
            for found in differences(before.get(name), after.get(name), f"{pointer}/{name}")
        ]
    if isinstance(before, list) and isinstance(after, list):
        old, new = _by_position_or_key(before), _by_position_or_key(after)
        return [
            found
            for name in dict.fromkeys([*old, *new])
            for found in differences(old.get(name), new.get(name), f"{pointer}/{name}")
        ]
    return [] if before == after else [(pointer, before, after)]


def _by_position_or_key(items: list[Json]) -> dict[str, Json]:
    return {
        str(item["key"]) if isinstance(item, dict) and "key" in item else str(index): item
        for index, item in enumerate(items)
    }
