"""A mapping that is never changed, and of which a changed copy costs what changed, not what there is."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, TypeVar, overload

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
OtherT = TypeVar("OtherT")

_TOP_MIN: Final = 64
_TOP_SHARE: Final = 16


class _Removed(Enum):
    REMOVED = "removed"


_REMOVED: Final = _Removed.REMOVED


class Layered(Mapping[KeyT, ValueT]):
    """Entries, most of them shared with the mapping that this one was made of. No value is None.

    What has changed lies above the rest, and is merged with it once it is a 16th of it.
    """

    __slots__ = ("_base", "_length", "_top")

    def __init__(self, entries: Mapping[KeyT, ValueT] | None = None) -> None:
        """`entries` is taken as it is: nobody may change it afterwards."""
        self._base: Mapping[KeyT, ValueT] = {} if entries is None else entries
        self._top: dict[KeyT, ValueT | _Removed] = {}
        self._length = len(self._base)

    def changed(self, put: Mapping[KeyT, ValueT], removed: Iterable[KeyT] = ()) -> "Layered[KeyT, ValueT]":
        """With the entries of `put`, and without those of `removed` that are not among them."""
        away = [key for key in removed if key not in put]
        other: Layered[KeyT, ValueT] = Layered(self._base)
        other._top = {**self._top, **dict.fromkeys(away, _REMOVED), **put}
        other._length = self._length + sum(key not in self for key in put) - sum(key in self for key in {*away})
        if len(other._top) > max(_TOP_MIN, len(self._base) // _TOP_SHARE):
            return Layered(other._whole())
        return other

    def _whole(self) -> dict[KeyT, ValueT]:
        whole = dict(self._base)
        for key, found in self._top.items():
            if found is _REMOVED:
                whole.pop(key, None)
            else:
                whole[key] = found
        return whole

    @overload
    def get(self, key: KeyT, default: None = None, /) -> ValueT | None: ...
    @overload
    def get(self, key: KeyT, default: ValueT | OtherT, /) -> ValueT | OtherT: ...
    def get(self, key: KeyT, default: object = None, /) -> object:
        """The value of a key, or `default`."""
        found = self._top.get(key)
        if found is None:
            return self._base.get(key, default)
        return default if found is _REMOVED else found

    def __getitem__(self, key: KeyT) -> ValueT:
        found = self._top.get(key)
        if found is None:
            return self._base[key]
        if found is _REMOVED:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        found = self._top.get(key)  # type: ignore[arg-type]
        return key in self._base if found is None else found is not _REMOVED

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[KeyT]:
        if not self._top:
            return iter(self._base)
        return self._merged()

    def _merged(self) -> Iterator[KeyT]:
        yield from (key for key in self._base if key not in self._top)
        yield from (key for key, found in self._top.items() if found is not _REMOVED)
