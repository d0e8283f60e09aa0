"""What the quick suite leaves to `make full`: a behaviour of ours on every server and topology, and at every point.

What differs between servers are scripts and commands: `tests/lua`, `tests/contract`, `tests/model` and what is marked
`each_server` run on each of them. Any other test runs on one plain server, and where it knows clusters on one of
another kind. Which one follows from its name: all have their turn, and a test always has the same.

Left out too is what an older server does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from zlib import crc32

import pytest

from taskq.store.binaries import ServerBinary
from tests.servers import MODERN, SERVER_NAMES, server_binaries

EACH_SERVER = ("lua", "contract", "model")
CLUSTER = "cluster-"
PLACES = ("server_binary", "place")
"""Names of fixtures whose parameter says on which server a test runs."""

WHERE = (*SERVER_NAMES, CLUSTER.rstrip("-"), "")

STRIDES = [4, pytest.param(1, marks=pytest.mark.slow)]
"""How far apart a test of what may be stopped anywhere stops it."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark as slow what another server shows as well."""
    for item in items:
        anywhere = item.path.parent.name in EACH_SERVER or item.get_closest_marker("each_server")
        if not anywhere and not _its_turn(item):
            item.add_marker(pytest.mark.slow)
        if _of_topics(item) and any(binary.version < MODERN for binary in _servers_of(item)):
            item.add_marker(pytest.mark.skip("topics need Redis 7.0 or Valkey 7.2"))


def points(every: int, item: pytest.Item) -> Iterator[int]:
    """The first point, and then one of so many, without end; with other parameters a test takes other ones."""
    yield 1
    yield from count(2 + _number(item) % every, every)


def _of_topics(item: pytest.Item) -> bool:
    named = item.path.parent.name == "events" or item.path.name.startswith("test_events_")
    return named or item.get_closest_marker("topics") is not None


def _servers_of(item: pytest.Item) -> list[ServerBinary]:
    """Those that its parameters name, or else the one that a test gets that does not say which."""
    given, binaries = getattr(item, "callspec", None), server_binaries()
    names = [] if given is None else [str(value).rpartition("-")[2] for value in given.params.values()]
    return [binaries[name] for name in names if name in binaries] or [*binaries.values()][:1]


def _its_turn(item: pytest.Item) -> bool:
    given = getattr(item, "callspec", None)
    places = [] if given is None else [str(given.params.get(param, "")) for param in PLACES]
    return all(_chosen(one, _number(item)) for one in places if one.removeprefix(CLUSTER) in SERVER_NAMES)


def _number(item: pytest.Item) -> int:
    """The same for a test wherever it runs, another one for other tests and other parameters."""
    words = [word for word in item.name.rstrip("]").replace("[", "-").split("-") if word not in WHERE]
    return crc32("-".join((item.path.name, *words)).encode())


def _chosen(place: str, turn: int) -> bool:
    clustered = place.startswith(CLUSTER)
    return SERVER_NAMES.index(place.removeprefix(CLUSTER)) == (turn + clustered) % len(SERVER_NAMES)
