"""The stack that fault tests share."""

from collections.abc import Iterator

import pytest

from deploy.local.stack import Stack
from tests.servers.infrastructure import running_stack
from tests.servers.small_disk import SmallDisk, may_mount, postgres_on_small_disk


@pytest.fixture(scope="package")
def small_disk() -> Iterator[SmallDisk | None]:
    """The disk of the stack's database; None where the tests may not mount one."""
    if not may_mount():
        yield None
        return
    with postgres_on_small_disk() as disk:
        yield disk


@pytest.fixture(scope="package")
def stack(small_disk: SmallDisk | None) -> Iterator[Stack]:
    """The whole product: use a tenant of your own in it, and leave every process running."""
    with running_stack(database_url=small_disk.url if small_disk else None) as running:
        yield running
