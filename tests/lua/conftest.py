"""The queue of each test: on every server that is found, empty, with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lua.kit import Queue
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[Queue]:
    link = server.link()
    yield Queue(link, namespace)
    link.close()
