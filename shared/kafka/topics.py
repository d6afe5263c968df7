"""Making the topics that are missing, and refusing to run on those that are not as they must be."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from shared.contracts.topics import DEAD_LETTER_RETENTION, TopicSpec
from shared.kafka.settings import KafkaSettings
from shared.telemetry.logs import get_logger

MESSAGE_BYTES_MAX: Final = 6 * 1024 * 1024
"""Of a message's key, value and headers. The largest event, a deal with all that it may hold, has some five million."""

_log = get_logger(__name__)
_DEAD_LETTER_PARTITIONS: Final = 1
_CLEANUP_POLICY: Final = "cleanup.policy"
_MESSAGE_BYTES: Final = "max.message.bytes"
# A batch of one message, with the headers that a dead letter has more.
_BATCH_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
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


async def ensure_topics(settings: KafkaSettings, specs: Iterable[TopicSpec]) -> None:
    """Make each topic and its `.dlq` if missing; check partitions, cleanup policy and largest message of those there.

    Any number of processes may call it at once. Raises TopicsUnusable, naming every problem, and
    aiokafka.errors.KafkaConnectionError when no broker can be reached. Nothing that exists is changed.
    """
    wanted = {each.name: each for spec in specs for each in _wanted(spec)}
    admin = AIOKafkaAdminClient(**settings.client_options("attain-topics"), request_timeout_ms=_ADMIN_MILLISECONDS_MAX)
    try:
        await admin.start()
        missing = wanted.keys() - set(await admin.list_topics())
        made = await _create(admin, [wanted[name] for name in sorted(missing)], settings.replication_factor)
        problems = await _problems(admin, [each for name, each in sorted(wanted.items()) if name not in made])
    finally:
        await admin.close()
    if problems:
        raise TopicsUnusable(problems)


def _wanted(spec: TopicSpec) -> tuple[_Wanted, _Wanted]:
    kept = {_CLEANUP_POLICY: "compact"} if spec.retention is None else _for(spec.retention)
    large = {_MESSAGE_BYTES: str(_BATCH_BYTES_MAX)}
    return (
        _Wanted(spec.name, spec.partitions, {**kept, **large}),
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


async def _problems(admin: AIOKafkaAdminClient, wanted: list[_Wanted]) -> list[str]:
    if not wanted:
        return []
    partitions = await _partitions(admin, [each.name for each in wanted])
    configured = await _configurations(admin, [each.name for each in wanted])
    problems: list[str] = []
    for each in wanted:
        if partitions.get(each.name) != each.partitions:
            problems.append(f"topic {each.name} has {partitions.get(each.name)} partitions, expected {each.partitions}")
        told = configured.get(each.name, {})
        policy, expected = told.get(_CLEANUP_POLICY), each.configuration[_CLEANUP_POLICY]
        if policy is not None and set(policy.split(",")) != {expected}:
            problems.append(f"topic {each.name} has {_CLEANUP_POLICY}={policy}, expected {expected}")
        largest = told.get(_MESSAGE_BYTES)
        if largest is not None and int(largest) < _BATCH_BYTES_MAX:
            problems.append(f"topic {each.name} has {_MESSAGE_BYTES}={largest}, expected at least {_BATCH_BYTES_MAX}")
    return problems


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """How many partitions each topic has. One that was made a moment ago is waited for: at first it shows none."""
    looked_until = monotonic() + _APPEARING_SECONDS_MAX
    while True:
        described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(names)}
        if all(described.get(name) for name in names) or monotonic() > looked_until:
            return described
        await asyncio.sleep(_APPEARING_POLL_SECONDS)


async def _configurations(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """What the broker tells of each topic's configuration. All of it is asked for: not every broker takes names."""
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {key: value for key, value, *_ in entries if value}
        for response in responses
        for code, _, _, name, entries in response.resources
        if for_code(code) is NoError
    }
