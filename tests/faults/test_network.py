"""The network between workers and their server: lost, late, cut, slow and silent (group D, and A9, A16, A17)."""

from __future__ import annotations

import signal
import socket
from typing import Any

import pytest

from taskq.errors import BrokerUnavailable
from taskq.store.connection import SyncLink
from taskq.tasks.failure import parse
from taskq.tasks.lists import ListBroker
from tests.faults.rules import Way
from tests.faults.stage import Stage
from taskq_workers import exits

pytestmark = pytest.mark.crash

# -- one call meets its fault


@pytest.mark.parametrize("how", ["lose_request", "lose_reply", "mute_reply"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_d06_an_ack_whose_reply_is_lost_is_sent_again_and_changes_nothing(here: Stage, nth: int, how: str) -> None:
    proxy = here.proxy()
    lost = getattr(proxy.on("ack", nth), how)()
    here.hire("-c", "1", via=proxy)
    for n in range(nth):
        here.settled(here.put("effective", f"e{n}"))
    lost.wait()
    here.settled()
    again = lost.calls[0].args
    here.until(lambda: [call.args for call in proxy.calls if call.name == "ack"].count(again) == 2, "the same call to be sent again")
    assert here.runs(f"e{nth - 1}") == 1


@pytest.mark.parametrize("how", ["lose_request", "lose_reply"])
def test_d06_a_nack_whose_reply_is_lost_counts_one_attempt(here: Stage, how: str) -> None:
    proxy = here.proxy()
    getattr(proxy.on("nack"), how)()
    here.hire("-c", "1", via=proxy)
    here.settled(here.put("effective", "e", 0.0, 2))
    assert [one.attempt for one in here.said("start", "e")] == [1, 2, 3]
    assert here.counter("retried") == 2


@pytest.mark.parametrize("how", ["lose_request", "lose_reply"])
def test_d06_a_dead_letter_whose_reply_is_lost_is_one_dead_letter(here: Stage, how: str) -> None:
    proxy = here.proxy()
    getattr(proxy.on("dead_letter"), how)()
    here.hire("-c", "1", via=proxy)
    message = here.put("fails", "f")
    found = here.until_state(message, "x")
    proxy.must_have_fired()
    here.settled(here.put("effective", "after"), dead=True)
    assert here.counter("dead") == 1
    assert len(parse(here.found(message).lines)) == len(parse(found.lines)) == 3


@pytest.mark.parametrize("how", ["lose_request", "lose_reply"])
def test_d06_a_release_whose_reply_is_lost_gives_back_once(here: Stage, how: str) -> None:
    proxy = here.proxy()
    lost = getattr(proxy.on("release"), how)()
    worker = here.hire("-c", "1", "-v", "--drain-timeout", "0", via=proxy)
    message = here.put("sleeps", "s")
    here.hear("start", "s")
    assert worker.terminate() == exits.OK
    lost.wait()
    found = here.found(message)
    assert (found.state, found.deliveries, found.crashes) == ("r", 0, 0)
    assert here.broker.link.execute("LLEN", here.broker.keys("work").ready_for(0)) == 1


@pytest.mark.parametrize("how", ["lose_request", "lose_reply", "mute_reply"])
@pytest.mark.parametrize("name", ["extend", "sweep"])
def test_d06_lost_heartbeats_and_sweeps_cost_no_lease(short: Stage, name: str, how: str) -> None:
    here = short
    proxy = here.proxy()
    lost = getattr(proxy.on(name, 2, times=1), how)()
    here.hire("-c", "1", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    lost.wait()
    extended = len(proxy.executed("extend"))
    here.until(lambda: len(proxy.executed("extend")) > extended + 5, "more heartbeats")
    here.open_gate("g")
    here.settled(message)


@pytest.mark.parametrize("how", ["lose_request", "lose_reply"])
def test_d06_a_promote_whose_reply_is_lost_makes_ready_once(here: Stage, how: str) -> None:
    proxy = here.proxy()
    getattr(proxy.on("promote"), how)()
    here.hire("-c", "2", via=proxy)
    for n in range(5):
        here.put("effective", f"d{n}", delay=0.3)
    here.settled()


@pytest.mark.parametrize("how", ["lose_request", "lose_reply"])
def test_d06_a_reclaim_whose_reply_is_lost_blames_once(here: Stage, how: str) -> None:
    proxy = here.proxy()
    getattr(proxy.on("reclaim"), how)()
    here.hire("-c", "1", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    pid = here.hear("start", "g")[0].pid
    here.kill(pid)
    here.hear("start", "g", 2)
    assert here.found(message).crashes == 1
    here.open_gate("g")
    here.settled()


@pytest.mark.parametrize("how", ["lose_request", "lose_reply", "mute_reply"])
@pytest.mark.parametrize("nth", [1, 2, 3, 5])
def test_a17_a_lease_whose_reply_is_lost_gives_the_same_messages(here: Stage, nth: int, how: str) -> None:
    """The worker lives on: it asks again with the same ticket, so nothing waits for a lease to lapse."""
    proxy = here.proxy()
    lost = getattr(proxy.on("lease", nth), how)()
    here.hire("-c", "2", via=proxy)
    for n in range(12):
        here.put("effective", f"e{n}")
        if n % 4 == 3:
            here.settled()
    lost.wait()
    here.settled()
    assert here.counter("reclaimed") == 0


def test_a17_leases_whose_replies_are_all_lost_end_with_the_outage(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    lost = proxy.on("lease", 1, times=0).lose_reply()
    here.hire("-c", "2", via=proxy)
    for n in range(6):
        here.put("effective", f"e{n}")
    lost.wait(8)
    assert not any(here.runs(f"e{n}") for n in range(6))
    lost.end()
    here.settled()


@pytest.mark.parametrize("who", ["child", "supervisor"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a16_crash_between_effect_and_ack(short: Stage, when: str, who: str) -> None:
    """Before the ack it runs once more, after it never again: whoever of the worker dies."""
    here = short
    proxy = here.proxy()
    worker = here.hire("-c", "1", via=proxy)

    def crash(call: object) -> None:
        here.kill(worker.children[0] if who == "child" else worker.process.pid)

    rule = proxy.on("ack")
    crashed = rule.before(crash) if when == "before" else rule.after(crash)
    message = here.put("effective", "e")
    crashed.wait()
    if who == "supervisor":
        worker.process.wait(30)
        here.hire("-c", "1", via=proxy)
    here.settled(message)
    here.settled(here.put("effective", "after"))
    assert here.runs("e") == (2 if when == "before" else 1)
    if who == "child":
        assert parse(here.found(message).lines) == []


@pytest.mark.parametrize("way", ["held_reply", "held_request"])
def test_a09_sigterm_at_the_moment_of_delivery_loses_nothing(here: Stage, way: str) -> None:
    proxy = here.proxy()
    worker = here.hire("-c", "1", "-v", via=proxy)
    here.settled(here.put("effective", "first"))
    rule = proxy.on("lease")
    held = rule.hold_reply() if way == "held_reply" else rule.hold_request()
    message = here.put("effective", "e")
    held.wait()
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: "draining" in worker.text(), "the worker to drain")
    held.end()
    assert worker.process.wait(40) == exits.OK
    if here.found(message).state != "o":
        here.hire("-c", "1")
    here.settled(message)
    assert here.runs("e") == 1


# -- late commands


@pytest.mark.parametrize("verb", ["ack", "nack"])
def test_d07_a_late_outcome_of_a_holder_that_was_given_up_changes_nothing(short: Stage, verb: str) -> None:
    """The outcome waits in the network for longer than its lease; meanwhile another worker has taken over."""
    here = short
    proxy = here.proxy()
    worker = here.hire("-c", "1", via=proxy)
    held = proxy.on(verb).hold_request()
    message = here.put("slow_again", "e", here.gate("g"), int(verb == "nack"))
    here.hear("start", "e")
    here.kill_worker(worker, held)
    here.hire("-c", "1")
    here.hear("start", "e", 2)
    before = here.found(message)
    held.end()
    here.until(lambda: held.calls[0].fate == "executed", "the late command to be executed")
    after = here.found(message)
    assert (after.state, after.deliveries, after.attempts) == ("l", before.deliveries, before.attempts)
    here.open_gate("g")
    here.settled()
    assert (here.counter("done"), here.counter("retried")) == (1, 0)


def test_d07_a_late_release_of_a_holder_that_was_given_up_changes_nothing(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    worker = here.hire("-c", "1", "--drain-timeout", "0", via=proxy)
    held = proxy.on("release").hold_request()
    message = here.put("sleeps", "s")
    here.hear("start", "s")
    worker.process.send_signal(signal.SIGTERM)
    here.kill_worker(worker, held)
    here.hire("-c", "1")
    here.hear("start", "s", 2)
    held.end()
    here.until(lambda: held.calls[0].fate == "executed", "the late release to be executed")
    found = here.found(message)
    assert (found.state, found.deliveries) == ("l", 2)


def test_d07_a_late_lease_of_a_dead_child_takes_nothing(here: Stage) -> None:
    proxy = here.proxy()
    held = proxy.on("lease").hold_request()
    here.hire("-c", "1", via=proxy)
    message = here.put("effective", "e")
    here.kill(held.wait().calls[0].pid)
    here.settled(message)
    late = here.put("effective", "late", delay=0.5)
    held.end()
    here.until(lambda: held.calls[0].fate == "executed", "the late lease to be executed")
    here.settled(late)
    assert here.broker.link.execute("ZCARD", here.broker.keys("work").leases) == 0


def test_d07_a_late_enqueue_is_the_same_message(here: Stage) -> None:
    proxy = here.proxy()
    producer = here.producer(proxy)
    held = proxy.on("enqueue").hold_request()
    item = here.outgoing("effective", "e")
    here.accept(producer, item, "e")
    here.hire("-c", "1")
    here.settled()
    held.end()
    here.until(lambda: held.calls[0].fate == "executed", "the late enqueue to be executed")
    here.settled(here.put("effective", "after"))
    assert here.runs("e") == 1
    producer.close()


# -- the wire itself


def test_d01_latency_makes_it_slow_and_nothing_else(short: Stage) -> None:
    here = short
    proxy = here.proxy()
    proxy.latency(0.06, 0.03)
    here.hire("-c", "4", via=proxy)
    for n in range(20):
        here.put("effective", f"e{n}", 0.01)
    here.settled()
    assert here.counter("reclaimed") == 0


@pytest.mark.parametrize("deliver", [True, False], ids=["arrives-late", "cut"])
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


@pytest.mark.parametrize("at", [0, 1, 5, 30])
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
    enqueue = lambda tag: here.accept(producer, here.outgoing("effective", tag), tag)  # noqa: E731
    enqueue("first")
    answers.clear()
    proxies[0].reset_all()
    with pytest.raises(BrokerUnavailable, match="broker.test"):
        producer.link.execute("PING")
    answers.append(proxies[1].port)
    enqueue("second")
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
