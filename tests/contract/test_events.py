"""The events are what is checked in says they are, and no reader of an older release trips over a newer one."""

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import JsonValue

from services.goals.targets import domain as goals_domain
from services.tracking.records.domain.snapshots import distinct
from shared.contracts.activities import Activity
from shared.contracts.base import Event
from shared.contracts.deals import Deal
from shared.contracts.documents import asyncapi, documents, event_example, event_schema
from shared.contracts.envelope import MalformedEvent, from_record, parse, tenant_of, to_message
from shared.contracts.examples import EXAMPLES
from shared.contracts.goals import Direction, Goal, GoalStatus, Metric
from shared.contracts.org import Person
from shared.contracts.topics import EVENT_TYPES, TOPICS
from shared.kernel.deals import DateField
from shared.kernel.errors import InvalidInput
from shared.kernel.filters import EVERYTHING, Condition, Operator
from shared.kernel.measures import INSTALMENT_FIELDS, Aggregate, Measure, RatePolicy
from shared.kernel.records import RECORD_TYPES, RecordKind
from tests.contract.compatibility import breaking_changes
from tests.servers.typescript import client_folder

CONTRACTS = Path(__file__).parents[2] / "shared" / "contracts"
EVENT_ID = UUID("01935a00-0000-7000-8000-0000000000aa")
NOW = datetime(2026, 3, 31, 18, 40, 2, 500000, tzinfo=UTC)
NAMES = sorted(EVENT_TYPES)


def released(name: str) -> dict[str, JsonValue]:
    schema: dict[str, JsonValue] = json.loads((CONTRACTS / "released" / f"{name}.json").read_text())
    return schema


def message_headers(event: Event) -> dict[str, bytes]:
    return dict(to_message(event, event_id=EVENT_ID, source="goals", time=NOW).headers)


def test_the_checked_in_documents_are_the_ones_the_code_generates() -> None:
    generated = documents()
    folders = [CONTRACTS / "schemas", CONTRACTS / "examples"]
    checked_in = {path.relative_to(CONTRACTS).as_posix() for folder in folders for path in folder.iterdir()}
    assert checked_in | {"asyncapi.json"} == set(generated)
    stale = [path for path, text in generated.items() if (CONTRACTS / path).read_text() != text]
    assert stale == [], "run `attain asyncapi`"


def test_every_event_type_was_released_and_none_has_vanished() -> None:
    assert {path.stem for path in (CONTRACTS / "released").iterdir()} == set(EVENT_TYPES)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_breaks_no_reader_of_the_release(name: str) -> None:
    assert breaking_changes(released(name), event_schema(EVENT_TYPES[name])) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_valid_by_the_current_and_the_released_schema(name: str) -> None:
    example = event_example(EVENT_TYPES[name])
    for schema in (event_schema(EVENT_TYPES[name]), released(name)):
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(example)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_survives_the_envelope(name: str) -> None:
    event = EXAMPLES[name]
    message = to_message(event, event_id=EVENT_ID, source="goals", time=NOW, traceparent="00-1-2-01")
    headers = dict(message.headers)
    assert from_record(headers, message.value) == event
    assert message.topic == event.topic
    assert message.key == f"{event.tenant_id}/{event.subject}"
    assert tenant_of(headers) == event.tenant_id
    assert headers == {
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
        "ce_id": str(EVENT_ID).encode(),
        "ce_source": b"/attain/goals",
        "ce_type": name.encode(),
        "ce_subject": event.subject.encode(),
        "ce_time": b"2026-03-31T18:40:02.500000Z",
        "ce_tenantid": str(event.tenant_id).encode(),
        "traceparent": b"00-1-2-01",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_ignores_fields_it_does_not_know(name: str) -> None:
    event = EXAMPLES[name]
    value = json.dumps({**event_example(type(event)), "new_field": {"of": "a later release"}}).encode()
    assert from_record(message_headers(event), value) == event


def test_an_event_of_an_unknown_type_is_passed_over() -> None:
    assert from_record({"ce_type": b"attain.badge.v1"}, b"{}") is None


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"ce_type": None}, b"{}"),
        ({"ce_type": b"\xff"}, b"{}"),
        ({}, None),
        ({}, b"not json"),
        ({}, b'{"tenant_id": 1}'),
        ({"ce_tenantid": None}, EXAMPLES["attain.person.v1"].model_dump_json().encode()),
        ({"ce_tenantid": b"nobody"}, EXAMPLES["attain.person.v1"].model_dump_json().encode()),
        ({"ce_tenantid": str(UUID(int=7)).encode()}, EXAMPLES["attain.person.v1"].model_dump_json().encode()),
    ],
)
def test_a_record_that_is_no_event_is_malformed(change: dict[str, bytes | None], value: bytes | None) -> None:
    headers = message_headers(EXAMPLES["attain.person.v1"])
    changed = {key: held for key, held in {**headers, **change}.items() if held is not None}
    with pytest.raises(MalformedEvent):
        from_record(changed, value)


