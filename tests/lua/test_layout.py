"""The layout number: it only grows, and a release that is too far behind does not start."""

from __future__ import annotations

import pytest

from taskq.errors import BrokerRefused, LayoutMismatch
from taskq.message import LAYOUT
from taskq.store import keys, layout
from tests.lua.kit import Queue


def test_the_first_to_start_writes_its_number(queue: Queue, namespace: str) -> None:
    assert layout.check(queue.link, namespace) == LAYOUT
    assert queue.link.execute("GET", keys.layout(namespace)) == b"%d" % LAYOUT


def test_neighbouring_releases_start_side_by_side_in_any_order(queue: Queue, namespace: str) -> None:
    for own, newest in ((3, 3), (4, 4), (3, 4), (4, 4)):
        assert layout.check(queue.link, namespace, own) == newest
    assert queue.link.execute("GET", keys.layout(namespace)) == b"4"


def test_a_release_that_is_two_behind_is_refused_and_changes_nothing(queue: Queue, namespace: str) -> None:
    layout.check(queue.link, namespace, 5)
    with pytest.raises(LayoutMismatch, match=r"stores layout 5, and this one reads up to 4: upgrade taskq"):
        layout.check(queue.link, namespace, 3)
    assert queue.link.execute("GET", keys.layout(namespace)) == b"5"
    assert layout.check(queue.link, "another", 3) == 3


def test_a_worker_can_start_on_a_full_server(queue: Queue, namespace: str) -> None:
    layout.check(queue.link, namespace, 1)
    queue.link.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        assert layout.check(queue.link, namespace, 1) == 1
        assert layout.check(queue.link, namespace, 2) == 2
        assert layout.check(queue.link, "fresh", 2) == 2
    finally:
        queue.link.execute("CONFIG", "SET", "maxmemory", "0")


def test_a_wrong_type_at_the_key_is_told(queue: Queue, namespace: str) -> None:
    queue.link.execute("SADD", keys.layout(namespace), "not ours")
    with pytest.raises(BrokerRefused, match="another type"):
        layout.check(queue.link, namespace)
