"""Making the topics that are missing, and refusing to run on those that are not as they must be."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from shared.contracts.topics import DEAD_LETTER_RETENTION, TopicSpec
from shared.kafka.settings import KafkaSettings
from shared.telemetry.logs import get_logger

MESSAGE_BYTES_MAX: Final = 6 * 1024 * 1024
"""Of a message's key, value and headers. The largest event, a deal with all it may have, has some five million."""

_log = get_logger(__name__)
_DEAD_LETTER_PARTITIONS: Final = 1
_CLEANUP_POLICY: Final = "cleanup.policy"
_MESSAGE_BYTES: Final = "max.message.bytes"
# A batch of one message, with the headers that a dead letter has more.
_BATCH_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
_OF_TOPIC: Final = 1
_ADMIN_MILLISECONDS_MAX: Final = 15_000
_APPEARING_SECONDS_MAX: Final = 10.0
_APPEARING_POLL_SECONDS: Final = 0.1


class TopicsUnusable(Exception):
    """Topics could not be made, or exist in a shape that would break what is promised about them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    partitions: int
    configuration: Mapping[str, str]


class _Setting(NamedTuple):
    value: str
    is_of_topic: bool
    """Set for the topic itself, neither the broker's nor the default."""


async def ensure_topics(settings: KafkaSettings, specs: Iterable[TopicSpec]) -> None:
    """Make each topic and its `.dlq` if missing; check partitions, cleanup policy and largest message of those there.

    Any number of processes may call it at once. Raises TopicsUnusable, naming every problem, and
    aiokafka.errors.KafkaConnectionError when no broker can be reached. Of what exists only a too small largest message
    is changed.
    """
    wanted = {each.name: each for spec in specs for each in _wanted(spec)}
    admin = AIOKafkaAdminClient(**settings.client_options("attain-topics"), request_timeout_ms=_ADMIN_MILLISECONDS_MAX)
    try:
        await admin.start()
        missing = wanted.keys() - set(await admin.list_topics())
        made = await _create(admin, [wanted[name] for name in sorted(missing)], settings.replication_factor)
        problems = await _fit(admin, [each for name, each in sorted(wanted.items()) if name not in made])
    finally:
        await admin.close()
    if problems:
        raise TopicsUnusable(problems)


def _wanted(spec: TopicSpec) -> tuple[_Wanted, _Wanted]:
    cleanup = {_CLEANUP_POLICY: "compact"} if spec.retention is None else _for(spec.retention)
    large = {_MESSAGE_BYTES: str(_BATCH_BYTES_MAX)}
    return (
        _Wanted(spec.name, spec.partitions, {**cleanup, **large}),
        _Wanted(spec.dead_letters, _DEAD_LETTER_PARTITIONS, {**_for(DEAD_LETTER_RETENTION), **large}),
    )


def _for(retention: timedelta) -> Mapping[str, str]:
    return {_CLEANUP_POLICY: "delete", "retention.ms": str(int(retention.total_seconds() * 1000))}


async def _create(admin: AIOKafkaAdminClient, wanted: list[_Wanted], replication_factor: int) -> frozenset[str]:
    """Names of the topics made. One that another process made meanwhile is left for the check."""
    if not wanted:
        return frozenset()
    response = await admin.create_topics(
        [
            NewTopic(
                each.name,
                each.partitions,
                replication_factor,
                replica_assignments={} if replication_factor == -1 else None,
                topic_configs=dict(each.configuration),
            )
            for each in wanted
        ]
    )
    made: set[str] = set()
    problems: list[str] = []
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if error is NoError:
            made.add(name)
        elif error is not TopicAlreadyExistsError:
            problems.append(f"topic {name} could not be made: {error.__name__}")
    if problems:
        raise TopicsUnusable(problems)
    if made:
        _log.info("topics_made", topics=sorted(made))
    return frozenset(made)


async def _fit(admin: AIOKafkaAdminClient, wanted: list[_Wanted]) -> list[str]:
    """Make room for the largest message in topics that are there; what else of them is not as it must be."""
    if not wanted:
        return []
    partitions = await _partitions(admin, [each.name for each in wanted])
    configured = await _configurations(admin, [each.name for each in wanted])
    problems = await _make_room(admin, configured)
    for each in wanted:
        if partitions.get(each.name) != each.partitions:
            problems.append(f"topic {each.name} has {partitions.get(each.name)} partitions, expected {each.partitions}")
        current, expected = configured.get(each.name, {}), each.configuration[_CLEANUP_POLICY]
        policy = current[_CLEANUP_POLICY].value if _CLEANUP_POLICY in current else None
        if policy is not None and set(policy.split(",")) != {expected}:
            problems.append(f"topic {each.name} has {_CLEANUP_POLICY}={policy}, expected {expected}")
    return problems


async def _make_room(admin: AIOKafkaAdminClient, configured: Mapping[str, Mapping[str, _Setting]]) -> list[str]:
    """Raise the largest message of topics that were made when it was smaller; why it could not be.

    All of a topic's own configuration is sent once more: what is left out would go back to the broker's default.
    """
    small = {
        name: {key: each.value for key, each in settings.items() if each.is_of_topic}
        for name, settings in configured.items()
        if _MESSAGE_BYTES in settings and int(settings[_MESSAGE_BYTES].value) < _BATCH_BYTES_MAX
    }
    if not small:
        return []
    roomy = {_MESSAGE_BYTES: str(_BATCH_BYTES_MAX)}
    responses = await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, configs={**own, **roomy}) for name, own in small.items()]
    )
    refused = {
        name: for_code(code)
        for response in responses
        for code, _, _, name in response.resources
        if for_code(code) is not NoError
    }
    if raised := sorted(small.keys() - refused.keys()):
        _log.info("topics_made_roomier", topics=raised, max_message_bytes=_BATCH_BYTES_MAX)
    return [
        f"{_MESSAGE_BYTES} of topic {name} could not be raised to {_BATCH_BYTES_MAX}: {error.__name__}"
        for name, error in sorted(refused.items())
    ]


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """How many partitions each topic has. One that was made a moment ago is waited for: at first it shows none."""
    looked_until = monotonic() + _APPEARING_SECONDS_MAX
    while True:
        described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(names)}
        if all(described.get(name) for name in names) or monotonic() > looked_until:
            return described
        await asyncio.sleep(_APPEARING_POLL_SECONDS)


async def _configurations(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, _Setting]]:
    """Each topic's configuration by the broker. All of it is requested: not every broker takes names."""
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {key: _Setting(value, source == _OF_TOPIC) for key, value, _, source, *_ in entries if value}
        for response in responses
        for code, _, _, name, entries in response.resources
        if for_code(code) is NoError
    }
