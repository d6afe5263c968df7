"""`attain openapi`: the OpenAPI document of each service, and the JSON Schema of a plan's terms."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet
from fastapi import FastAPI
from uvicorn.importer import import_from_string

from deploy.local.documents import write_documents
from services.incentives.plans.content.terms import terms_schema
from shared.db.migration import SERVICES

_SERVICES_FOLDER = Path(__file__).resolve().parents[3] / "services"


def openapi(
    check: Annotated[bool, typer.Option("--check", help="Only fail if the files differ from the code.")] = False,
) -> None:
    """Write services/<service>/openapi.json for each service, and the schema of terms; needs no server."""
    os.environ.setdefault("ATTAIN_DATABASE_URL", "postgresql://localhost/attain")
    os.environ.setdefault("ATTAIN_JWT_SECRET", "only-for-generating-the-documents")
    os.environ.setdefault("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
    texts = {_SERVICES_FOLDER / service / "openapi.json": _document(service) for service in SERVICES}
    texts[_SERVICES_FOLDER / "incentives" / "plans" / "terms.schema.json"] = _text(terms_schema())
    write_documents(texts, check=check, remedy="attain openapi")


def _document(service: str) -> str:
    app: FastAPI = import_from_string(f"services.{service}.app:create_app")()
    return _text(app.openapi())


def _text(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
