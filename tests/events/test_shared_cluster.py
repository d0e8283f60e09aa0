"""A part of `test_shared.py` on one-node clusters, where each partition is read by a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.store import scripts
from tests.events.test_shared import (
    noted,
    orders,
    quick,
)
from tests.servers import server_binaries

__all__ = [name for name in dir() if name.startswith("test_s")] + ["noted", "orders", "quick"]

CLUSTERS = [f"cluster-{name}" for name in server_binaries()] or [""]


@pytest.fixture(params=CLUSTERS)
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """Scripts run with `#!lua`, so that the server refuses a key that was not declared."""
    scripts.set_prefix("#!lua\n")
    yield request.param
    scripts.set_prefix("")
