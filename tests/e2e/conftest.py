"""The stack that end-to-end tests share."""

from collections.abc import Iterator

import pytest

from deploy.local.stack import Stack
from tests.servers.infrastructure import running_stack


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """The whole product, stopped after the last end-to-end test: use a tenant of your own in it."""
    with running_stack() as running:
        yield running
