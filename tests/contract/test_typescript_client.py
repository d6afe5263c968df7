"""A front-end team can generate a client from the three documents and program against it under `strict`."""

import re

from tests.contract.operations import SERVICES, operation_ids
from tests.servers.node import run_node
from tests.servers.typescript import client_folder


def test_a_client_generated_from_the_documents_compiles_under_strict() -> None:
    folder = client_folder()
    assert {path.name for path in (folder / "generated").iterdir()} == {"goals.ts", "tracking.ts", "incentives.ts"}
    run_node(folder, "node_modules/typescript/bin/tsc")


def test_a_generated_typescript_client_has_every_operation() -> None:
    folder = client_folder()
    for service in SERVICES:
        generated = (folder / "generated" / f"{service}.ts").read_text()
        _, _, operations = generated.partition("export interface operations {")
        assert sorted(re.findall(r"^ {4}(\w+): \{$", operations, re.MULTILINE)) == operation_ids(service)
