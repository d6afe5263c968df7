"""The whole product on one machine: Postgres, Kafka, three API processes and three workers under one supervisor."""

import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from deploy.local.kafka import Broker, create_broker
from deploy.local.logins import create_logins, derived_password, login_url
from deploy.local.migrations import migrate
from deploy.local.ports import LOOPBACK, LOOPBACK_NETWORK, require_free
from deploy.local.postgres import PostgresServer
from deploy.local.process import ManagedProcess
from deploy.local.secrets import DevelopmentSecrets, ensure_secrets
from deploy.local.topics import set_up_topics
from shared.kafka.settings import KafkaSettings

PROJECT_FOLDER = Path(__file__).resolve().parents[2]
_READY_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1
_PROBE_TIMEOUT_SECONDS = 2.0
_STOP_WAIT_SECONDS = 20.0
_SUPERVISE_POLL_SECONDS = 0.5

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One of the six processes: how it is called, started and checked to be ready."""

    name: str
    command: tuple[str, ...]
    port: int
    port_variable: dict[str, str]
    public_url: str
    """Where clients reach the service: its API, also for what its worker has others call."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class Stack:
    """A running stack as a context manager: entering starts everything and waits until it is ready, leaving stops it.

    Workers and APIs stop first, then Kafka, then Postgres, also when starting fails half-way. Enter it from the
    main thread; starting and stopping block. Nothing that dies is restarted; `require_alive` raises with what died.
    """

    def __init__(self, configuration: StackConfiguration, *, report: Report | None = None) -> None:
        self.configuration = configuration
        self.postgres: PostgresServer | None = None
        self.kafka: Broker | None = None
        self._report = report or _silent
        self._services = {service.name: service for service in _service_processes(configuration)}
        self._processes: dict[str, ManagedProcess] = {}
        self._secrets: DevelopmentSecrets | None = None
        self._database_url = configuration.database_url
        self._kafka_bootstrap = configuration.kafka_bootstrap
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def database_url(self) -> str:
        """Of the superuser or owner: what migrations and ATTAIN_DATABASE_URL take."""
        return _known(self._database_url, "database")

    def service_database_url(self, service: str) -> str:
        """Of the login that a service connects as, which owns nothing."""
        return login_url(self.database_url, service, self._login_password(service))

    @property
    def kafka_bootstrap(self) -> str:
        """host:port, what ATTAIN_KAFKA_BOOTSTRAP takes."""
        return _known(self._kafka_bootstrap, "broker")

    @property
    def secrets(self) -> DevelopmentSecrets:
        if self._secrets is None:
            raise StackError("The stack has not been started.")
        return self._secrets

    @property
    def service_names(self) -> tuple[str, ...]:
        """`goals-api`, `goals-worker` and so on, in the order they start."""
        return tuple(self._services)

    def url(self, service: str) -> str:
        """Base URL of a process, without a slash at the end: `stack.url("goals-api")`."""
        return self._services[service].url

    def process(self, service: str) -> ManagedProcess:
        """The running process, for its pid and its log, or to kill it."""
        return self._processes[service]

    def start_service(self, name: str) -> None:
        """Start one of the six, for example again after a kill; does not wait until it is ready."""
        service = self._services[name]
        self._processes[name] = ManagedProcess.start(
            name,
            service.command,
            log_path=_logs(self.configuration.state_folder) / f"{name}.log",
            environment={"ATTAIN_PUBLIC_URL": service.public_url}
            | self.environment()
            | {"ATTAIN_DATABASE_URL": self.service_database_url(name.partition("-")[0])}
            | service.port_variable,
            working_directory=PROJECT_FOLDER,
        )

    def wait_until_ready(self, *names: str) -> None:
        """Poll /readyz of the named processes; `StackError` when one dies or the deadline passes."""
        deadline = time.monotonic() + _READY_WAIT_SECONDS
        waiting = list(names)
        with httpx.Client(timeout=_PROBE_TIMEOUT_SECONDS, trust_env=False) as client:
            while waiting:
                process = self._processes[waiting[0]]
                if not process.running:
                    raise StackError(process.death_notice())
                answer = _probe(client, f"{self.url(waiting[0])}/readyz")
                if answer is None:
                    waiting.pop(0)
                    continue
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{waiting[0]} was not ready within {_READY_WAIT_SECONDS:.0f} s ({answer}), "
                        f"see {process.log_path}."
                    )
                time.sleep(_POLL_SECONDS)

    def require_alive(self) -> None:
        """Raise `StackError` with the last log lines of the first child that has ended by itself."""
        children = list(self._processes.values())
        if self.kafka is not None:
            children.append(self.kafka.process)
        if self.postgres is not None:
            children.append(self.postgres.process)
        for child in children:
            if not child.running:
                raise StackError(child.death_notice())

    def supervise(self) -> None:
        """Block until interrupted; `StackError` as soon as a child ends by itself."""
        while True:
            self.require_alive()
            time.sleep(_SUPERVISE_POLL_SECONDS)

    def environment(self) -> dict[str, str]:
        """The environment of every child, and of any command that should talk to this stack."""
        generated = {
            "ATTAIN_SECRETS_KEY": self.secrets.secrets_key,
            # What a local stack calls, such as a CRM that is played, may be on this machine.
            "ATTAIN_OUTBOUND_ALLOWED_NETWORKS": LOOPBACK_NETWORK,
        }
        if not any(os.environ.get(name) for name in ("ATTAIN_JWT_JWKS_URL", "ATTAIN_JWT_PUBLIC_KEY")):
            generated["ATTAIN_JWT_SECRET"] = self.secrets.jwt_secret
        return {
            **generated,
            **os.environ,
            "ATTAIN_DATABASE_URL": self.database_url,
            "ATTAIN_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "ATTAIN_HOST": LOOPBACK,
            "ATTAIN_STATE_DIR": str(self.configuration.state_folder),
            "PYTHONUNBUFFERED": "1",
        }

    def _login_password(self, service: str) -> str:
        return derived_password(self.secrets.secrets_key, service)

    def stop(self) -> None:
        """Stop everything in order; further interrupts wait until it is done."""
        with _interrupts_ignored():
            self._cleanup.close()

    def _start(self) -> None:
        folder = _prepared_folder(self.configuration.state_folder)
        self._cleanup.enter_context(_locked(folder))
        for service in self._services.values():
            require_free(service.port, service.name)
        self._secrets = ensure_secrets(folder)
        ports = self.configuration.ports
        if self._database_url is None:
            self.postgres = PostgresServer(folder / "postgres", port=ports.postgres)
            self._database_url = self.postgres.url()
            self._cleanup.callback(self.postgres.stop)
        if self._kafka_bootstrap is None:
            self.kafka = create_broker(folder / "kafka", port=ports.kafka, controller_port=ports.kafka_controller)
            self._kafka_bootstrap = self.kafka.bootstrap
            self._cleanup.callback(self.kafka.stop)
        self._cleanup.callback(self._stop_services)
        if self.kafka is not None:
            self.kafka.launch()
        if self.postgres is not None:
            self.postgres.start()
            self._report(f"PostgreSQL is ready at {self._database_url}, its data in {self.postgres.data_folder}.")
        key = self.secrets.secrets_key
        _outside_event_loops(lambda: migrate(self.database_url, secrets_key=key))
        _outside_event_loops(lambda: create_logins(self.database_url, self._login_password))
        self._report("The database schemas are up to date.")
        if self.kafka is not None:
            self.kafka.wait_until_ready()
            self._report(f"{self.kafka.description} is ready at {self.kafka.bootstrap}.")
        settings = KafkaSettings(bootstrap=self.kafka_bootstrap)
        _outside_event_loops(lambda: set_up_topics(settings))
        for name in self._services:
            self.start_service(name)
        self.wait_until_ready(*self._services)
        self._report("Three API processes and three workers are ready.")

    def _stop_services(self) -> None:
        processes = list(self._processes.values())
        for process in processes:
            process.request_stop()
        deadline = time.monotonic() + _STOP_WAIT_SECONDS
        for process in processes:
            if not process.stop(max(0.0, deadline - time.monotonic())):
                self._report(f"{process.name} did not stop within {_STOP_WAIT_SECONDS:.0f} s and was killed.")


