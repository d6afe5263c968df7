"""The local stack's care for its children, ports, folder and secrets."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import psutil
import pytest

from deploy.local import java, kafka_jars
from deploy.local.configuration import StackConfiguration
from deploy.local.errors import StackError
from deploy.local.kafka import InMemoryBroker, create_broker
from deploy.local.ports import Ports, free_ports, require_free
from deploy.local.process import ManagedProcess
from deploy.local.secrets import ensure_secrets
from deploy.local.stack import Stack
from shared.contracts.topics import TOPICS
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from tests.servers.infrastructure import PROJECT_FOLDER, eventually, temporary_folder

_STARTS_A_CHILD_AND_WAITS = """
import os, sys, time
from pathlib import Path
from deploy.local.process import ManagedProcess
folder = Path(sys.argv[1])
child = ManagedProcess.start(
    "child", ["sleep", "300"], log_path=folder / "log", environment=os.environ, working_directory=folder
)
print(child.pid, flush=True)
time.sleep(300)
"""


def _start(folder: Path, code: str) -> ManagedProcess:
    return ManagedProcess.start(
        "a child",
        [sys.executable, "-u", "-c", code],
        log_path=folder / "child.log",
        environment=os.environ,
        working_directory=folder,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of other systems does not offer it")
async def test_a_child_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STARTS_A_CHILD_AND_WAITS, str(tmp_path), cwd=PROJECT_FOLDER, stdout=PIPE
    )
    assert supervisor.stdout is not None
    child = psutil.Process(int(await supervisor.stdout.readline()))
    supervisor.kill()
    await supervisor.wait()
    await eventually(lambda: not child.is_running(), 5, expectation="the end of the child")


async def test_a_death_notice_names_the_child_its_status_and_its_last_lines(tmp_path: Path) -> None:
    child = _start(tmp_path, "print('first'); print('no room left'); raise SystemExit(3)")
    await eventually(lambda: not child.running, 5)
    notice = child.death_notice()
    assert notice.startswith("a child ended with status 3; ")
    assert notice.endswith("first | no room left")


async def test_a_child_that_ignores_the_stop_signal_is_killed_after_the_timeout(tmp_path: Path) -> None:
    child = _start(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(300)",
    )
    await eventually(lambda: "ready" in child.output(), 5)
    assert child.stop(timeout_seconds=0.2) is False
    assert child.death_notice().startswith(f"a child ended by signal {signal.SIGKILL};")


def test_a_taken_port_is_named_with_the_way_to_change_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf"^Port {port} for goals-api is taken .*ATTAIN_PORT_BASE"):
            require_free(port, "goals-api")


def test_the_usual_ports_of_the_apis_are_8101_to_8103() -> None:
    ports = Ports.from_base(8100)
    assert (ports.goals, ports.tracking, ports.incentives) == (8101, 8102, 8103)


def test_a_second_stack_on_the_same_folder_is_refused_before_it_starts_anything() -> None:
    with temporary_folder("stack") as folder:
        (folder / "logs").mkdir()
        holder = subprocess.Popen(
            [
                sys.executable, "-c",
                "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); f.write('4711');"
                "f.flush(); print('locked', flush=True); sys.stdin.read()",
                str(folder / "lock"),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            stack = Stack(StackConfiguration(state_folder=folder, ports=Ports.free()))
            with pytest.raises(StackError, match=r"^Another stack \(process 4711\) uses the state folder"), stack:
                pass
            assert not (folder / "postgres").exists()
        finally:
            holder.communicate()


def test_secrets_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    made = ensure_secrets(tmp_path)
    assert ensure_secrets(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_unreadable_secrets_are_said_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(StackError, match=r"secrets\.json cannot be read"):
        ensure_secrets(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == "{"


def test_without_a_fitting_java_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old_java = tmp_path / "java"
    old_java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old_java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nothing-here"))
    monkeypatch.setattr(java, "_BUNDLED_JAVA", tmp_path / "missing")
    with pytest.raises(StackError, match=r"^No Java 17 or newer found: .*ATTAIN_KAFKA_BOOTSTRAP"):
        java.find_java()


def test_jars_that_are_not_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pinned = kafka_jars.pinned_jars()[0]
    (tmp_path / pinned.file_name).write_bytes(b"something else")
    with pytest.raises(StackError, match="is not the pinned file"):
        kafka_jars.verify([pinned], tmp_path)


def test_without_maven_the_in_memory_broker_stands_in_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ATTAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("PATH", str(tmp_path))
    broker = create_broker(tmp_path / "broker", port=1, controller_port=2)
    assert isinstance(broker, InMemoryBroker)
    assert "Maven cannot be reached" in broker.description


def test_the_in_memory_broker_starts_on_loopback_and_keeps_the_topics_as_they_must_be() -> None:
    async def make_and_check(settings: KafkaSettings) -> None:
        await ensure_topics(settings, TOPICS.values())
        await ensure_topics(settings, TOPICS.values())

    with temporary_folder("broker") as folder:
        broker = InMemoryBroker(folder, port=free_ports(1)[0])
        try:
            broker.launch()
            broker.wait_until_ready()
            asyncio.run(make_and_check(KafkaSettings(bootstrap=broker.bootstrap)))
            listening = {
                connection.laddr.ip
                for connection in psutil.Process(broker.process.pid).net_connections()
                if connection.status == psutil.CONN_LISTEN
            }
        finally:
            broker.stop()
    assert listening == {"127.0.0.1"}
