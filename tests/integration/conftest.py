"""What several files of integration tests begin with."""

from collections.abc import AsyncIterator

import pytest

from shared.http.auth import Role
from tests.stories.connections import Caller, Tracking, running_tracking


@pytest.fixture(scope="module")
async def tracking(module_database: str) -> AsyncIterator[Tracking]:
    async with running_tracking(module_database) as running:
        yield running


@pytest.fixture
def admin(tracking: Tracking) -> Caller:
    return Caller(tracking, Role.ADMIN)
