"""The other side of the intake measurements: a bare FastAPI route that reads the body and answers 202."""

from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)


@app.post("/hooks/{connection_id}")
async def accept(request: Request) -> Response:
    """Read everything, keep nothing."""
    await request.body()
    return Response(status_code=202)
