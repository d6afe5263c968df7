"""`/healthz`, `/readyz` and `/metrics`, the same for API and worker processes; not part of the OpenAPI."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.http.problems import problem_response
from shared.http.refused import ProblemField
from shared.telemetry.logs import get_logger

ReadinessCheck: TypeAlias = Callable[[], Awaitable[None]]

HEALTH_PATHS: Final = ("/healthz", "/readyz", "/metrics")
_CHECK_SECONDS_MAX: Final = 2.0

_log = get_logger(__name__)


class Health:
    """Reports whether a process lives and whether it should get work.

    A check passes by returning and fails by raising or by taking longer than two seconds. Its error is logged; the
    answer only names the check.
    """

    def __init__(self, checks: Mapping[str, ReadinessCheck]) -> None:
        self._checks = dict(checks)
        self._draining = False
        self._failed: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the process is to end."""
        return self._failed is not None

    def fail(self, reason: str) -> None:
        """Neither alive nor ready from now on: the process has lost a part and is to be started afresh."""
        self._failed = reason

    def require(self, name: str, check: ReadinessCheck) -> None:
        """Be ready only when this check passes too."""
        self._checks[name] = check

    def drain(self) -> None:
        """Not ready from now on."""
        self._draining = True

    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
        ]

    async def _healthz(self, _: Request) -> Response:
        if self._failed is not None:
            return _not_ready([self._failed])
        return JSONResponse({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        if self._failed is not None:
            return _not_ready([self._failed])
        if self._draining:
            return _not_ready(["shutting down"])
        passed = await asyncio.gather(*(self._passes(name, check) for name, check in self._checks.items()))
        failing = [name for name, ok in zip(self._checks, passed, strict=True) if not ok]
        if failing:
            return _not_ready(failing)
        return JSONResponse({"status": "ready", "checks": list(self._checks)})

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _passes(self, name: str, check: ReadinessCheck) -> bool:
        try:
            async with asyncio.timeout(_CHECK_SECONDS_MAX):
                await check()
        except Exception as error:
            _log.warning("not_ready", check=name, error=f"{type(error).__name__}: {error}")
            return False
        return True


def _not_ready(failing: list[str]) -> Response:
    return problem_response(
        status=503,
        code="not_ready",
        title="Not ready",
        detail=f"Not ready: {', '.join(failing)}.",
        errors=[ProblemField(pointer=f"/checks/{name}", message="is failing") for name in failing],
        headers={"retry-after": "1"},
    )
