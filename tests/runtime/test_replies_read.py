"""How long a reply is waited for is said to the socket only where it differs from what was said when it was opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq.store.connection import SyncLink
from tests.servers import RealServer

OWN_S = 0.75


class Watched:
    """A socket that counts how often its time limit was set."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.set: list[float | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def settimeout(self, value: float | None) -> None:
        self.set.append(value)
        self._inner.settimeout(value)


@pytest.fixture
def line(server: RealServer) -> Iterator[tuple[SyncLink, Watched]]:
    link = SyncLink(server.url, timeout=OWN_S, max_connections=1)
    link.execute("PING")
    (connection,) = link._known_routes().pool(["PING"])._free
    socket = connection._sock = connection._parser._sock = Watched(connection._sock)
    yield link, socket
    link.close()


def test_of_a_limit_that_is_the_connections_own_nothing_is_said(line: tuple[SyncLink, Watched]) -> None:
    link, socket = line
    assert link.execute("PING") == b"PONG"
    assert link.pipeline([("PING",), ("ECHO", "a")]) == [b"PONG", b"a"]
    (connection,) = link._known_routes().pool(["PING"])._free
    assert connection._sock is socket, "another connection was used"
    assert socket.set == []


def test_another_limit_is_kept_for_that_call_alone(line: tuple[SyncLink, Watched]) -> None:
    link, socket = line
    assert link.execute("PING", timeout=20.0) == b"PONG"
    assert socket.set[0] == 20.0
    assert socket.set[-1] == OWN_S
