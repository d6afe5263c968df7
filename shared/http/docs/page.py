"""The documentation page `/docs`: Swagger UI out of an installed package, nothing of it from the internet.

Its Content-Security-Policy allows scripts and styles of the page's own origin alone, and no request to another one.
"""

from html import escape
from pathlib import Path
from string import Template
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

PAGE_PATH: Final = "/docs"

_FOLDER: Final = Path(__file__).parent
_PAGE: Final = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def documentation_routes(title: str, *, beside_operations: bool) -> list[BaseRoute]:
    """The page and what it loads; it reads `openapi.json` beside it.

    Its reader can try the operations only when they are served at the same origin, `beside_operations`.
    """
    page = _PAGE.substitute(title=escape(title), tried="yes" if beside_operations else "no")

    async def show(_: Request) -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    assets = StaticFiles(directory=_FOLDER / "assets", packages=[("fastapi_offline", "static")])
    return [Route(PAGE_PATH, show, include_in_schema=False), Mount(f"{PAGE_PATH}/assets", assets)]
