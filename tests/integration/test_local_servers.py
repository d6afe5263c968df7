"""The embedded servers: they keep what was committed when they are killed."""

import uuid

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.kafka import InMemoryBroker
from deploy.local.postgres import PostgresServer
from tests.servers.infrastructure import running_kafka, start


async def test_a_committed_row_survives_kill_and_restart_of_postgres(postgres_server: PostgresServer) -> None:
    table = f"kept_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres_server.url())
    await connection.execute(f"CREATE TABLE {table} AS SELECT 42 AS answer")
    first_pid = postgres_server.pid

    postgres_server.process.kill()
    postgres_server.start()

    connection = await asyncpg.connect(postgres_server.url())
    assert await connection.fetchval(f"SELECT answer FROM {table}") == 42
    await connection.execute(f"DROP TABLE {table}")
    await connection.close()
    assert postgres_server.pid != first_pid


async def test_postgres_writes_durably_and_listens_on_loopback_only(postgres_server: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres_server.url())
    settings = {
        name: await connection.fetchval("SELECT current_setting($1)", name)
        for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
    }
    await connection.close()
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
    }


async def test_an_acknowledged_record_survives_kill_and_restart_of_kafka(topic_prefix: str) -> None:
    topic = f"{topic_prefix}kept"
    with running_kafka() as broker:
        if isinstance(broker, InMemoryBroker):
            pytest.skip("the in-memory broker forgets")
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
        await producer.start()
        await producer.send_and_wait(topic, b"kept", partition=0)
        await producer.stop()

        broker.process.kill()
        start(broker)

        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
        await consumer.start()
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        record = await consumer.getone()
        await consumer.stop()
        assert record.value == b"kept"
