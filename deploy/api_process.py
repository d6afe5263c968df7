"""An API process: `python -m deploy.api_process services.goals.app:create_app 8101`.

Listens on ATTAIN_HOST. What `uvicorn` on the command line would do, but event streams end at shutdown.
"""

import sys

from fastapi import FastAPI
from uvicorn.importer import import_from_string

from shared.http.server import serve_api
from shared.http.settings import HttpSettings


def main(factory: str, port: int) -> int:
    """Serve the app that `factory` makes until a signal; the process's exit status."""
    app: FastAPI = import_from_string(factory)()
    return serve_api(app, HttpSettings(), port=port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
