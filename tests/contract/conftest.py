"""The transports that the contract is played on: lists on every server found here and on a cluster, and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq.clock import ManualClock
from taskq.tasks.lists import ListBroker
from taskq.tasks.memory import MemoryBroker
from taskq.tasks.queues import Queue, Queues
from tests.contract.scene import LIMITS, QUEUE, Scene, TimedLink
from tests.servers import RealServer, ServerOptions, declared_keys, need_server, server_binaries

LISTS = [f"list-{name}" for name in server_binaries()] or ["list-"]
CLUSTERS = [f"cluster-{name}" for name in server_binaries()] or ["cluster-"]
STREAMS = [f"stream-{name}" for name in (*LISTS, *CLUSTERS)]

Server = Callable[[str], RealServer]


@pytest.fixture(scope="session")
def server_of() -> Iterator[Server]:
    """The server of a transport, started when it is first asked for."""
    running: dict[str, RealServer] = {}

    def get(transport: str) -> RealServer:
        where = transport.removeprefix("stream-")
        if where not in running:
            kind, _, name = where.partition("-")
            binary = need_server(name or None)
            running[where] = RealServer(binary, ServerOptions(cluster=kind == "cluster")).start()
        return running[where]

    yield get
    for server in running.values():
        server.close()


def declared(transport: str) -> Queues:
    """The queue of the scenes, as an app would declare it."""
    queues = Queues()
    if transport.startswith("stream-"):
        queues.declare(Queue(QUEUE, transport="stream"))
    return queues


def announce(broker: ListBroker) -> None:
    """Declare what is declared now, so that the first call of a scene is its own."""
    for queue in broker.queues.values():
        broker.declare(queue)


def need_priorities(request: pytest.FixtureRequest, transport: str) -> None:
    """Skip what a test marked `priorities` needs where the transport says that it has none."""
    if request.node.get_closest_marker("priorities") and not declared(transport).features(QUEUE).priorities:
        pytest.skip("stream queues have no priorities")


@pytest.fixture(params=[*LISTS, *CLUSTERS, *STREAMS, "memory"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=[*LISTS, *CLUSTERS, *STREAMS])
def lists(request: pytest.FixtureRequest) -> str:
    """The transports on servers only: what can go wrong on the way there."""
    name: str = request.param
    return name


@pytest.fixture
def scene(request: pytest.FixtureRequest, transport: str, server_of: Server, namespace: str) -> Iterator[Scene]:
    clock = ManualClock()
    if transport == "memory":
        yield Scene(MemoryBroker(LIMITS, clock), clock)
        return
    need_priorities(request, transport)
    server = server_of(transport)
    link = TimedLink(server.tcp_url if server.options.cluster else server.url)
    link.clock = clock
    broker = ListBroker(link, namespace, LIMITS, queues=declared(transport))
    with declared_keys(server):
        announce(broker)
        yield Scene(broker, clock)
    broker.close()
