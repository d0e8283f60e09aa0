"""Apps on real servers: every Redis and Valkey found here, and a one-node cluster where undeclared keys are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.events import fetcher, shared_reading
from tests.servers import RealServer, ServerOptions, declared_keys, need_server, server_binaries

PLACES = [*server_binaries(), *(f"cluster-{name}" for name in server_binaries())] or [""]


@pytest.fixture(scope="session")
def server_at() -> Iterator[Callable[[str], RealServer]]:
    """The server of a place, started when it is first asked for."""
    running: dict[str, RealServer] = {}

    def get(place: str) -> RealServer:
        if place not in running:
            cluster = place.startswith("cluster-")
            binary = need_server(place.removeprefix("cluster-") or None)
            running[place] = RealServer(binary, ServerOptions(cluster=cluster)).start()
        return running[place]

    yield get
    for server in running.values():
        server.close()


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a consumer that closes wait for a tenth of its time, but where the rate of reading is looked at."""
    if "s18" not in request.node.name:
        monkeypatch.setattr(fetcher, "BLOCK_S", 0.1)
        monkeypatch.setattr(shared_reading, "BLOCK_S", 0.1)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, server_at: Callable[[str], RealServer]) -> Iterator[str]:
    """Where topics are kept. A cluster refuses keys that were not declared."""
    name: str = request.param
    with declared_keys(server_at(name)):
        yield name


@pytest.fixture
def url(place: str, server_at: Callable[[str], RealServer]) -> str:
    server = server_at(place)
    return server.tcp_url if server.options.cluster else server.url


@pytest.fixture
def app(url: str, namespace: str) -> Iterator[TaskQ]:
    with TaskQ(namespace, url=url) as one:
        yield one


@pytest.fixture
def another_app(url: str, namespace: str) -> Iterator[Callable[..., TaskQ]]:
    """A function that makes another app on the same namespace and server, as another process would have it."""
    made: list[TaskQ] = []

    def make(**options: Any) -> TaskQ:
        made.append(TaskQ(namespace, url=url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
