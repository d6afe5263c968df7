"""Plans as JSON: what is stored of a scenario, read back as it was."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, TypeVar
from uuid import UUID

from pydantic import JsonValue, TypeAdapter

from services.goals.planning.domain.plan import (
    AlongPeople,
    AlongTime,
    Change,
    Edit,
    Lock,
    Note,
    OwnerFacts,
    Plan,
    Respread,
    Unlock,
)
from services.goals.planning.domain.scenario import Entry, OverTime, Pattern, Scenario, Wish
from services.goals.targets.domain import CheckIn, Direction, Owner
from shared.contracts.goals import Metric
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.money import format_amount
from shared.kernel.org import OwnerKind
from shared.kernel.periods import Period

Json = dict[str, JsonValue]
T = TypeVar("T")

_CHANGES: Final[Mapping[str, type[Change]]] = {
    "edit": Edit,
    "lock": Lock,
    "unlock": Unlock,
    "note": Note,
    "respread": Respread,
}
_NAMES: Final = {kind: name for name, kind in _CHANGES.items()}
RECORDED_CHANGES_MAX: Final = 1_000
_ADAPTERS: Final[Mapping[type, TypeAdapter[object]]] = {
    kind: TypeAdapter(kind) for kind in (AlongPeople, AlongTime, OverTime, OwnerFacts, *_CHANGES.values())
}


def wish_to_json(wish: Wish) -> Json:
    return {
        "target": format_amount(wish.target),
        "decimals": wish.decimals,
        "owner": _owner_to_json(wish.owner),
        "period": _period_to_json(wish.period),
        "steps": [_tagged("people" if isinstance(step, AlongPeople) else "time", step) for step in wish.steps],
        "people_on": wish.people_on.isoformat(),
        "facts": [[_owner_to_json(owner), _dump(facts)] for owner, facts in wish.facts.items()],
    }


def wish_from_json(stored: Mapping[str, object]) -> Wish:
    reading = _Reading(stored)
    return Wish(
        target=reading.amount("target"),
        decimals=reading.whole("decimals"),
        owner=_owner(reading.value("owner")),
        period=_period(reading.value("period")),
        steps=tuple(
            _load(AlongPeople, members) if tag == "people" else _load(OverTime, members)
            for tag, members in map(_untagged, reading.values("steps"))
        ),
        people_on=date.fromisoformat(reading.text("people_on")),
        facts=_facts(reading.values("facts")),
    )


def plan_to_json(plan: Plan) -> Json:
    return {
        "target": format_amount(plan.target),
        "decimals": plan.decimals,
        "owner": _owner_to_json(plan.owner),
        "period": _period_to_json(plan.period),
        "steps": [_tagged("people" if isinstance(step, AlongPeople) else "time", step) for step in plan.steps],
        "below": [
            [_owner_to_json(owner), [_owner_to_json(each) for each in below]] for owner, below in plan.below.items()
        ],
        "facts": [[_owner_to_json(owner), _dump(facts)] for owner, facts in plan.facts.items()],
        "working_days": [day.isoformat() for day in plan.working_days],
        "changes": [_tagged(_NAMES[type(change)], change) for change in plan.changes],
        "adds_up": plan.adds_up,
    }


def plan_from_json(stored: Mapping[str, object]) -> Plan:
    reading = _Reading(stored)
    return Plan(
        target=reading.amount("target"),
        decimals=reading.whole("decimals"),
        owner=_owner(reading.value("owner")),
        period=_period(reading.value("period")),
        steps=tuple(
            _load(AlongPeople, members) if tag == "people" else _load(AlongTime, members)
            for tag, members in map(_untagged, reading.values("steps"))
        ),
        below={_owner(owner): tuple(map(_owner, _list(below))) for owner, below in map(_pair, reading.values("below"))},
        facts=_facts(reading.values("facts")),
        working_days=tuple(date.fromisoformat(str(day)) for day in reading.values("working_days")),
        changes=tuple(_load(_CHANGES[tag], members) for tag, members in map(_untagged, reading.values("changes"))),
        adds_up=bool(stored.get("adds_up", True)),
    )


def pattern_to_json(pattern: Pattern) -> Json:
    return {
        "name": pattern.name,
        "metric": Metric.of(pattern.measure).model_dump(mode="json"),
        "unit": pattern.unit,
        "direction": pattern.direction.value,
        "baseline": format_amount(pattern.baseline),
        "check_in": pattern.check_in.value,
    }


def pattern_from_json(stored: Mapping[str, object]) -> Pattern:
    reading = _Reading(stored)
    metric = Metric.model_validate(reading.value("metric"))
    direction = Direction(reading.text("direction"))
    baseline = Decimal(str(stored.get("baseline", "0")))
    check_in = CheckIn(str(stored.get("check_in", CheckIn.NONE)))
    return Pattern(reading.text("name"), metric.measure(), reading.text("unit"), direction, baseline, check_in)


def log_to_json(log: Sequence[Entry]) -> list[JsonValue]:
    return [
        {
            "actor_kind": entry.actor.kind.value,
            "actor_id": None if entry.actor.person_id is None else str(entry.actor.person_id),
            "changed_at": entry.changed_at.isoformat(),
            "reason": entry.reason,
        }
        for entry in log
    ]


def log_from_json(stored: Sequence[Mapping[str, str | None]]) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            Actor(ActorKind(str(entry["actor_kind"])), UUID(entry["actor_id"]) if entry["actor_id"] else None),
            datetime.fromisoformat(str(entry["changed_at"])),
            entry["reason"],
        )
        for entry in stored
    )


def recorded_state(scenario: Scenario, now: datetime) -> Json:
    """What the audit trail says of a version made at a moment: what was stated, and the changes of that moment.

    The plan that it comes to is left out: it has a row a node.
    """
    made = [
        change for change, entry in zip(scenario.plan.changes, scenario.log, strict=True) if entry.changed_at == now
    ]
    return {
        "id": str(scenario.id),
        "version": scenario.version,
        "name": scenario.name,
        "state": scenario.state.value,
        "goals": pattern_to_json(scenario.pattern),
        "stated": wish_to_json(scenario.wish),
        "known_at": scenario.known_at.isoformat(),
        "applied_at": None if scenario.applied_at is None else scenario.applied_at.isoformat(),
        "job_id": None if scenario.job_id is None else str(scenario.job_id),
        "changes": len(scenario.plan.changes),
        "made": [_tagged(_NAMES[type(change)], change) for change in made[:RECORDED_CHANGES_MAX]],
    }


class _Reading:
    """The members of a stored object; ValueError for one that is not what was written."""

    def __init__(self, stored: Mapping[str, object]) -> None:
        self._stored = stored

    def value(self, name: str) -> object:
        return self._stored[name]

    def values(self, name: str) -> Sequence[object]:
        return _list(self._stored[name])

    def text(self, name: str) -> str:
        return str(self._stored[name])

    def amount(self, name: str) -> Decimal:
        return Decimal(self.text(name))

    def whole(self, name: str) -> int:
        return int(self.text(name))


def _tagged(tag: str, value: object) -> Json:
    return {"kind": tag, **_dump(value)}


def _untagged(stored: object) -> tuple[str, Mapping[str, object]]:
    members = dict(_object(stored))
    return str(members.pop("kind")), members


def _dump(value: object) -> Json:
    dumped: Json = _ADAPTERS[type(value)].dump_python(value, mode="json")
    return dumped


def _load(kind: type[T], members: Mapping[str, object]) -> T:
    loaded = _ADAPTERS[kind].validate_python(members)
    if not isinstance(loaded, kind):
        raise ValueError(f"stored is no {kind.__name__}")
    return loaded


def _facts(stored: Sequence[object]) -> dict[Owner, OwnerFacts]:
    return {_owner(owner): _load(OwnerFacts, _object(facts)) for owner, facts in map(_pair, stored)}


def _owner_to_json(owner: Owner) -> JsonValue:
    return [owner.kind.value, str(owner.id)]


def _owner(stored: object) -> Owner:
    kind, owner_id = _pair(stored)
    return Owner(OwnerKind(str(kind)), UUID(str(owner_id)))


def _period_to_json(period: Period) -> JsonValue:
    return [period.start.isoformat(), period.end.isoformat()]


def _period(stored: object) -> Period:
    start, end = _pair(stored)
    return Period(date.fromisoformat(str(start)), date.fromisoformat(str(end)))


def _list(stored: object) -> Sequence[object]:
    if not isinstance(stored, list):
        raise ValueError("stored is no array")
    return stored


def _pair(stored: object) -> tuple[object, object]:
    first, second = _list(stored)
    return first, second


def _object(stored: object) -> Mapping[str, object]:
    if not isinstance(stored, dict):
        raise ValueError("stored is no object")
    return stored
