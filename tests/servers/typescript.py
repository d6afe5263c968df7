"""The TypeScript client: generated from the OpenAPI documents."""

import fcntl
from functools import cache
from hashlib import sha256
from pathlib import Path

from tests.contract.operations import SERVICES, document_path
from tests.servers.infrastructure import PROJECT_FOLDER
from tests.servers.node import install_packages, run_node

CLIENT_FOLDER = PROJECT_FOLDER / "tests" / "contract" / "typescript"


@cache
def client_folder() -> Path:
    """The folder of the client with its packages installed and its types generated from the checked-in documents."""
    install_packages(CLIENT_FOLDER)
    with (CLIENT_FOLDER / "package.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _generate()
    return CLIENT_FOLDER


def _generate() -> None:
    """Generate the types, unless what is there is of these documents: another process may be reading it."""
    stamp = CLIENT_FOLDER / "node_modules" / ".generated"
    sources = (CLIENT_FOLDER / "package-lock.json", *map(document_path, SERVICES))
    wanted = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    if (CLIENT_FOLDER / "generated").is_dir() and stamp.exists() and stamp.read_text() == wanted:
        return
    run_node(CLIENT_FOLDER, "node_modules/openapi-typescript/bin/cli.js", "--default-non-nullable", "false")
    stamp.write_text(wanted)
