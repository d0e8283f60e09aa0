"""The transports that the contract is played on: lists on every server found here and on a cluster, and memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import pytest

from taskq.clock import ManualClock
from taskq.store import scripts
from taskq.tasks.lists import ListBroker
from taskq.tasks.memory import MemoryBroker
from tests.contract.scene import LIMITS, Scene, TimedLink
from tests.servers import RealServer, ServerOptions, need_server, server_binaries

LISTS = [f"list-{name}" for name in server_binaries()] or ["list-"]
CLUSTERS = [f"cluster-{name}" for name, binary in server_binaries().items() if binary.version >= (7,)] or ["cluster-"]

Server = Callable[[str], RealServer]


@pytest.fixture(scope="session")
def server_of() -> Iterator[Server]:
    """The server of a transport, started when it is first asked for."""
    running: dict[str, RealServer] = {}

    def get(transport: str) -> RealServer:
        if transport not in running:
            kind, _, name = transport.partition("-")
            binary = need_server(name or None)
            running[transport] = RealServer(binary, ServerOptions(cluster=kind == "cluster")).start()
        return running[transport]

    yield get
    for server in running.values():
        server.close()


@contextmanager
def declared_keys(transport: str) -> Generator[None]:
    """On a cluster scripts run with `#!lua`: there the server refuses a key of another slot than the declared ones."""
    if not transport.startswith("cluster"):
        yield
        return
    scripts.set_prefix("#!lua\n")
    try:
        yield
    finally:
        scripts.set_prefix("")


@pytest.fixture(params=[*LISTS, *CLUSTERS, "memory"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=[*LISTS, *CLUSTERS])
def lists(request: pytest.FixtureRequest) -> str:
    """The list transport only: what can go wrong on the way to a server."""
    name: str = request.param
    return name


@pytest.fixture
def scene(transport: str, server_of: Server, namespace: str) -> Iterator[Scene]:
    clock = ManualClock()
    if transport == "memory":
        yield Scene(MemoryBroker(LIMITS, clock), clock)
        return
    server = server_of(transport)
    link = TimedLink(server.tcp_url if server.options.cluster else server.url)
    link.clock = clock
    broker = ListBroker(link, namespace, LIMITS)
    with declared_keys(transport):
        yield Scene(broker, clock)
    broker.close()
