"""Documents as HTML (jinja2, everything escaped) and as PDF (typst, texts are never read as markup).

The same document is the same bytes. A PDF is PDF/A-2a and PDF/UA-1, for archives and for screen readers; one with a
character that the font lacks, such as an emoji, shows a box for it and is neither. The font is Noto Sans CJK, from the
package `manimgx-fonts-cjk`: no system font is looked for.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Final

import typst
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.incentives.statements.domain.layout import Document

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PAGE: Final = _TEMPLATES / "document.typ"
_FONTS: Final = Path(str(files("manimgx_fonts_cjk")))
_ARCHIVED: Final = ("a-2a", "ua-1")


class DocumentFormat(StrEnum):
    """What a document to be read is given as."""

    PDF = "pdf"
    HTML = "html"


MEDIA_TYPES: Final[Mapping[DocumentFormat, str]] = {
    DocumentFormat.PDF: "application/pdf",
    DocumentFormat.HTML: "text/html; charset=utf-8",
}


class Renderer:
    """Makes files of documents, one at a time: a long one takes a core for a second and some 250 MB."""

    def __init__(self) -> None:
        loader = FileSystemLoader(_TEMPLATES)
        self._environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._compiler: typst.Compiler | None = None
        self._lock = Lock()

    async def render(self, document: Document, document_format: DocumentFormat) -> bytes:
        """The file, made in a thread."""
        made = self.pdf if document_format is DocumentFormat.PDF else self.html
        return await asyncio.to_thread(made, document)

    def html(self, document: Document) -> bytes:
        """A page that needs nothing else."""
        return self._environment.get_template("document.html").render(document=document).encode()

    def pdf(self, document: Document) -> bytes:
        """A4 pages with numbers."""
        members = asdict(document)
        as_of = members.pop("as_of").replace(microsecond=0, tzinfo=UTC)
        inputs = {"document": json.dumps(members, ensure_ascii=False)}
        with self._lock:
            if self._compiler is None:
                fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[_FONTS])
                self._compiler = typst.Compiler(str(_PAGE), root=_TEMPLATES, font_paths=fonts)
            try:
                made = self._compiler.compile(
                    format="pdf", sys_inputs=inputs, pdf_standards=list(_ARCHIVED), timestamp=as_of
                )
            except typst.TypstError:
                made = self._compiler.compile(format="pdf", sys_inputs=inputs, timestamp=as_of)
        if not isinstance(made, bytes):
            raise TypeError("typst made no file of a document")
        return made