def test_money_is_a_string_and_a_binary_fraction_is_refused() -> None:
    example = event_example(Deal)
    assert example["amount"] == "60000"
    headers = message_headers(EXAMPLES["attain.deal.v1"])
    with pytest.raises(MalformedEvent, match="/amount: value_error"):
        parse(Deal, headers, json.dumps({**example, "amount": 60000.1}).encode())
    assert parse(Deal, headers, json.dumps({**example, "amount": "60000.10"}).encode()).facts().amount is not None


def test_an_instant_without_a_zone_is_refused() -> None:
    example = {**event_example(Deal), "modified_at": "2026-03-31T18:40:02"}
    with pytest.raises(MalformedEvent):
        parse(Deal, message_headers(EXAMPLES["attain.deal.v1"]), json.dumps(example).encode())


def test_a_metric_is_the_rule_it_was_made_from() -> None:
    goal = EXAMPLES["attain.goal.v1"]
    assert isinstance(goal, Goal)
    assert Metric.of(goal.metric.measure()) == goal.metric
    broken = goal.metric.model_copy(update={"filter": {"all": [{"field": "nope", "op": "eq", "value": "x"}]}})
    with pytest.raises(InvalidInput, match="/filter/all/0/field"):
        broken.measure()


def test_a_metric_of_activities_is_the_rule_it_was_made_from_and_valid_to_a_reader_of_the_release() -> None:
    rule = Measure(Aggregate.SUM, "duration_seconds", DateField.OCCURRED, record=RecordKind.ACTIVITY)
    goal = EXAMPLES["attain.goal.v1"].model_copy(update={"metric": Metric.of(rule)})
    assert Metric.of(rule).measure() == rule
    Draft202012Validator(released("attain.goal.v1")).validate(goal.model_dump(mode="json"))


@pytest.mark.parametrize(
    "rule",
    [
        Measure(Aggregate.RATIO, None, DateField.CLOSED, numerator_filter=Condition("status", Operator.EQ, ("won",))),
        Measure(Aggregate.RATIO, "amount", DateField.PAID, currency="USD", numerator_filter=EVERYTHING),
        Measure(Aggregate.AVERAGE, "quantity", DateField.CREATED),
    ],
)
def test_a_metric_of_a_ratio_or_an_average_is_the_rule_it_was_made_from_and_valid_to_a_reader_of_the_release(
    rule: Measure,
) -> None:
    goal = EXAMPLES["attain.goal.v1"].model_copy(update={"metric": Metric.of(rule)})
    assert Metric.model_validate_json(Metric.of(rule).model_dump_json()).measure() == rule
    Draft202012Validator(released("attain.goal.v1")).validate(goal.model_dump(mode="json"))


@pytest.mark.parametrize("date_field", list(RECORD_TYPES[RecordKind.DEAL].days))
@pytest.mark.parametrize("policy", list(RatePolicy))
def test_a_metric_of_money_says_its_day_and_its_rates(date_field: DateField, policy: RatePolicy) -> None:
    fixed = (("CNY", Decimal("0.14")), ("EUR", Decimal("1.1"))) if policy is RatePolicy.FIXED else ()
    field = INSTALMENT_FIELDS.get(date_field, "amount")
    measure = Measure(Aggregate.SUM, field, date_field, currency="USD", rate_policy=policy, fixed_rates=fixed)
    assert Metric.model_validate_json(Metric.of(measure).model_dump_json()).measure() == measure


def test_a_metric_from_before_other_currencies_counted_counts_its_own_only() -> None:
    goal = event_example(Goal)
    metric = goal["metric"]
    assert isinstance(metric, dict)
    released_only = {name: metric[name] for name in ("aggregate", "value_field", "date_field", "filter", "currency")}
    measure = Metric.model_validate(released_only).measure()
    assert (measure.rate_policy, measure.fixed_rates, measure.date_field) == (RatePolicy.NONE, (), DateField.CLOSED)


def test_a_deal_from_before_payments_and_invoices_were_told_has_none() -> None:
    example = event_example(Deal)
    later = ("home_amount", "home_currency", "payments", "invoices")
    older = {name: value for name, value in example.items() if name not in later}
    facts = parse(Deal, message_headers(EXAMPLES["attain.deal.v1"]), json.dumps(older).encode()).facts()
    assert (facts.home_amount, facts.home_currency, facts.paid_amount, facts.payments) == (None, None, None, ())
    assert (facts.invoiced_amount, facts.invoices) == (None, ())


