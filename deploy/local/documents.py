"""Generated documents that are checked in: write them, or say which differ from the code."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from deploy.local.errors import StackError


def write_documents(texts: Mapping[Path, str], *, check: bool, remedy: str) -> None:
    """Write those that differ and say so; with `check` raise `StackError` with them and the command that makes them."""
    changed = _differing(texts)
    if check and changed:
        names = ", ".join(str(path) for path in changed)
        raise StackError(f"Not what the code generates: {names}; run `{remedy}`.")
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path])
        Console().print(f"Wrote {path}", soft_wrap=True)


def _differing(texts: Mapping[Path, str]) -> list[Path]:
    return [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
