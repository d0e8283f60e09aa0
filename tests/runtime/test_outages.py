"""The broker goes away, comes back, forgets its scripts, cuts connections, or is full; workers go on by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq.errors import BrokerFull
from tests.runtime.world import World, world
from tests.servers import RealServer

pytestmark = pytest.mark.crash


@pytest.fixture
def durable(start_server: Callable[..., RealServer], namespace: str) -> Iterator[World]:
    with world(start_server(aof=True), namespace, lease=2.0) as one:
        yield one


def runs_on(here: World, tag: str) -> None:
    """A message enqueued now is done, at its first attempt."""
    message = here.enqueue("quick", tag)
    found = here.until_state(message, "o")
    assert found.result[:1] == b"d"
    assert [one.attempt for one in here.said("start", tag)] == [1]


def test_a_killed_server_comes_back_from_its_aof_and_nothing_is_lost(durable: World) -> None:
    here = durable
    worker = here.worker("-c", "4")
    here.until_present(1)
    held = [here.enqueue("gated", f"h{n}", here.gate("g")) for n in range(2)]
    for n in range(2):
        here.hear("start", f"h{n}")
    later = [here.enqueue("quick", f"l{n}", delay=0.3) for n in range(5)]
    here.server.kill9()
    here.open_gate("g")
    here.until(lambda: "broker unreachable" in worker.text(), "the worker to notice")
    here.server.restart()
    for message in [*held, *later]:
        assert here.until_state(message, "o").result[:1] == b"d"
    for tag in ["h0", "h1", *(f"l{n}" for n in range(5))]:
        assert [one.attempt for one in here.said("start", tag)] == [1]
    assert "broker is back" in worker.text()
    runs_on(here, "after")


def test_a_server_that_stands_still_longer_than_a_lease_costs_nobody_an_attempt(durable: World) -> None:
    here = durable
    here.worker("-c", "2")
    other = here.worker("-c", "2")
    here.until_present(2)
    message = here.enqueue("gated", "a", here.gate("g"))
    here.hear("start", "a")
    here.server.sigstop()
    try:
        here.until(lambda: "broker unreachable" in other.text(), "a worker to notice")
    finally:
        # Three leases: the wait is the fault itself, there is no event to wait for.
        here.until_elapsed(6.0)
        here.server.sigcont()
    runs_on(here, "after")
    here.open_gate("g")
    assert here.until_state(message, "o").result[:1] == b"d"
    assert len(here.said("start", "a")) == 1
    assert here.counter("retried") == 0


def test_cut_connections_and_flushed_scripts_lose_nothing(durable: World) -> None:
    here = durable
    here.worker("-c", "4")
    here.until_present(1)
    ids = []
    for n in range(20):
        ids.append(here.enqueue("quick", f"q{n}"))
        with here.server.client() as client:
            if n % 2:
                client.script_flush()
            else:
                client.client_kill_filter(_type="normal", skipme=True)
    for message in ids:
        assert here.until_state(message, "o").result[:1] == b"d"
    assert all(one.attempt == 1 for n in range(20) for one in here.said("start", f"q{n}"))


def test_a_full_server_refuses_new_messages_and_drains_what_is_queued(durable: World) -> None:
    here = durable
    ids = [here.enqueue("quick", f"q{n}") for n in range(20)]
    with here.server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(BrokerFull, match="maxmemory"):
            here.enqueue("quick", "refused")
        here.worker("-c", "2")
        for message in ids:
            assert here.until_state(message, "o").result[:1] == b"d"
        assert not here.said("start", "refused")
        client.config_set("maxmemory", 0)
    runs_on(here, "after")
