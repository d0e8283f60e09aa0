"""Fixtures of the fault suite. One kind of server is enough here: what differs between servers, `tests/lua` and
`tests/contract` run on each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq.store.binaries import ServerBinary
from taskq.tasks.queues import Transport
from tests.faults.stage import Stage, stage
from tests.servers import RealServer, need_server

DELIVERY = (
    *("a01", "a03", "a07", "a09", "a16", "a17"),  # who holds messages dies, or stands still
    *("c02", "c05", "c06", "c15"),  # the server forgets, or holds something else
    *("d06", "d07"),  # calls are lost or late
    *("e01", "e05"),  # another server takes over
    *("g04", "g14_an_id"),  # what is stored is not ours
)
"""The scenarios over stream queues of the quick set, by how their names begin; the slow set has all the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Over stream queues, what does not name delivery is left to `make chaos`."""
    for item in items:
        given = getattr(item, "callspec", None)
        named = item.name.removeprefix("test_").startswith(DELIVERY)
        if given is not None and given.params.get("transport") == "stream" and not named:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def server_binary() -> ServerBinary:
    return need_server()


@pytest.fixture(scope="session", params=["list", "stream"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Of the queue of the stage."""
    name: Transport = request.param
    return name


@pytest.fixture
def here(server: RealServer, namespace: str, transport: Transport) -> Iterator[Stage]:
    """A stage with the default lease: nothing lapses while a test looks away."""
    with stage(server, namespace, transport=transport) as one:
        yield one


@pytest.fixture
def short(server: RealServer, namespace: str, transport: Transport) -> Iterator[Stage]:
    """A stage with a lease of one second, for what is about leases that end."""
    with stage(server, namespace, 1.0, transport) as one:
        yield one


@pytest.fixture
def durable(start_server: Callable[..., RealServer], namespace: str, transport: Transport) -> Iterator[Stage]:
    """A server of its own that comes back with its data, and a lease of two seconds."""
    with stage(start_server(aof=True), namespace, 2.0, transport) as one:
        yield one
