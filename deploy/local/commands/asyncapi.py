"""`attain asyncapi`: the generated documents of the topics."""

from pathlib import Path
from typing import Annotated

import typer

import shared.contracts
from deploy.local.documents import write_documents
from shared.contracts.documents import documents


def asyncapi(
    check: Annotated[bool, typer.Option("--check", help="Only fail if the files differ from the code.")] = False,
) -> None:
    """Write the AsyncAPI document, the JSON Schemas and the examples of every event to shared/contracts."""
    folder = Path(shared.contracts.__path__[0])
    texts = {folder / name: text for name, text in documents().items()}
    write_documents(texts, check=check, remedy="attain asyncapi")
