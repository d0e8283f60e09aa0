"""Outcomes wait while the broker will not let us store them, as in an outage, and are stored once it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Delivery, Outgoing, Seat
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from taskq_workers.settle import Settler
from tests.servers import RealServer

PATIENCE_S = 30
Change = Callable[..., None]


class Count:
    def __init__(self) -> None:
        self.settled_count = 0

    def settled(self, token: bytes, count: int) -> None:
        self.settled_count += count


class Ear(logging.Handler):
    """Hears the log, and can be waited on."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.waits = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "outcomes wait to be stored" in self.lines[-1]:
            self.waits.set()


@pytest.fixture
def ear() -> Iterator[Ear]:
    log, one = logging.getLogger("taskq.worker"), Ear()
    log.addHandler(one)
    yield one
    log.removeHandler(one)


@pytest.fixture
def change(server: RealServer) -> Iterator[Change]:
    """Change the rights of the worker's user, and have every connection sign in again."""
    with server.client() as client:

        def to(*rules: str) -> None:
            client.execute_command("ACL", "SETUSER", "worker", *rules)
            client.client_kill_filter(_type="normal", skipme=True)

        to("on", ">pw", "~*", "&*", "+@all")
        yield to
        client.execute_command("ACL", "DELUSER", "worker")


def leased(server: RealServer, namespace: str, seat: Seat) -> list[Delivery]:
    broker = ListBroker(server.link(), namespace)
    broker.enqueue("q", [Outgoing(one, b"body") for one in new_ids(3)])
    deliveries = broker.lease("q", seat.ticket("q"), 3).deliveries
    broker.close()
    return deliveries


def settler(
    server: RealServer, namespace: str, seat: Seat, lost: list[int], lease: int = 60_000, **more: Any
) -> tuple[Settler, Count]:
    link, tokens = SyncLink(f"redis://worker:pw@127.0.0.1:{server.port}"), Count()
    broker = ListBroker(link, namespace, Limits(lease=lease))
    return Settler(broker, seat, tokens, lambda _, number: lost.append(number), lambda _: None, **more), tokens


@pytest.mark.parametrize(("away", "back"), [("-hdel", "+hdel"), ("-evalsha", "+evalsha"), ("off", "on")])
def test_outcomes_wait_for_a_right_that_comes_back(
    server: RealServer, namespace: str, change: Change, ear: Ear, away: str, back: str
) -> None:
    seat, lost = Seat(), list[int]()
    deliveries = leased(server, namespace, seat)
    one, tokens = settler(server, namespace, seat, lost)
    change(away)
    for delivery in deliveries:
        one.put(("q", delivery))
    one.start()
    assert ear.waits.wait(PATIENCE_S), ear.lines
    assert tokens.settled_count == 0
    change(back)
    assert one.flush(PATIENCE_S)
    assert one.stop(PATIENCE_S)
    assert (tokens.settled_count, lost) == (3, [])
    with server.client() as client:
        keys = ListBroker(server.link(), namespace).keys("q")
        assert (client.hget(keys.meta, "done"), client.hlen(keys.body)) == (b"3", 0)
    assert len([line for line in ear.lines if "wait to be stored" in line]) == 1
    assert not [line for line in ear.lines if "cannot be stored" in line]


def test_outcomes_wait_no_longer_than_the_lease_is_held(
    server: RealServer, namespace: str, change: Change, ear: Ear
) -> None:
    seat, gone = Seat(), set[bytes]()
    deliveries = leased(server, namespace, seat)
    one, tokens = settler(server, namespace, seat, [], lost_tokens=lambda: gone)
    change("-hdel")
    for delivery in deliveries:
        one.put(("q", delivery))
    one.start()
    assert ear.waits.wait(PATIENCE_S), ear.lines
    gone.add(deliveries[0].token)
    assert one.flush(PATIENCE_S)
    assert one.stop(PATIENCE_S)
    assert tokens.settled_count == 3
    assert [line for line in ear.lines if "3 outcomes of queue q cannot be stored" in line]


def test_a_queue_without_rights_keeps_the_outcomes_of_others_for_one_lease_at_most(
    server: RealServer, namespace: str, change: Change, ear: Ear
) -> None:
    seat = Seat()
    deliveries = leased(server, namespace, seat)
    one, tokens = settler(server, namespace, seat, [], lease=300)
    change("-hdel")
    for delivery in deliveries:
        one.put(("q", delivery))
    one.start()
    assert one.flush(PATIENCE_S)  # nobody ever says that the lease is lost: the heartbeat may have no rights either
    assert one.stop(PATIENCE_S)
    assert tokens.settled_count == 3
    assert [line for line in ear.lines if "3 outcomes of queue q cannot be stored" in line]
