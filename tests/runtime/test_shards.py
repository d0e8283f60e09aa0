"""A shard of a cluster that is away: heartbeats, sweeps and the work of dead children go on at the others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.store.connection import SyncLink
from taskq.store.scripts import run
from taskq.tasks import calls
from taskq.tasks.broker import Delivery, Outgoing, Seat
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from taskq_workers.deaths import Death
from taskq_workers.keeper import Calls, Keeper
from taskq_workers.wires import Wire
from tests.servers import RealServer

LEASE_MS = 1000
pytestmark = pytest.mark.cluster


class HalfLink(SyncLink):
    """A link to a cluster from which the shard of one queue cannot be reached."""

    away = ""
    asked = 0

    def execute(self, *args: Any, timeout: float | None = None) -> Any:
        self._refuse(args)
        return super().execute(*args, timeout=timeout)

    def pipeline(self, commands: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[Any]:
        replies = []
        for command in commands:
            try:
                replies.append(self.execute(*command, timeout=timeout))
            except TaskqError as error:
                replies.append(error)
        return replies

    def _refuse(self, args: Sequence[Any]) -> None:
        if self.away and any(isinstance(arg, str) and self.away in arg for arg in args):
            self.asked += 1
            raise BrokerUnavailable("the shard does not answer")


class Quiet:
    """Stands for the record of a worker: there is none here."""

    worker = "quiet"

    def due(self) -> float:
        return float("inf")

    def hurry(self) -> None: ...

    def wires(self, *_: object) -> list[Wire]:
        return []

    farewell = wires


@pytest.fixture
def broker(start_server: Callable[..., RealServer], namespace: str) -> Iterator[ListBroker]:
    link = HalfLink(start_server(cluster=True).tcp_url)
    one = ListBroker(link, namespace, Limits(lease=LEASE_MS))
    yield one
    one.close()


@pytest.fixture
def keeper(broker: ListBroker) -> Keeper:
    calls_ = Calls(list, lambda: "running", lambda *_: None, lambda: None)
    return Keeper(broker, Quiet(), calls_, ["a", "b"], [])  # type: ignore[arg-type]


def held_for_long(broker: ListBroker, queue: str) -> Delivery:
    """A message whose lease ended ten leases ago."""
    broker.enqueue(queue, [Outgoing(os.urandom(16), b"body")])
    past = str(int(time.time() * 1000) - 10 * LEASE_MS)
    call = calls.lease(broker.keys(queue), Seat().ticket(queue), 1, broker.limits, now=past)
    (delivery,) = run(broker.link, call).deliveries
    return delivery


def ready(broker: ListBroker, queue: str) -> int:
    return int(SyncLink.execute(broker.link, "LLEN", broker.keys(queue).ready_for(0)))


@pytest.mark.parametrize("away", ["a", "b"])
def test_lapsed_leases_of_the_other_shards_go_back(broker: ListBroker, keeper: Keeper, away: str) -> None:
    for queue in ("a", "b"):
        held_for_long(broker, queue)
    link = broker.link
    assert isinstance(link, HalfLink)
    link.away = broker.keys(away).body[:-4]
    with pytest.raises(BrokerUnavailable):
        keeper._round()
    assert link.asked, "the fault did not fire"
    assert {queue: ready(broker, queue) for queue in ("a", "b")} == {"a": away != "a", "b": away != "b"}
    link.away = ""
    keeper._all_due()
    keeper._round()
    assert {queue: ready(broker, queue) for queue in ("a", "b")} == {"a": 1, "b": 1}


@pytest.mark.parametrize("away", ["a", "b"])
def test_what_dead_children_held_at_the_other_shards_goes_back(broker: ListBroker, keeper: Keeper, away: str) -> None:
    link = broker.link
    assert isinstance(link, HalfLink)
    for queue in ("a", "b"):
        one = held_for_long(broker, queue)
        keeper.bury(Death(f"child of {queue}", "w", "killed", "crash", ((queue, one.token),), ()))
    link.away = broker.keys(away).body[:-4]
    for _ in range(2):  # one that is away each time, so that heartbeats do not wait for long
        with pytest.raises(BrokerUnavailable):
            keeper._urgent()
    assert link.asked == 2, "the fault did not fire, or was met again and again"
    assert {queue: ready(broker, queue) for queue in ("a", "b")} == {"a": away != "a", "b": away != "b"}
    link.away = ""
    keeper._urgent()
    assert {queue: ready(broker, queue) for queue in ("a", "b")} == {"a": 1, "b": 1}
