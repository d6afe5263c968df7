"""Child processes of the local stack: own session, log to a file, never outlive the process that started them."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_LOG_TAIL_BYTES = 16_384
_KILL_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system user that a child runs as."""

    uid: int
    gid: int


class ManagedProcess:
    """A running child with its log file.

    On Linux the kernel sends the child its stop signal when the thread that started it ends, however that happens,
    so start it from a thread that lives as long as the child should: the main thread.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path, log_start: int, stop_signal: int):
        self.name = name
        self.log_path = log_path
        self._process = process
        self._log_start = log_start
        self._stop_signal = stop_signal
        self._stop_requested = False

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str],
        working_directory: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        account: Account | None = None,
    ) -> "ManagedProcess":
        """Start `command`, its output appended to `log_path`; `StackError` if it cannot be executed."""
        with log_path.open("ab") as log:
            log_start = log.tell()
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=working_directory,
                    env=dict(environment),
                    start_new_session=True,
                    preexec_fn=_die_with_parent(stop_signal),
                    user=None if account is None else account.uid,
                    group=None if account is None else account.gid,
                    extra_groups=None if account is None else (),
                )
            except OSError as error:
                raise StackError(f"Cannot start {name}: {error}.") from error
        return cls(name, process, log_path, log_start, stop_signal)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """What this run of the process has logged, at most the last 16 KiB."""
        with self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def death_notice(self) -> str:
        """One sentence on how it ended, with its last lines."""
        status = self._process.poll()
        how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
        last_lines = [line.strip() for line in self.output().splitlines() if line.strip(" ^~")][-3:]
        if not last_lines:
            return f"{self.name} ended {how} and left nothing in {self.log_path}."
        return f"{self.name} ended {how}; its last lines in {self.log_path}: {' | '.join(last_lines)}"

    def wait_until(self, ready: Callable[[], bool], *, seconds_max: float = 60.0) -> None:
        """Wait until it is ready. `StackError` if it dies on the way or takes longer, which ends it."""
        deadline = time.monotonic() + seconds_max
        while not ready():
            if not self.running:
                raise StackError(self.death_notice())
            if time.monotonic() > deadline:
                self.kill()
                raise StackError(f"{self.name} was not ready within {seconds_max:.0f} s, see {self.log_path}.")
            time.sleep(_POLL_SECONDS)

    def stop(self, timeout_seconds: float = 20.0) -> bool:
        """Stop it and wait; after the timeout kill it. True if it ended by itself."""
        self.request_stop()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def request_stop(self) -> None:
        """Signal it to stop, once; does not wait."""
        if self.running and not self._stop_requested:
            self._stop_requested = True
            self._process.send_signal(self._stop_signal)

    def kill(self) -> None:
        """SIGKILL to the whole session, and reap it."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_KILL_WAIT_SECONDS)


def _die_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    libc = _LIBC
    if libc is None:
        return None
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return in_child
