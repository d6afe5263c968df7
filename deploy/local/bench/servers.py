"""The servers that the measurements share: a Postgres and a broker of their own, thrown away at the end."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.local.kafka import Broker, create_broker
from deploy.local.logins import create_logins
from deploy.local.migrations import migrate
from deploy.local.ports import free_ports
from deploy.local.postgres import PostgresServer
from deploy.local.topics import set_up_topics
from shared.kafka.settings import KafkaSettings

_TEMPLATE = "bench_template"


@dataclass(frozen=True, slots=True)
class Servers:
    """Running servers, and a migrated database without rows to copy from."""

    folder: Path
    postgres: PostgresServer
    broker: Broker

    @property
    def kafka_bootstrap(self) -> str:
        return self.broker.bootstrap

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap=self.kafka_bootstrap)

    async def new_database(self, name: str, *, template: str = _TEMPLATE) -> str:
        """The URL of a new copy of a template, its pages written out so that no measurement pays for them."""
        await self.administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}"', "CHECKPOINT")
        return self.postgres.url(name)

    async def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        await self.administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def tidy(self, name: str) -> None:
        """Vacuum and analyse a database and write out its pages."""
        await self.administer("VACUUM ANALYZE", "CHECKPOINT", database=name)

    async def administer(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the superuser, each by itself."""
        connection = await asyncpg.connect(self.postgres.url(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Servers on free ports with their state in a temporary folder; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="attain-bench-"))
    # Postgres runs as another account when we are root.
    folder.chmod(0o711)
    postgres_port, kafka_port, controller_port = free_ports(3)
    postgres = PostgresServer(folder / "postgres", port=postgres_port)
    broker = create_broker(folder / "kafka", port=kafka_port, controller_port=controller_port)
    try:
        broker.launch()
        postgres.start()
        servers = Servers(folder, postgres, broker)
        asyncio.run(servers.new_database(_TEMPLATE, template="template0"))
        migrate(postgres.url(_TEMPLATE))
        create_logins(postgres.url(_TEMPLATE), lambda service: service)
        broker.wait_until_ready()
        set_up_topics(servers.kafka)
        yield servers
    finally:
        broker.stop()
        postgres.stop()
        postgres.remove_data()
        shutil.rmtree(folder, ignore_errors=True)
