"""A team that works in Python can generate clients from the three documents, whole and with types that hold."""

import json
import re
import subprocess
import sys
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, Self

import pytest
from pydantic import JsonValue

from tests.contract.operations import SERVICES, document_path, operation_ids

_CONFIG: Final = Path(__file__).parent / "python" / "config.yml"
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|\+00:00)")
_SECONDS_MAX: Final = 240


class GeneratedModel(Protocol):
    """What the generator gives every class it makes of a schema."""

    @classmethod
    def from_dict(cls, src_dict: dict[str, JsonValue]) -> Self: ...

    def to_dict(self) -> dict[str, JsonValue]: ...


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one package a service. Generating fails at whatever of a document the generator cannot make."""
    folder = tmp_path_factory.mktemp("clients")
    for service in SERVICES:
        _run(
            *("openapi_python_client", "generate", "--meta", "none", "--fail-on-warning", "--config", str(_CONFIG)),
            *("--path", str(document_path(service)), "--output-path", str(folder / f"{service}_client")),
            folder=folder,
        )
    return folder


def test_a_generated_python_client_has_every_operation(clients: Path) -> None:
    for service in SERVICES:
        modules = (clients / f"{service}_client" / "api").glob("*/*.py")
        assert sorted(path.stem for path in modules if path.stem != "__init__") == operation_ids(service)


def test_a_generated_python_client_type_checks(clients: Path) -> None:
    packages = [f"--package={service}_client" for service in SERVICES]
    _run(
        "mypy", "--config-file=", "--python-version=3.11", f"--cache-dir={clients / 'mypy'}", *packages, folder=clients
    )


def test_a_generated_python_client_reads_every_documented_example_and_loses_nothing_of_it(
    clients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(clients)
    read = 0
    for service in SERVICES:
        models = import_module(f"{service}_client.models")
        for name, schema in json.loads(document_path(service).read_text())["components"]["schemas"].items():
            model: type[GeneratedModel] | None = getattr(models, name, None)
            if model is None or "properties" not in schema:
                continue
            for example in schema.get("examples", []):
                read += 1
                assert _plain(model.from_dict(example).to_dict()) == _plain(example), name
    assert read > 60


def _plain(node: JsonValue) -> JsonValue:
    """An example with its instants written in one way: the generated client writes them in its own."""
    text = _INSTANT.sub(lambda found: datetime.fromisoformat(found[0]).isoformat(), json.dumps(node))
    plain: JsonValue = json.loads(text)
    return plain


def _run(module: str, *arguments: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{module} ended with {done.returncode}\n{done.stdout}{done.stderr}"
