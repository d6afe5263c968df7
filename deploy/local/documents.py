"""Generated documents that are checked in: write them, or say which differ from the code."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.errors import StackError


def write_documents(texts: Mapping[Path, str]) -> list[Path]:
    """Write those that differ; returns their paths."""
    changed = _differing(texts)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path])
    return changed


def check_documents(texts: Mapping[Path, str], *, remedy: str) -> None:
    """Raise `StackError` naming the files that are not what the code generates, and the command that makes them."""
    changed = _differing(texts)
    if changed:
        names = ", ".join(str(path) for path in changed)
        raise StackError(f"Not what the code generates: {names}; run `{remedy}`.")


def _differing(texts: Mapping[Path, str]) -> list[Path]:
    return [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
