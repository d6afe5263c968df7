"""The other side of the intake measurements: a bare FastAPI route that reads the body and answers 202.

Run as `python -m deploy.local.bench.bare PORT`; served by uvicorn as it comes, without the product's limits.
"""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response

from deploy.local.ports import LOOPBACK
from shared.http.collector import relax_garbage_collection
from shared.http.server import listening_socket

app = FastAPI(openapi_url=None)


@app.post("/hooks/{connection_id}")
async def accept(request: Request) -> Response:
    """Read everything, store nothing."""
    await request.body()
    return Response(status_code=202)


if __name__ == "__main__":
    relax_garbage_collection()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run([listening_socket(LOOPBACK, int(sys.argv[1]))])
