"""The generated documents: JSON Schema and example of every event, and the AsyncAPI 3 description of the topics."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from shared.contracts.base import Event
from shared.contracts.examples import EXAMPLES
from shared.contracts.topics import EVENT_TYPES, TOPICS, TopicSpec

SERVICES = ("goals", "tracking", "incentives")


def event_schema(event: type[Event]) -> dict[str, JsonValue]:
    """The JSON Schema (2020-12) of an event as it is published."""
    schema: dict[str, JsonValue] = event.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:attain:event:{event.event_type}",
        **schema,
    }


def event_example(event: type[Event]) -> dict[str, JsonValue]:
    """A real instance of an event, as it is published."""
    example: dict[str, JsonValue] = EXAMPLES[event.event_type].model_dump(mode="json")
    return example


def documents() -> Mapping[str, str]:
    """Every generated file of `shared/contracts`, path → text."""
    files: dict[str, object] = {"asyncapi.json": asyncapi()}
    for name, event in EVENT_TYPES.items():
        files[f"schemas/{name}.json"] = event_schema(event)
        files[f"examples/{name}.json"] = event_example(event)
    return {path: json.dumps(data, indent=2, ensure_ascii=False) + "\n" for path, data in files.items()}


def asyncapi() -> dict[str, JsonValue]:
    """The AsyncAPI 3.0 document of every topic: who sends, who may receive, keys, headers, payloads."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Attain events",
            "version": "1.0.0",
            "description": "Versioned snapshots in CloudEvents 1.0 Kafka binary mode. A reader keeps the newest "
            "version of each subject; duplicates and old versions are no news.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:8111", "protocol": "kafka", "description": "The broker of a local stack."}
        },
        "channels": {spec.name: _channel(spec) for spec in TOPICS.values()},
        "operations": {f"publish {spec.name}": _operation(spec) for spec in TOPICS.values()},
        "components": {
            "messages": {name: _message(event) for name, event in EVENT_TYPES.items()},
            "messageTraits": {"cloudEvent": {"headers": _headers()}},
        },
    }


def _channel(spec: TopicSpec) -> JsonValue:
    configuration: JsonValue = (
        {"cleanup.policy": ["compact"]}
        if spec.retention is None
        else {"cleanup.policy": ["delete"], "retention.ms": int(spec.retention.total_seconds() * 1000)}
    )
    return {
        "address": spec.name,
        "messages": {event.event_type: {"$ref": f"#/components/messages/{event.event_type}"} for event in spec.events},
        "bindings": {
            "kafka": {
                "topic": spec.name,
                "partitions": spec.partitions,
                "topicConfiguration": configuration,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(spec: TopicSpec) -> JsonValue:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{spec.name}"},
        "summary": f"The {spec.producer} service publishes every change.",
    }


def _message(event: type[Event]) -> JsonValue:
    return {
        "name": event.event_type,
        "title": event.__name__,
        "summary": (event.__doc__ or "").strip().split("\n")[0],
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": _inlined(event)},
        "examples": [{"name": event.event_type, "payload": event_example(event)}],
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "<tenant id>/<ce_subject>"},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _inlined(event: type[Event]) -> JsonValue:
    return {key: value for key, value in event_schema(event).items() if key != "$schema"}


def _headers() -> JsonValue:
    text: JsonValue = {"type": "string"}
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_tenantid"],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {"type": "string", "format": "uuid"},
            "ce_source": {"enum": [f"/attain/{service}" for service in SERVICES]},
            "ce_type": {"enum": list(EVENT_TYPES)},
            "ce_subject": text,
            "ce_time": {"type": "string", "format": "date-time"},
            "ce_tenantid": {"type": "string", "format": "uuid"},
            "ce_recordversion": {
                "type": "string",
                "description": "The version of a deal or an activity: <modified_at>/<sequence>/<delivery_id>",
            },
            "traceparent": text,
        },
    }
