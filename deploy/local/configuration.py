"""The settings of a local stack, from the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.errors import StackError
from deploy.local.ports import PORT_BASE_DEFAULT, Ports
from deploy.local.postgres import embedded_url

_STATE_FOLDER_DEFAULT = ".attain"
_PORT_BASE_MIN = 1024
_PORT_BASE_MAX = 65_000


def state_folder() -> Path:
    """ATTAIN_STATE_DIR, default `.attain` in the current folder."""
    return Path(os.environ.get("ATTAIN_STATE_DIR") or _STATE_FOLDER_DEFAULT).resolve()


@dataclass(frozen=True, slots=True)
class StackConfiguration:
    """Where a stack has its state, listens, and finds the servers that it does not run itself."""

    state_folder: Path
    ports: Ports
    database_url: str | None = None
    kafka_bootstrap: str | None = None

    @property
    def running_database_url(self) -> str:
        """The database of the stack once it runs: the given one, else the embedded server's."""
        return self.database_url or embedded_url(self.ports.postgres)

    @classmethod
    def from_environment(cls) -> Self:
        """ATTAIN_STATE_DIR, ATTAIN_PORT_BASE, ATTAIN_DATABASE_URL and ATTAIN_KAFKA_BOOTSTRAP."""
        return cls(
            state_folder=state_folder(),
            ports=Ports.from_base(_port_base()),
            database_url=os.environ.get("ATTAIN_DATABASE_URL") or None,
            kafka_bootstrap=os.environ.get("ATTAIN_KAFKA_BOOTSTRAP") or None,
        )


def _port_base() -> int:
    text = os.environ.get("ATTAIN_PORT_BASE") or str(PORT_BASE_DEFAULT)
    if not text.isdecimal() or not _PORT_BASE_MIN <= int(text) <= _PORT_BASE_MAX:
        raise StackError(f"ATTAIN_PORT_BASE is {text!r}; expected a number from {_PORT_BASE_MIN} to {_PORT_BASE_MAX}.")
    return int(text)
