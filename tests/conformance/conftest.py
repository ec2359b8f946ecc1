"""What tests of the conformance suite share."""

from __future__ import annotations

import pytest

from dueq.core.client.connection import connect, server_version


@pytest.fixture
def at_once(redis_url: str) -> None:
    """Skips where a step is not sent at once, but after a question for the time."""
    client = connect(redis_url)
    version = server_version(client)
    client.close()
    if version is not None and version < (5,):
        pytest.skip("before Redis 5 each step waits for Redis to tell the time")