@pytest.mark.parametrize("name", ["attain.deal.v1", "attain.activity.v1"])
def test_an_event_of_an_earlier_release_from_the_future_is_ordered_by_when_it_was_received(name: str) -> None:
    event = EXAMPLES[name]
    assert isinstance(event, Deal | Activity)
    latest = event.received_at + timedelta(minutes=5)
    told, ahead = (
        type(event).from_json(
            event.model_copy(update={"modified_at": modified_at}).model_dump_json(exclude={"corrections"})
        )
        for modified_at in (latest, latest + timedelta(microseconds=1))
    )
    assert told.version.modified_at == latest
    assert ahead.version.modified_at == event.received_at
    assert ahead.facts().version == ahead.version
    assert distinct([told, ahead]) == [ahead, told]


def test_the_words_of_a_goal_are_the_same_in_the_domain_and_on_the_topic() -> None:
    assert [status.value for status in GoalStatus] == [status.value for status in goals_domain.Status]
    assert [direction.value for direction in Direction] == [direction.value for direction in goals_domain.Direction]


def test_an_alert_of_a_kind_that_is_not_known_yet_is_read_by_who_knows_the_topic() -> None:
    alert = EXAMPLES["attain.alert.v1"].model_copy(update={"kind": "goal_health", "subject_type": "goal"})
    assert from_record(message_headers(alert), alert.model_dump_json().encode()) == alert
    Draft202012Validator(released("attain.alert.v1")).validate(alert.model_dump(mode="json"))


def test_the_deal_a_reader_gets_has_every_fact_of_the_event() -> None:
    deal = EXAMPLES["attain.deal.v1"]
    assert isinstance(deal, Deal)
    facts = deal.facts()
    assert facts.version == deal.version
    assert facts.quantity == sum(line.quantity for line in deal.products)
    assert deal.model_copy(update={"products": ()}).facts().quantity is None
    for name in ("source", "external_id", "kind", "status", "amount", "currency", "stage", "account_id", "custom"):
        assert getattr(facts, name) == getattr(deal, name), name
    assert facts.type == deal.type
    assert [split.percent for split in facts.splits] == [split.percent for split in deal.splits]


def test_the_activity_a_reader_gets_has_every_fact_of_the_event() -> None:
    activity = EXAMPLES["attain.activity.v1"]
    assert isinstance(activity, Activity)
    facts = activity.facts()
    assert facts.subject == event_example(Activity)["subject"] == "Renewal terms"
    assert facts.duration_seconds == Decimal(660)
    assert activity.model_copy(update={"duration_seconds": None}).facts().duration_seconds is None
    for name in ("source", "external_id", "version", "type", "status", "owner_external_id", "occurred_at", "outcome"):
        assert getattr(facts, name) == getattr(activity, name), name
    for name in ("deal_external_id", "account_id", "custom"):
        assert getattr(facts, name) == getattr(activity, name), name
    assert activity.model_copy(update={"is_deleted": True}).facts().is_gone


def test_the_authors_of_asyncapi_accept_the_document() -> None:
    specification = client_folder() / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json"
    validator = Draft7Validator(json.loads(specification.read_text()))
    assert [error.message[:500] for error in validator.iter_errors(asyncapi())] == []


def test_asyncapi_describes_every_topic_with_how_it_is_kept() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    channels, operations = document["channels"], document["operations"]
    assert isinstance(channels, dict)
    assert isinstance(operations, dict)
    assert set(channels) == set(TOPICS)
    kept = {name: at(channels, name, "bindings", "kafka", "topicConfiguration")["cleanup.policy"] for name in channels}
    assert kept == {
        "attain.org.v1": ["compact"],
        "attain.goals.v1": ["compact"],
        "attain.deals.v1": ["compact"],
        "attain.activities.v1": ["compact"],
        "attain.actuals.v1": ["compact"],
        "attain.progress.v1": ["compact"],
        "attain.alerts.v1": ["compact"],
        "attain.earnings.v1": ["delete"],
    }
    assert set(operations) == {f"publish {name}" for name in TOPICS}
    for reference in references(document):
        assert resolves(document, reference), reference


def references(node: JsonValue) -> list[str]:
    """Every reference into the AsyncAPI document itself; those inside a payload are into the payload's schema."""
    if isinstance(node, dict):
        found = [str(node["$ref"])] if "$ref" in node else []
        return found + [ref for key, value in node.items() if key != "schema" for ref in references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in references(value)]
    return []


def resolves(document: JsonValue, reference: str) -> bool:
    node = document
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


