"""Single calls that meet their fault: request or reply lost, held, late (D6, D7), with crashes around them (A9, A16,
A17).
"""

from __future__ import annotations

import signal

import pytest

from taskq.tasks.failure import parse
from taskq_workers import exits
from tests.faults.stage import Stage

pytestmark = pytest.mark.crash
slow = pytest.mark.slow

LOST = ["lose_reply", pytest.param("lose_request", marks=slow)]
SILENT = [*LOST, pytest.param("mute_reply", marks=slow)]

# -- one call meets its fault


@pytest.mark.parametrize("how", SILENT)
@pytest.mark.parametrize("nth", [1, pytest.param(2, marks=slow), pytest.param(3, marks=slow)])
def test_d06_an_ack_whose_reply_is_lost_is_sent_again_and_changes_nothing(here: Stage, nth: int, how: str) -> None:
    proxy = here.proxy()
    lost = getattr(proxy.on("ack", nth), how)()
    here.hire("-c", "1", via=proxy)
    for n in range(nth):
        here.settled(here.put("effective", f"e{n}"))
    lost.wait()
    here.settled()
    again = lost.calls[0].args
    here.until(
        lambda: [call.args for call in proxy.calls if call.name == "ack"].count(again) == 2,
        "the same call to be sent again",
    )
    assert here.runs(f"e{nth - 1}") == 1


@pytest.mark.parametrize("how", LOST)
def test_d06_a_nack_whose_reply_is_lost_counts_one_attempt(here: Stage, how: str) -> None:
    proxy = here.proxy()
    getattr(proxy.on("nack"), how)()
    here.hire("-c", "1", via=proxy)
    here.settled(here.put("effective", "e", 0.0, 2))
    assert [one.attempt for one in here.said("start", "e")] == [1, 2, 3]
    assert here.counter("retried") == 2


@pytest.mark.parametrize("how", LOST)
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


@pytest.mark.parametrize("how", LOST)
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


@pytest.mark.parametrize("how", SILENT)
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


@pytest.mark.parametrize("how", LOST)
def test_d06_a_promote_whose_reply_is_lost_makes_ready_once(here: Stage, how: str) -> None:
    proxy = here.proxy()
    getattr(proxy.on("promote"), how)()
    here.hire("-c", "2", via=proxy)
    for n in range(5):
        here.put("effective", f"d{n}", delay=0.3)
    here.settled()


@pytest.mark.parametrize("how", LOST)
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


@pytest.mark.parametrize("how", SILENT)
@pytest.mark.parametrize("nth", [1, *(pytest.param(nth, marks=slow) for nth in (2, 3, 5))])
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
        if who == "supervisor":
            here.kill_worker(worker)  # until it is gone: a child that outlives it for a moment would send the ack again
        else:
            here.kill(worker.children[0])

    rule = proxy.on("ack")
    crashed = rule.before(crash) if when == "before" else rule.after(crash)
    message = here.put("effective", "e")
    crashed.wait()
    if who == "supervisor":
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
