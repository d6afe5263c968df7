"""The stack that end-to-end tests share."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.kafka import Broker
from deploy.local.postgres import PostgresServer
from deploy.local.stack import Stack
from tests.servers.infrastructure import running_stack, temporary_database


@pytest.fixture(scope="package")
async def stack(postgres_server: PostgresServer, kafka_broker: Broker) -> AsyncIterator[Stack]:
    """The whole product, stopped after the last end-to-end test: use a tenant of your own in it.

    It runs on the servers of the session: nobody else uses the topics that it makes.
    """
    async with temporary_database(postgres_server.url()) as url:
        with running_stack(database_url=url, kafka_bootstrap=kafka_broker.bootstrap) as running:
            yield running
