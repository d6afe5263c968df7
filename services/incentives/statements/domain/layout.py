"""A document before anybody knows whether it becomes HTML or a PDF: what is on it, in order, all of it text."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Fact:
    """Something and what it is called."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column; numbers stand on its right side, and a wide one takes the room that others leave."""

    heading: str
    is_number: bool = False
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table. Every row has a text for each column, with a line feed between lines; totals stand at its end."""

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[str, ...], ...]
    totals: tuple[tuple[str, ...], ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document. Notes are what a reader must not miss."""

    heading: str
    facts: tuple[Fact, ...] = ()
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A document about `subject`. `figures` are what most readers look for.

    `as_of` is when what it is about last changed: the same state is the same document, whenever it is made.
    """

    language: str
    title: str
    subject: str
    aside: str
    facts: tuple[Fact, ...]
    figures: tuple[Fact, ...]
    sections: tuple[Section, ...]
    footer: str
    page_words: tuple[str, str, str]
    """What stands before, between and after the number of a page and the number of pages."""
    as_of: datetime