SCHEMA: dict[str, JsonValue] = {
    "$defs": {
        "Kind": {"type": "string", "enum": ["person", "team"]},
        "Part": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
    },
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10, "minLength": 1},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "at": {"type": "string", "format": "date-time"},
        "kind": {"$ref": "#/$defs/Kind"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "minItems": 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "sort": {"const": "a", "type": "string"},
    },
    "required": ["name", "count", "kind"],
}


def changed(change: Callable[[dict[str, JsonValue]], object]) -> dict[str, JsonValue]:
    schema = copy.deepcopy(SCHEMA)
    change(schema)
    return schema


def at(schema: JsonValue, *path: str) -> dict[str, JsonValue]:
    for part in path:
        assert isinstance(schema, dict)
        schema = schema[part]
    assert isinstance(schema, dict)
    return schema


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda s: at(s, "properties").pop("name"), "/name: removed"),
        (lambda s: at(s).update(required=["count", "kind"]), "/name: is no longer always present"),
        (lambda s: at(s, "properties", "count").update(type="string"), "/count: type"),
        (lambda s: at(s, "properties", "at").update(format="date"), "/at: format"),
        (lambda s: at(s, "properties", "code").update(pattern=".*"), "/code: pattern"),
        (lambda s: at(s, "properties", "code").pop("pattern"), "/code: pattern"),
        (lambda s: at(s, "properties", "sort").update(const="b"), "/sort: const"),
        (lambda s: at(s, "$defs", "Kind").update(enum=["person", "team", "bot"]), "/kind: new values"),
        (lambda s: at(s, "$defs", "Kind").pop("enum"), "/kind: is no longer limited"),
        (lambda s: at(s, "properties", "count").update(minimum=0), "/count: minimum loosened"),
        (lambda s: at(s, "properties", "count").pop("maximum"), "/count: maximum loosened"),
        (lambda s: at(s, "properties", "name").update(maxLength=11), "/name: maxLength loosened"),
        (lambda s: at(s, "properties", "name").pop("minLength"), "/name: minLength loosened"),
        (lambda s: at(s, "properties", "parts").update(minItems=0), "/parts: minItems loosened"),
        (lambda s: at(s, "$defs", "Part", "properties", "sku").update(type="integer"), "/parts/items/sku: type"),
        (lambda s: at(s, "$defs", "Part").update(required=[]), "/parts/items/sku: is no longer"),
        (lambda s: at(s, "properties", "parts").pop("items"), "/parts: items changed"),
        (lambda s: at(s, "properties", "tags").update(additionalProperties={"type": "integer"}), "/tags/additional"),
        (lambda s: at(s, "properties", "tags").pop("additionalProperties"), "/tags: additionalProperties changed"),
        (lambda s: at(s, "properties", "note").update(anyOf=[{"type": "string"}, {"type": "integer"}]), "/note: type"),
        (lambda s: at(s, "properties").update(note={"type": "string"}), "/note: "),
        (
            lambda s: at(s, "properties").update(name={"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "/name: type changed",
        ),
    ],
)
def test_a_change_that_a_reader_could_trip_over_is_seen(
    change: Callable[[dict[str, JsonValue]], object], where: str
) -> None:
    problems = breaking_changes(SCHEMA, changed(change))
    assert any(problem.startswith(where) for problem in problems), problems


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(title="Renamed"),
        lambda s: at(s, "properties").update(new={"type": "string"}),
        lambda s: at(s).update(required=["name", "count", "kind", "code"]),
        lambda s: at(s, "$defs", "Kind").update(enum=["person"]),
        lambda s: at(s, "properties", "count").update(minimum=2, maximum=8),
        lambda s: at(s, "properties", "name").update(maxLength=5, description="shorter"),
        lambda s: at(s, "properties", "note").update(anyOf=[{"type": "string"}]),
        lambda s: at(s, "properties").update(kind=at(s, "$defs", "Kind")),
        lambda s: at(s, "$defs", "Part", "properties").update(quantity={"type": "string"}),
    ],
)
def test_a_change_that_no_reader_can_trip_over_is_allowed(change: Callable[[dict[str, JsonValue]], object]) -> None:
    assert breaking_changes(SCHEMA, changed(change)) == []


def test_a_tombstone_key_is_the_subject_within_the_tenant() -> None:
    ada = Person(tenant_id=UUID(int=1), id=UUID(int=2), version=1, name="Ada", email=None, active=True)
    message = to_message(ada, event_id=EVENT_ID, source="goals", time=NOW)
    assert message.key == f"{UUID(int=1)}/person/{UUID(int=2)}"
    assert "traceparent" not in dict(message.headers)
