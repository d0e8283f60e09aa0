"""The network between workers and their server: slow, cut, silent, half-open, one way only (group D)."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from taskq.errors import BrokerUnavailable
from taskq.store.connection import SyncLink
from taskq.tasks.lists import ListBroker
from tests.faults.rules import Way
from tests.faults.stage import Stage

pytestmark = pytest.mark.crash


def test_d01_latency_makes_it_slow_and_nothing_else(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    proxy.latency(0.06, 0.03)
    here.hire("-c", "4", via=proxy)
    for n in range(20):
        here.put("effective", f"e{n}", 0.01)
    here.settled()
    assert here.counter("reclaimed") == 0


@pytest.mark.parametrize("deliver", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["arrives-late", "cut"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_d02_a_worker_in_a_black_hole_loses_its_lease_and_changes_nothing_later(
    short: Stage, way: Way, deliver: bool
) -> None:
    here = short
    proxy = here.proxy()
    lonely = here.hire("-c", "1", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    first = here.hear("start", "g")[0]
    here.until_present(1)
    hole = proxy.black_hole(way)
    here.disturb(lonely)
    here.hire("-c", "1")
    second = here.hear("start", "g", 2)[1]
    here.open_gate("g")
    result = here.until_state(message, "o").result
    hole.end(deliver=deliver)
    here.until(lambda: "lease lost" in lonely.text(), "the lonely worker to be told")
    here.settled(here.put("effective", "after"))
    assert here.found(message).result == result == f'd"g by {second.pid}"'.encode()
    assert second.fence > first.fence
    assert here.counter("done") == 2


def test_d03_a_half_open_connection_is_noticed_by_the_workers_own_timer(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    here.hire("-c", "1", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    dead = proxy.drop_ends()
    with here.server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    dead.wait()
    executed = len(proxy.executed("extend"))
    here.until(lambda: len(proxy.executed("extend")) > executed + 2, "heartbeats on a new connection")
    here.open_gate("g")
    here.settled(message, here.put("effective", "after"))


@pytest.mark.parametrize("at", [1, *(pytest.param(at, marks=pytest.mark.slow) for at in (0, 5, 30))])
def test_d04_a_reset_inside_a_reply_confuses_nobody(short: Stage, at: int) -> None:
    """Of every script and of the wait for work, once each; the replies after it are those of the right calls."""
    here = short
    proxy = here.proxy()
    for name in ("lease", "ack", "extend", "sweep", "BLPOP"):
        proxy.on(name, 2).cut_reply(at)
    here.hire("-c", "2", via=proxy)
    here.put("effective", "long", 1.0)  # so that there is a lease to extend
    for n in range(3):
        for task in range(3):
            here.put("effective", f"e{n}.{task}", 0.0, task % 2)
        here.settled()
    for rule in proxy.rules:
        rule.wait()


def test_d04_resets_of_everything_again_and_again_lose_nothing(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    here.hire("-c", "2", via=proxy)
    here.until_present(1)
    for n in range(20):
        here.put("effective", f"e{n}")
        proxy.reset_all()
    here.settled()


def test_d08_replies_in_pieces_of_one_byte_are_whole_in_the_end(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    proxy.slicer(1)
    here.hire("-c", "2", via=proxy)
    for n in range(6):
        here.put("effective", f"e{n}", 0.0, n % 2)
    here.settled()


def test_d08_a_large_body_on_a_slow_line_does_not_delay_the_heartbeat(short: Stage) -> None:
    """Three leases for one body: heartbeats have a connection, and a process, of their own."""
    here = short
    proxy = here.proxy()
    worker = here.hire("-c", "2", via=proxy)
    here.put("gated", "g", here.gate("g"))
    child = here.hear("start", "g")[0].pid
    slow = proxy.bandwidth(300_000, who=lambda pid: pid == child)
    here.put("sized", "s", "x" * 900_000)
    slow.wait()
    here.hear("start", "s")
    slow.end()
    here.open_gate("g")
    here.settled()
    assert here.counter("reclaimed") == 0
    assert "lease lost" not in worker.text()


def test_d10_a_server_that_accepts_and_says_nothing_is_given_up_and_tried_again(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    here.hire("-c", "1", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    silence = proxy.silence()
    proxy.reset_all()
    silence.wait(3)
    silence.end()
    here.open_gate("g")
    here.settled(message, here.put("effective", "after"))


def test_d10_refused_connections_are_tried_again(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    here.hire("-c", "1", via=proxy)
    here.settled(here.put("effective", "before"))
    here.until_present(1)
    refused = proxy.refuse()
    proxy.reset_all()
    refused.wait(5)
    refused.end()
    here.settled(here.put("effective", "after"))


def test_d11_a_name_that_is_gone_for_a_while_and_comes_back_with_another_address(
    here: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies = [here.proxy(), here.proxy()]
    known = socket.getaddrinfo
    answers: list[int] = [proxies[0].port]
    asked: list[str] = []

    def lookup(host: str | None, port: Any, *args: Any, **options: Any) -> Any:
        if host != "broker.test":
            return known(host, port, *args, **options)
        asked.append(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known("127.0.0.1", answers[0], *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    producer = ListBroker(SyncLink("redis://broker.test:1"), here.namespace, here.broker.limits)
    here.accept(producer, here.outgoing("effective", "first"), "first")
    answers.clear()
    proxies[0].reset_all()
    with pytest.raises(BrokerUnavailable, match=r"broker\.test"):
        producer.link.execute("PING")
    answers.append(proxies[1].port)
    here.accept(producer, here.outgoing("effective", "second"), "second")
    assert proxies[1].executed("enqueue")
    assert len(asked) >= 3
    producer.close()
    here.hire("-c", "1")
    here.settled()


@pytest.mark.parametrize("cut", ["heartbeat", "data"])
def test_d12_one_dead_path_of_a_worker(short: Stage, cut: str) -> None:
    """Its data cannot pass and its heartbeats can: the lease is kept. The other way round it is lost, and so is the
    outcome of its task; never do two outcomes count.
    """
    here = short
    proxy = here.proxy()
    worker = here.hire("-c", "1", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    child = here.hear("start", "g")[0].pid
    here.until_present(1)
    hole = proxy.black_hole(who=lambda pid: (pid == child) == (cut == "data"))
    if cut == "data":
        here.open_gate("g")
        here.hear("end", "g")
        hole.wait()
        here.until_elapsed(3.0)  # three leases: the fault itself, there is no event to wait for
        assert here.found(message).state == "l"
        hole.end(deliver=False)
        here.settled()
        return
    here.disturb(worker)
    here.hire("-c", "1")
    here.hear("start", "g", 2)
    hole.end(deliver=False)
    here.until(lambda: "lease lost" in worker.text(), "the worker to be told")
    here.open_gate("g")
    here.hear("end", "g", 2)
    here.settled()
    assert here.counter("done") == 1


@pytest.mark.slow
def test_d13_one_of_four_workers_is_cut_off_under_load(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    lonely = here.hire("-c", "2", via=proxy)
    for _ in range(3):
        here.hire("-c", "2")
    here.until_present(4)
    for n in range(120):
        here.put("effective", f"e{n}", 0.1)
    here.until(lambda: any(one.pid in lonely.children for one in here.heard), "the worker to have work")
    hole = proxy.black_hole()
    here.disturb(lonely)
    hole.wait()
    here.until_elapsed(5.0)
    for message in here.accepted:
        here.until_state(message, "o")
    hole.end()
    here.until(lambda: "lease lost" in lonely.text(), "the lonely worker to be told")
    here.settled()
