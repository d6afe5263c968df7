"""The other side of the intake measurements: a bare FastAPI route that reads the body and answers 202.

Run as `python -m deploy.local.bench.bare PORT`; served as every process of the product is.
"""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response

from deploy.local.ports import LOOPBACK
from shared.http.collector import relax_garbage_collection
from shared.http.server import listening_socket, server_config

app = FastAPI(openapi_url=None)


@app.post("/hooks/{connection_id}")
async def accept(request: Request) -> Response:
    """Read everything, keep nothing."""
    await request.body()
    return Response(status_code=202)


if __name__ == "__main__":
    relax_garbage_collection()
    uvicorn.Server(server_config(app)).run([listening_socket(LOOPBACK, int(sys.argv[1]))])
