"""Cursor paging: `?limit=&cursor=` in, `items` and `next_cursor` out.

A cursor is the sort key of the last item of a page, so pages neither skip nor repeat what was there all along, however
much is added between two of them. It is opaque to callers and holds nothing that the page did not show.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.config import JsonDict

from shared.http.problems import ParameterError
from shared.kernel.errors import InvalidInput
from shared.kernel.reading import INTEGER_MAX, is_instant, is_text

ItemT = TypeVar("ItemT")
RowT = TypeVar("RowT")
KeyT = TypeVar("KeyT")

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
_CURSOR_CHARACTERS_MAX: Final = 1024


class InvalidCursor(InvalidInput):
    """The cursor is not one this list gave out."""

    code = "invalid_cursor"
    title = "Invalid cursor"


def _page_of_examples(schema: JsonDict, page: type[BaseModel]) -> None:
    """A page's example has those of its items, where their model has any."""
    (item,) = page.__pydantic_generic_metadata__["args"]
    is_model = isinstance(item, type) and issubclass(item, BaseModel)
    extra = item.model_config.get("json_schema_extra") if is_model else None
    if isinstance(extra, dict) and "examples" in extra:
        schema["examples"] = [{"items": extra["examples"], "next_cursor": None}]


class Page(BaseModel, Generic[ItemT]):
    """Some items of a list, in its order."""

    model_config = ConfigDict(json_schema_extra=_page_of_examples)

    items: list[ItemT]
    next_cursor: str | None = Field(None, description="Pass as `cursor` to get the next page; null on the last page.")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What the caller requested: `limit` items after `cursor`."""

    limit: int
    cursor: str | None

    @property
    def fetch_limit(self) -> int:
        """How many rows to read: one more than requested shows whether there is a next page."""
        return self.limit + 1


def page_request(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items on a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[
        str | None,
        Query(max_length=_CURSOR_CHARACTERS_MAX, description="`next_cursor` of the page before."),
    ] = None,
) -> PageRequest:
    """Dependency behind `Paging`."""
    return PageRequest(limit, cursor)


Paging = Annotated[PageRequest, Depends(page_request)]


class Cursor(Generic[KeyT]):
    """The cursors of one list, whose sort key is a `KeyT`: `GOALS = Cursor(tuple[datetime, UUID])`, at module level."""

    def __init__(self, key_type: type[KeyT]) -> None:
        self._keys: TypeAdapter[KeyT] = TypeAdapter(key_type)

    def encode(self, key: KeyT) -> str:
        return urlsafe_b64encode(self._keys.dump_json(key)).rstrip(b"=").decode()

    def after(self, request: PageRequest) -> KeyT | None:
        """The sort key to go on after, or None for the first page. Raises InvalidCursor."""
        if request.cursor is None:
            return None
        try:
            padding = "=" * (-len(request.cursor) % 4)
            key = self._keys.validate_json(urlsafe_b64decode(request.cursor + padding))
            if _can_be_stored(key):
                return key
        except ValueError:
            pass
        raise InvalidCursor(
            "The cursor is not one this list gave out.",
            fields=[ParameterError("/cursor", "is not a cursor of this list", "next_cursor of a page")],
        )

    def page(
        self,
        request: PageRequest,
        rows: Sequence[RowT],
        *,
        key: Callable[[RowT], KeyT],
        item: Callable[[RowT], ItemT],
    ) -> Page[ItemT]:
        """A page of up to `request.fetch_limit` rows that were read in the order of their key."""
        shown = rows[: request.limit]
        more = len(rows) > request.limit
        return Page(items=[item(row) for row in shown], next_cursor=self.encode(key(shown[-1])) if more else None)


def _can_be_stored(key: object) -> bool:
    """Whether a column can store each part of a key, so that a query can compare with it."""
    match key:
        case tuple():
            return all(_can_be_stored(part) for part in key)
        case datetime():
            return is_instant(key)
        case int():
            return abs(key) <= INTEGER_MAX
        case str():
            return is_text(key)
        case _:
            return True
