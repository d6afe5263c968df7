"""`attain openapi`: the OpenAPI document of each service."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet
from fastapi import FastAPI
from uvicorn.importer import import_from_string

from deploy.local.documents import write_documents
from shared.db.migration import SERVICES

_SERVICES_FOLDER = Path(__file__).resolve().parents[3] / "services"


def openapi(
    check: Annotated[bool, typer.Option("--check", help="Only fail if the files differ from the code.")] = False,
) -> None:
    """Write services/<service>/openapi.json for each service; needs neither database nor broker."""
    os.environ.setdefault("ATTAIN_DATABASE_URL", "postgresql://localhost/attain")
    os.environ.setdefault("ATTAIN_JWT_SECRET", "only-for-generating-the-documents")
    os.environ.setdefault("ATTAIN_SECRETS_KEY", Fernet.generate_key().decode())
    texts = {_SERVICES_FOLDER / service / "openapi.json": _document(service) for service in SERVICES}
    write_documents(texts, check=check, remedy="attain openapi")


def _document(service: str) -> str:
    app: FastAPI = import_from_string(f"services.{service}.app:create_app")()
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
