"""Consumers that are killed, frozen or cut off: what they held goes to others, and what they do then is not counted."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import pytest

from taskq import Record, TaskQ
from taskq.events import shared_calls
from taskq.store.connection import SyncLink
from taskq.store.topic_keys import topic_keys
from tests.events.kit import Consuming, Noted, consuming, wait_until
from tests.servers import SERVER_NAMES, RealServer

HOLD = """
import sys, os, signal, threading
from taskq import TaskQ
app = TaskQ(sys.argv[2], url=sys.argv[1])
def handler(record):
    print(record.value, record.attempt, flush=True)
    if record.value == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if record.value == "slow":
        threading.Event().wait(float(sys.argv[3]))
    print("done", record.value, flush=True)
options = dict(reset="earliest", lease=1, concurrency=1, max_in_flight=5)
with app.topic("one").subscribe(handler, group="mail", mode="shared", **options) as one:
    print("ready", flush=True)
    while True:
        threading.Event().wait(0.05)
        if one.counts.refused:
            print("refused", flush=True)
            break
"""


@pytest.fixture(params=SERVER_NAMES)
def place(request: pytest.FixtureRequest) -> str:
    return request.param or ""


def started(process: Consuming) -> Consuming:
    assert process.line() == "ready"
    return process


def test_s39_what_a_killed_consumer_held_is_handled_by_another(app: TaskQ, url: str) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.properties()
    with consuming(HOLD, app, url, "3600") as victim:
        started(victim)
        topic.publish_many(["slow", 1, 2, 3])
        assert victim.line() == "slow 1"
        with topic.subscribe(
            lambda record: noted.add((record.value, record.attempt)), group="mail", mode="shared", lease=1
        ):
            victim.signal(signal.SIGKILL)
            seen = dict(noted.wait(lambda seen: {one[0] for one in seen} == {"slow", 1, 2, 3}))
    assert len(noted.all) == 4, "each once"
    assert seen["slow"] == 2, "nobody knows what it died of, so each that it held has one delivery more"


def test_s50_a_record_that_kills_its_process_three_times_is_a_dead_letter(app: TaskQ, url: str) -> None:
    topic = app.topic("one", partitions=1)
    topic.publish_many(["poison", "a", "b"])
    subscription = topic.subscribe(group="mail", mode="shared")
    died = 0
    handled: set[str] = set()
    while died < 3:
        with consuming(HOLD, app, url, "0") as victim:
            lines = list(victim.lines())
        handled |= {line.removeprefix("done ") for line in lines if line.startswith("done ")}
        died += any(line.startswith("poison") for line in lines)
    with consuming(HOLD, app, url, "0") as last:
        started(last)
        wait_until(lambda: len(subscription.dead()) == 1)
        wait_until(lambda: sum(one.pending + one.records for one in subscription.lag()) == 0)
        topic.publish("after")
        while (line := last.line()) != "done after":
            assert line
            assert not line.startswith("poison")
            handled |= {line.removeprefix("done ")} if line.startswith("done ") else set()
    (letter,) = subscription.dead()
    assert (letter.record.value, letter.deaths, letter.attempts) == ("poison", 3, 0)
    assert letter.last_error["type"] == "died"
    assert handled == {"a", "b"}, "the innocent beside it were handled"


def test_a_frozen_consumer_settles_nothing_that_others_took(app: TaskQ, url: str) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.properties()
    with consuming(HOLD, app, url, "2") as frozen:
        started(frozen)
        topic.publish("slow")
        assert frozen.line() == "slow 1"
        frozen.signal(signal.SIGSTOP)
        with topic.subscribe(noted.value, group="mail", mode="shared", lease=1) as subscription:
            assert noted.wait(1) == ["slow"]
            wait_until(lambda: subscription.counts.handled == 1)
            frozen.signal(signal.SIGCONT)
            assert frozen.line() == "done slow"
            assert frozen.line() == "refused"
            assert subscription.counts.handled == 1
    assert noted.all == ["slow"]


def test_a_handler_that_takes_longer_than_the_lease_keeps_its_record(app: TaskQ) -> None:
    topic, noted, others = app.topic("one", partitions=1), Noted(), Noted()
    topic.publish("long")
    link: SyncLink = app.events.links().sync
    keys = topic_keys(app.namespace, "one").partition(0)

    def handler(record: Record) -> None:
        begun = link.execute("TIME")
        noted.add(record.value)
        wait_until(lambda: int(link.execute("TIME")[0]) - int(begun[0]) >= 3)

    with topic.subscribe(handler, group="mail", mode="shared", reset="earliest", lease=0.5) as one:
        noted.wait(1)
        with topic.subscribe(others.value, group="mail", mode="shared", lease=0.5):
            wait_until(lambda: one.counts.handled == 1)
    assert (others.all, one.counts.refused) == ([], 0)
    assert link.execute("XPENDING", keys.log, "mail:1")[0] == 0


@pytest.mark.crash
def test_an_outage_is_said_once_and_loses_nothing(
    start_server: Callable[..., RealServer], namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, noted = start_server(aof=True, config={"appendfsync": "always"}), Noted()
    with TaskQ(namespace, url=server.url) as app, caplog.at_level(logging.WARNING, "taskq.events"):
        topic = app.topic("one", partitions=2)
        topic.publish_many(range(50))
        with topic.subscribe(noted.value, group="mail", mode="shared", reset="earliest", lease=1) as subscription:
            noted.wait(20)
            server.kill9()
            wait_until(lambda: "broker unreachable" in caplog.text)
            server.restart()
            topic.publish_many(range(50, 60))
            noted.wait(lambda seen: set(seen) == set(range(60)))
            wait_until(lambda: "broker is back" in caplog.text)
            wait_until(lambda: sum(one.pending + one.records for one in subscription.lag()) == 0)
    assert caplog.text.count("broker unreachable") == 1
    assert caplog.text.count("broker is back") == 1


def test_a_group_that_somebody_removes_heals_and_says_so(app: TaskQ, caplog: pytest.LogCaptureFixture) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    link, keys = app.events.links().sync, topic_keys(app.namespace, "one").partition(0)
    topic.properties()
    with (
        topic.subscribe(noted.value, group="mail", mode="shared", lease=0.5),
        caplog.at_level(logging.WARNING, "taskq.events"),
    ):
        topic.publish(1)
        noted.wait(1)
        wait_until(lambda: link.execute("HGET", keys.group("mail"), "n") == b"1")
        link.execute("XGROUP", "DESTROY", keys.log, "mail:1")
        topic.publish(2)
        assert noted.wait(2) == [1, 2]
    assert "group mail was removed from one/0; it goes on from its position" in caplog.text


def test_what_an_answer_that_was_lost_handed_out_comes_to_somebody(app: TaskQ) -> None:
    topic, noted = app.topic("one", partitions=1), Noted()
    topic.properties()
    link, keys = app.events.links().sync, topic_keys(app.namespace, "one").partition(0)
    with topic.subscribe(noted.value, group="mail", mode="shared", lease=3600) as subscription:
        engine = subscription._consumer
        assert engine is not None
        topic.publish("x")
        noted.wait(1)
        # As if an XREADGROUP had read it whose answer never came: it is pending for us, and we do not know it.
        wait_until(lambda: subscription.counts.handled == 1)
        (part,) = engine.ledger.parts.values()
        last = topic.publish("y").offset
        noted.wait(2)
        wait_until(lambda: subscription.counts.handled == 2)
        link.execute("XCLAIM", keys.log, "mail:1", engine.name, 0, str(last), "FORCE", "JUSTID")
        part.doubt, part.due = True, 0.0
        assert noted.wait(3) == ["x", "y", "y"]


def test_ten_thousand_consumers_that_came_and_went_leave_no_trace(app: TaskQ) -> None:
    topic = app.topic("one", partitions=1)
    topic.properties()
    link, keys = app.events.links().sync, topic_keys(app.namespace, "one").partition(0)
    subscription = topic.subscribe(lambda record: None, group="mail", mode="shared", lease=0.5)
    subscription.start().close()
    before = set(link.execute("KEYS", f"*{app.namespace}*"))
    names = [os.urandom(6).hex() for _ in range(10_000)]
    link.pipeline([("XGROUP", "CREATECONSUMER", keys.log, "mail:1", f"gone.{name}") for name in names], timeout=30)
    seat = shared_calls.Seat(keys, "mail", 1, "me.1")
    for _ in range(100):
        app.events.links().sync.execute(*shared_calls.take(seat, 1, 1, b"", alone=False, forget=-1).full_command())
    assert subscription.lag()[0].consumers == 0
    assert set(link.execute("KEYS", f"*{app.namespace}*")) == before
