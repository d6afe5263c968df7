"""A front-end team can generate a client from the three documents and program against it under `strict`."""

from tests.typescript import client_folder, run_node


def test_a_client_generated_from_the_documents_compiles_under_strict() -> None:
    folder = client_folder()
    assert {path.name for path in (folder / "generated").iterdir()} == {"goals.ts", "tracking.ts", "incentives.ts"}
    run_node("node_modules/typescript/bin/tsc")
