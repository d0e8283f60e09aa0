"""One partition for each test of the scripts of shared groups, on every server found here and on a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lua.shared_kit import SharedPart
from tests.servers import RealServer, ServerOptions, declared_keys, need_server, server_binaries

NAMES = [f"{kind}-{name}" for name in server_binaries() for kind in ("single", "cluster")] or ["single-"]


@pytest.fixture(scope="module", params=NAMES)
def place(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A server; on a cluster scripts run with `#!lua`, so that it refuses a key that was not declared."""
    kind, _, name = request.param.partition("-")
    running = RealServer(need_server(name or None), ServerOptions(cluster=kind == "cluster")).start()
    with declared_keys(running):
        yield running
    running.close()


@pytest.fixture
def part(place: RealServer, namespace: str) -> Iterator[SharedPart]:
    link = place.link()
    yield SharedPart(link, namespace)
    link.execute("FLUSHALL")
    link.close()


@pytest.fixture
def read(part: SharedPart) -> SharedPart:
    """Five records, of which the first three are in flight at `one.1`."""
    part.append(5, key="k")
    part.found()
    assert part.read(3) == [1, 2, 3]
    return part
