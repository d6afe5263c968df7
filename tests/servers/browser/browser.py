"""Pages as a browser shows them: scripts that drive a headless Chromium, installed by npm like the clients' tools."""

from functools import cache
from pathlib import Path

from tests.servers.node import install_packages, run_node

_FOLDER = Path(__file__).parent
# Where the browser unpacks itself, and what makes it take the libraries and fonts it comes with, not the machine's.
_UNPACKED = {
    "TMPDIR": str(_FOLDER / "node_modules" / ".unpacked"),
    "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x",
    "FONTCONFIG_FILE": str(_FOLDER / "fonts.conf"),
}


@cache
def browser_folder() -> Path:
    """The folder of the scripts with the browser installed."""
    install_packages(_FOLDER, _unpack)
    return _FOLDER


def in_browser(script: str, *arguments: str) -> str:
    """What a script of the folder printed; AssertionError with all it said when it fails."""
    return run_node(browser_folder(), script, *arguments, environment=_UNPACKED)


def _unpack() -> None:
    Path(_UNPACKED["TMPDIR"]).mkdir()
    run_node(_FOLDER, "unpack.js", environment=_UNPACKED)
