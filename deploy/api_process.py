"""An API process: `python -m deploy.api_process services.goals.app:create_app 8101`.

Listens on ATTAIN_HOST. What `uvicorn` on the command line would do, but event streams end at shutdown.
"""

import asyncio
import sys

from fastapi import FastAPI
from uvicorn.importer import import_from_string

from shared.db.database import Database, PrivilegedLogin
from shared.http.server import serve_api
from shared.http.settings import HttpSettings
from shared.kernel.errors import Unavailable
from shared.telemetry import logs


def main(factory: str, port: int) -> int:
    """Serve the app that `factory` makes until a signal; the process's exit status: 1 when it cannot start."""
    app: FastAPI = import_from_string(factory)()
    database: Database = app.state.database
    logs.configure(database.service)
    try:
        asyncio.run(database.require_plain_login())
    except PrivilegedLogin as error:
        logs.get_logger(__name__).error("cannot_start", reason=error.detail)
        return 1
    except Unavailable:
        # It waits for its database, and gets no work before it has seen that its login is a plain one.
        app.state.health.require("login", database.require_plain_login)
    return serve_api(app, HttpSettings(), port=port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
