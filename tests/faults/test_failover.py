"""Another server takes over (group E): what it had received goes on, what it had not is gone, and that is all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq.errors import BrokerRefused, BrokerUnavailable
from taskq.tasks.lists import ListBroker
from taskq.tasks.queues import Transport
from tests.faults.pair import AT_ONCE, Pair, at, follow, move_slot, until
from tests.faults.stage import Stage, stage
from tests.runtime.test_topologies import join
from tests.servers import RealServer

pytestmark = pytest.mark.crash
ANOTHER = "another server process answers"


@pytest.fixture
def pair(start_server: Callable[..., RealServer]) -> Iterator[Pair]:
    one = Pair(start_server)
    yield one
    one.close()


@pytest.fixture
def here(pair: Pair, namespace: str, transport: Transport) -> Iterator[Stage]:
    """A stage of which everybody finds the server by the Sentinel; with a lease that outlasts a failover."""
    with stage(at(pair.url), namespace, transport=transport) as one:
        yield one


def test_e01_what_the_replica_had_not_received_is_gone_and_the_rest_goes_on(pair: Pair, here: Stage) -> None:
    worker = here.hire("-c", "1")
    running = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    for n in range(20):
        here.put("effective", f"e{n}")
    pair.received()
    pair.lag()
    gone = here.put("effective", "gone", delay=3600)
    assert here.found(gone).state == "d"
    del here.accepted[gone]
    pair.take_over()
    here.until(lambda: ANOTHER in worker.text(), "the worker to say so")
    here.open_gate("g")
    here.settled(running)
    here.settled()
    assert here.found(gone).state == "?"
    assert {here.runs(tag) for tag in here.accepted.values()} == {1}
    assert "Traceback" not in worker.text()
    assert worker.text().count(ANOTHER) == 1


def test_e03_twenty_messages_before_each_of_three_failovers_are_done_in_the_end(pair: Pair, here: Stage) -> None:
    """What was done and not yet received runs again: an asynchronous replica promises no more."""
    worker = here.hire("-c", "2")
    here.until_present(1)
    for turn in range(3):
        for n in range(20):
            here.put("effective", f"e{turn}.{n}", 0.05)
        pair.received()
        here.disturb(worker)
        pair.take_over()
        pair.come_back()
    here.settled()
    here.settled(here.put("effective", "after"))
    assert "Traceback" not in worker.text()


def test_e04_nobody_uses_the_old_primary_when_it_is_back_with_other_data(pair: Pair, here: Stage) -> None:
    here.hire("-c", "1")
    here.settled(here.put("effective", "before"))
    pair.received()
    pair.lag()
    gone = here.put("effective", "gone", delay=3600)
    del here.accepted[gone]
    old = pair.primary
    pair.take_over()
    old.restart()  # it takes itself for the primary, and has what the other one never got
    with old.client() as client:
        assert client.role()[0] == b"master"
        for n in range(10):
            here.settled(here.put("effective", f"e{n}"))
        assert client.info("commandstats").get("cmdstat_evalsha") is None
        client.replicaof("127.0.0.1", str(pair.primary.port))
    pair.until_followed()
    pair.received()
    pair.take_over()
    here.settled(here.put("effective", "after"))
    assert here.found(gone).state == "?"


def test_e05_the_outcome_of_a_lease_that_was_never_received_counts_for_nothing(pair: Pair, here: Stage) -> None:
    """The new primary gives out the numbers of those leases once more."""
    worker = here.hire("-c", "1")
    here.settled(here.put("effective", "before"))
    pair.received()
    pair.lag()
    gone = here.put("gated", "gone", here.gate("gone"))
    here.hear("start", "gone")
    del here.accepted[gone]
    here.forgotten.add("gone")
    here.disturb(worker)
    pair.take_over()
    here.hire("-c", "1")
    held = here.put("gated", "held", here.gate("held"))
    here.hear("start", "held")
    here.open_gate("gone")
    here.hear("end", "gone")
    here.until(lambda: "lease lost" in worker.text(), "the outcome to be refused")
    assert here.found(held).state == "l", "it is held by its own holder alone"
    assert here.found(gone).state == "?"
    here.open_gate("held")
    here.settled(held)
    assert here.counter("done") == 2


def test_e06_a_primary_that_wants_a_replica_and_has_none_takes_nothing_and_goes_on_with_one(
    start_server: Callable[..., RealServer], namespace: str, transport: Transport
) -> None:
    config = {"min-replicas-to-write": "1", "min-replicas-max-lag": "2"}
    server, replica = start_server(config=config | AT_ONCE), start_server()
    follow(replica, server)
    with server.client() as watching, replica.client() as client:

        def replicas() -> int:
            return int(watching.info("replication")["min_slaves_good_slaves"])

        until(lambda: replicas() == 1, "the replica to count")
        with stage(server, namespace, 2.0, transport) as here:
            here.hire("-c", "1")
            here.settled(here.put("effective", "before"))
            client.replicaof("no", "one")
            impatient = ListBroker(server.link(), namespace, here.broker.limits, 0.5, here.broker.queues)
            refused = here.outgoing("effective", "refused")
            until(lambda: replicas() == 0, "it to notice")
            with pytest.raises((BrokerRefused, BrokerUnavailable), match="NOREPLICAS"):
                impatient.enqueue("work", [refused])
            assert here.found(refused.id).state == "?"
            follow(replica, server)
            until(lambda: replicas() == 1, "the replica to count")
            here.settled(here.put("effective", "after"))
            impatient.close()


@pytest.mark.cluster
def test_e08_a_slot_that_moves_under_load_costs_no_message_and_no_run(
    start_server: Callable[..., RealServer], namespace: str, transport: Transport
) -> None:
    first, second = start_server(cluster=True), start_server(cluster=True, slots=False)
    join(first, second)
    move_slot(first, second, "another")  # a node that gives its last slot away would become a replica
    with stage(at(first.tcp_url), namespace, transport=transport) as here:
        worker = here.hire("-c", "2")
        here.until_present(1)
        here.put("gated", "g", here.gate("g"))
        here.hear("start", "g")
        for n in range(100):
            here.put("effective", f"e{n}", 0.005)
        assert move_slot(first, second, here.broker.keys("work").meta) > 3
        here.put("effective", "moved")
        here.open_gate("g")
        here.settled()
        assert {here.runs(tag) for tag in here.accepted.values()} == {1}
        assert "Traceback" not in worker.text()