def clear_state(state_folder: Path) -> None:
    """Delete what earlier stacks left in the folder: data of the embedded servers, logs and secrets.

    Real servers that ATTAIN_DATABASE_URL or ATTAIN_KAFKA_BOOTSTRAP point at are not touched.
    """
    folder = _prepared_folder(state_folder)
    with _locked(folder):
        PostgresServer(folder / "postgres", port=0).remove_data()
        for name in ("postgres", "kafka", "logs"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "secrets.json").unlink(missing_ok=True)


def _service_processes(configuration: StackConfiguration) -> Iterator[ServiceProcess]:
    ports = configuration.ports
    apis = {"goals": ports.goals, "tracking": ports.tracking, "incentives": ports.incentives}
    workers = {"goals": ports.goals_worker, "tracking": ports.tracking_worker, "incentives": ports.incentives_worker}
    for service, port in workers.items():
        yield ServiceProcess(
            name=f"{service}-worker",
            command=(sys.executable, "-m", "deploy.start", f"services.{service}.worker"),
            port=port,
            port_variable={"ATTAIN_WORKER_PORT": str(port)},
            public_url=f"http://{LOOPBACK}:{apis[service]}",
        )
    for service, port in apis.items():
        yield ServiceProcess(
            name=f"{service}-api",
            command=(
                sys.executable,
                "-m",
                "deploy.start",
                "deploy.api_process",
                f"services.{service}.app:create_app",
                str(port),
            ),
            port=port,
            port_variable={},
            public_url=f"http://{LOOPBACK}:{port}",
        )


def _probe(client: httpx.Client, url: str) -> str | None:
    """None when the answer is 200, else what it was."""
    try:
        response = client.get(url)
    except httpx.HTTPError as error:
        return str(error)
    return None if response.is_success else f"{response.status_code}: {response.text[:300]}"


def _prepared_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _logs(folder).mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(f"The state folder {folder} (ATTAIN_STATE_DIR) cannot be used: {error.strerror}.") from error
    return folder


def _logs(folder: Path) -> Path:
    return folder / "logs"


@contextmanager
def _locked(folder: Path) -> Iterator[IO[str]]:
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise StackError(
                f"Another stack (process {owner}) uses the state folder {folder}: stop it or set ATTAIN_STATE_DIR."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in stopping}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _outside_event_loops(work: Callable[[], None]) -> None:
    """Run what starts a loop of its own, also for a caller that has one running."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work).result()


def _silent(line: str) -> None:
    del line


def _known(value: str | None, what: str) -> str:
    if value is None:
        raise StackError(f"The stack has no {what} yet: it has not been started.")
    return value
