"""What statements are asked for by, and how the OpenAPI describes the files."""

from typing import Annotated, Final

from fastapi import Query
from pydantic import JsonValue

from services.incentives.statements.domain.chinese import CHINESE
from services.incentives.statements.domain.english import ENGLISH
from services.incentives.statements.domain.texts import Texts
from services.incentives.statements.rendering import MEDIA_TYPES, DocumentFormat
from shared.kernel.language import Language

ZIP: Final = "application/zip"
_BINARY: Final[dict[str, JsonValue]] = {"type": "string", "format": "binary"}

Format = Annotated[
    DocumentFormat, Query(alias="format", description="A PDF of A4 pages, or a page of HTML that needs nothing else.")
]
InLanguage = Annotated[Language, Query(description="English or Chinese.")]


def texts_in(language: Language) -> Texts:
    """The words of documents in a language."""
    return CHINESE if language is Language.CHINESE else ENGLISH


def described_document(description: str) -> dict[str, object]:
    """The answer of an operation that gives a document, for its OpenAPI."""
    contents = {media.partition(";")[0]: {"schema": _BINARY} for media in MEDIA_TYPES.values()}
    return {"description": description, "content": contents}


def described_archive(description: str) -> dict[str, object]:
    """The answer of an operation that gives many documents in one file, for its OpenAPI."""
    return {"description": description, "content": {ZIP: {"schema": _BINARY}}}
