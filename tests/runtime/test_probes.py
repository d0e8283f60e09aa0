"""The probes of a real worker, while its broker is there, is not, and while it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.runtime.scraping import addresses, fetch, numbers, told
from tests.runtime.world import Worker, World, world
from tests.servers import RealServer

pytestmark = pytest.mark.crash


@pytest.fixture
def here(start_server: Callable[..., RealServer], namespace: str) -> Iterator[World]:
    with world(start_server(), namespace) as one:
        yield one


def serving(here: World, *options: str) -> tuple[Worker, str]:
    """A worker that serves its probes, and where; ready."""
    one = here.worker(*options)
    here.until(lambda: bool(addresses(one.text())), "an address")
    address = addresses(one.text())[0]
    here.until(lambda: fetch(address, "/readyz") == (200, "ok\n"), "it to be ready")
    return one, address


@pytest.mark.parametrize("fault", ["stopped", "gone"])
def test_in_an_outage_a_worker_is_alive_and_not_ready_and_then_ready_again(here: World, fault: str) -> None:
    _, address = serving(here, "--metrics-port", "0")
    if fault == "stopped":
        here.server.sigstop()
    else:
        here.server.kill9()
    here.until(lambda: fetch(address, "/readyz") == (503, "the broker does not answer\n"), "it to be unready")
    assert fetch(address, "/livez") == (200, "ok\n")
    found = numbers(fetch(address, "/metrics")[1])
    assert (told(found, "taskq_broker_up"), told(found, "taskq_worker_ready")) == (0, 0)
    assert told(found, "taskq_worker_slots", "free") == 8
    if fault == "stopped":
        here.server.sigcont()
    else:
        here.server.restart()
    here.until(lambda: fetch(address, "/readyz")[0] == 200, "it to be ready again")
    assert fetch(address, "/livez")[0] == 200


def test_a_worker_that_drains_is_alive_and_not_ready(here: World) -> None:
    one, address = serving(here, "--health-port", "0")
    assert fetch(address, "/metrics")[0] == 404
    here.enqueue("gated", "slow", here.gate("slow"))
    here.hear("start", "slow")
    one.process.send_signal(signal.SIGTERM)
    here.until(lambda: fetch(address, "/readyz") == (503, "draining\n"), "it to drain")
    assert fetch(address, "/livez")[0] == 200
    here.open_gate("slow")
    assert one.process.wait(40) == 0


def test_a_worker_whose_child_is_stopped_is_alive_and_one_that_is_quiet_is_not_ready(here: World) -> None:
    one, address = serving(here, "--health-port", "0")
    (child,) = one.children
    os.kill(child, signal.SIGSTOP)
    assert fetch(address, "/livez")[0] == 200
    os.kill(child, signal.SIGCONT)
    one.process.send_signal(signal.SIGUSR1)
    here.until(lambda: fetch(address, "/readyz") == (503, "quiet\n"), "it to be quiet")


def test_hostile_clients_do_not_end_a_worker(here: World) -> None:
    import socket

    _, address = serving(here, "--metrics-port", "0")
    host, _, port = address.rpartition(":")
    clients = []
    for number in range(64):
        one = socket.create_connection((host, int(port)), 30)
        one.sendall((b"GET /metrics HTTP/1.1\r\nX: ", b"\x00" * 500, b"GET /metrics HTTP/1.0\r\n\r\n")[number % 3])
        clients.append(one)
    assert fetch(address, "/readyz") == (200, "ok\n")
    here.enqueue("quick", "works")
    here.hear("end", "works")
    for one in clients:
        one.close()


def test_metrics_and_probes_may_have_ports_of_their_own(here: World) -> None:
    one, _ = serving(here, "--metrics-port", "0", "--health-port", "0")
    first, second = addresses(one.text())
    assert [fetch(address, "/metrics")[0] for address in (first, second)] == [200, 404]
    assert [fetch(address, "/livez")[0] for address in (first, second)] == [200, 200]
