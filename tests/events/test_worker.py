"""Handlers of records in real workers: beside tasks, ended in order, killed, poisoned, stuck."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from taskq import Topic
from taskq.inspector import Inspector
from taskq.store.topic_keys import topic_keys
from tests.runtime.scraping import addresses, scrape, told
from tests.runtime.world import PATIENCE_S, World, world
from tests.servers import RealServer

APP = "tests.events.working:app"


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def orders(here: World) -> Topic:
    return here.app.topic("orders", partitions=4)


def publish(here: World, tag: str, partition: int = 0, topic: str = "orders", **asks: Any) -> None:
    of = orders(here) if topic == "orders" else here.app.topic(topic, partitions=2)
    of.publish({"tag": tag} | asks, partition=partition)


def group(here: World, name: str, number: int = 0, part: str = "", topic: str = "orders") -> str:
    return topic_keys(here.namespace, topic).partition(number).group(name, part)


def members(here: World, name: str = "billing") -> int:
    return int(here.broker.link.execute("ZCARD", topic_keys(here.namespace, "orders").group(name, "members")))


def done_up_to(here: World, name: str, number: int = 0) -> int:
    return int(here.broker.link.execute("HGET", group(here, name, number), "n") or 0)


def billed(here: World) -> list[str]:
    return [one.tag for one in here.heard if one.word == "billed"]


# -- beside tasks


def test_records_of_all_kinds_of_groups_are_handled_beside_tasks_and_coroutines_run_on_the_loop_of_the_hooks(
    here: World,
) -> None:
    worker = here.worker(app=APP)
    for number in range(4):
        publish(here, f"o{number}", number)
    publish(here, "m", topic="mails")
    here.app.remote("tests.events.working.work", queue="work").enqueue("t")
    for tag in ("o0", "o1", "o2", "o3"):
        here.hear("billed", tag)
        here.hear("audited", tag)
    here.hear("posted", "m")
    here.hear("worked", "t")
    here.until(lambda: here.app.broadcast("news").publish("flush") > 0, "a listener")
    here.hear("heard", "flush")
    assert not [one for one in here.heard if one.word == "elsewhere"]
    here.until(lambda: members(here) == 1, "one member")
    [record] = Inspector(here.broker.link, here.namespace).workers().workers
    listed = record.record
    assert listed["consumes"] == [
        "orders for billing (partition)",
        "orders for audit (partition)",
        "sources for tasks (partition)",
        "mails for post (shared)",
        "broadcast news",
    ]
    assert "  events  orders for billing (partition), orders for audit (partition), " in worker.text()
    assert worker.terminate() == 0
    assert members(here) == members(here, "audit") == 0


def test_a_worker_without_events_handles_no_records_and_one_for_events_only_runs_no_tasks(here: World) -> None:
    here.worker("--events-only", app=APP)
    here.app.remote("tests.events.working.work", queue="work").enqueue("t")
    publish(here, "a")
    here.hear("billed", "a")
    assert here.said("worked", "t") == []
    here.workers[0].terminate()
    here.worker("--no-events", app=APP)
    publish(here, "b")
    here.hear("worked", "t")
    assert here.said("billed", "b") == []
    assert "  events  " not in here.workers[1].text()


@pytest.mark.parametrize("more", [["--no-events"], ["--burst"], ["-q", "work"]])
def test_events_only_goes_with_nothing_that_is_about_tasks(here: World, more: list[str]) -> None:
    worker = here.worker("--events-only", *more, app=APP)
    assert worker.process.wait(PATIENCE_S) == 2
    assert f"events-only runs no tasks, so it does not go with {more[0].strip('-').replace('q', 'queues')}" in (
        worker.text()
    )


def test_a_worker_of_an_app_without_topics_imports_nothing_of_events(here: World) -> None:
    here.worker(app="tests.events.topicless:app")
    assert here.app.remote("tests.events.topicless.imported").enqueue().result(timeout=PATIENCE_S) == []


def test_events_only_without_a_subscription_is_refused(here: World) -> None:
    worker = here.worker("--events-only", app="tests.events.topicless:app")
    assert worker.process.wait(PATIENCE_S) == 2
    assert "subscribed to nothing" in worker.text()


# -- the end of a worker


def test_at_term_a_handler_finishes_its_record_is_committed_and_the_partitions_are_given_up(here: World) -> None:
    worker = here.worker(app=APP)
    publish(here, "slow", gate=here.gate("g"))
    publish(here, "next")
    here.hear("waits", "slow")
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: "draining" in worker.text(), "the drain")
    here.open_gate("g")
    assert worker.process.wait(PATIENCE_S) == 0
    here.until(lambda: len(here.said("billed", "slow")) == 1, "the record")
    assert done_up_to(here, "billing") >= 1
    assert here.broker.link.execute("HGET", group(here, "billing"), "owner") in (b"", None)
    assert members(here) == 0
    here.worker(app=APP)
    here.hear("billed", "next")
    publish(here, "last")
    here.hear("billed", "last")
    assert billed(here) == ["slow", "next", "last"], "each once, in order"


def test_a_second_term_waits_for_no_handler_and_its_record_comes_again_elsewhere(here: World) -> None:
    worker = here.worker(app=APP, WORKING_SESSION="20")
    publish(here, "slow", gate=here.gate("g"))
    here.hear("waits", "slow")
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: "draining" in worker.text(), "the drain")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(PATIENCE_S) == 5
    assert members(here) == 0, "it has left, so nobody waits for its session to end"
    assert here.said("billed", "slow") == []
    here.open_gate("g")
    here.worker(app=APP, WORKING_SESSION="20")
    here.hear("billed", "slow")


# -- deaths


@pytest.mark.crash
def test_s19_what_a_killed_worker_had_goes_to_the_others(here: World) -> None:
    first = here.worker("-p", "2", app=APP)
    second = here.worker(app=APP)
    here.until(lambda: members(here) == 3, "three members")
    for number in range(40):
        publish(here, f"a{number}", number % 4)
    for number in range(40):
        here.hear("billed", f"a{number}")
    first.signal_all(signal.SIGKILL)
    for number in range(40):
        publish(here, f"b{number}", number % 4)
    for number in range(40):
        here.hear("billed", f"b{number}")
    here.until(lambda: members(here) == 1, "the dead to be forgotten")
    assert second.terminate() == 0


@pytest.mark.crash
def test_s50_a_record_that_kills_its_child_three_times_is_a_dead_letter_and_the_partition_goes_on(here: World) -> None:
    worker = here.worker(app=APP, WORKING_SESSION="1")
    publish(here, "before")
    here.hear("billed", "before")
    publish(here, "poison", die=True)
    publish(here, "after")
    here.hear("billed", "after")
    assert len(here.said("dies", "poison")) == 3
    [(_, fields)] = here.broker.link.execute("XRANGE", group(here, "billing", 0, "dead"), "-", "+")
    told = [orjson.loads(value) for value in fields if value.startswith(b'{"topic"')]
    assert told[0]["reason"] == "crash"
    assert worker.process.poll() is None
    assert worker.text().count("died: signal 9 (SIGKILL)") == 3


@pytest.mark.crash
def test_s50_the_same_in_a_shared_group_beside_records_of_others(here: World) -> None:
    here.worker(app=APP, WORKING_SESSION="1")
    publish(here, "poison", topic="mails", die=True)
    for number in range(5):
        publish(here, f"m{number}", number % 2, topic="mails")
    for death in (1, 2, 3):
        here.hear("dies", "poison", death)
    for number in range(5):
        here.hear("posted", f"m{number}")
    dead = group(here, "post", 0, "dead", "mails")
    here.until(lambda: here.broker.link.execute("XLEN", dead) == 1, "a dead letter")
    assert len(here.said("dies", "poison")) == 3
    publish(here, "later", topic="mails")
    here.hear("posted", "later")


@pytest.mark.crash
def test_a_handler_past_max_poll_has_its_child_replaced_and_its_partitions_go_on(here: World) -> None:
    worker = here.worker("--drain-timeout", "1", app=APP)
    publish(here, "stuck", gate=here.gate("g"))
    [stuck] = here.hear("waits", "stuck")
    publish(here, "other", 1)
    here.hear("billed", "other")
    here.until(lambda: not Path(f"/proc/{stuck.pid}").exists(), "the child to be replaced")
    here.open_gate("g")
    [done] = here.hear("billed", "stuck")
    assert done.pid != stuck.pid
    assert "is replaced: a handler of orders for billing (partition) that runs for too long" in worker.text()


# -- what goes wrong at the start


def test_what_cannot_be_consumed_is_said_and_tried_again_and_the_rest_goes_on(here: World) -> None:
    here.app.topic("orders", partitions=3).properties()  # the app says four
    worker = here.worker(app=APP)
    publish_mail = here.app.topic("mails", partitions=2)
    publish_mail.publish({"tag": "m"})
    here.hear("posted", "m")
    here.until(lambda: "orders for billing (partition) cannot be consumed" in worker.text(), "the complaint")
    here.broker.link.execute("DEL", f"taskq:{{{here.namespace}}}:topics")
    here.until(lambda: members(here) == 1, "it to go on")


# -- what it tells of itself


def test_s103_a_worker_that_is_scraped_tells_of_its_records_and_of_topics(here: World) -> None:
    worker = here.worker("--metrics-port", "0", "-p", "2", app=APP)
    for number in range(4):
        publish(here, f"b{number}", partition=number)
    publish(here, "bad", fails=True)
    publish(here, "mail", topic="mails")
    here.until(lambda: bool(addresses(worker.text())), "the worker's address")
    (address,) = addresses(worker.text())

    def counts() -> tuple[float | None, ...]:
        found = scrape(address)
        outcomes = [told(found, "taskq_worker_records_total", outcome) for outcome in ("handled", "failed")]
        return (*outcomes, told(found, "taskq_worker_record_handle_seconds_count"))

    # Four and one for each of two groups, one of a shared group; `bill` fails three times at the bad one.
    here.until(lambda: counts() == (4 + 5 + 1, 3, 13), "the children to tell what they measured")
    found = scrape(address)
    assert (told(found, "taskq_worker_record_commit_seconds_count") or 0) >= 3
    assert told(found, "taskq_worker_record_commits_refused_total") == 0

    def groups() -> list[float | None]:
        found = scrape(address)
        names = ("lag_records", "records_total", "retries_total", "records_dead_total", "members")
        return [told(found, f"taskq_group_{name}", "billing", "orders") for name in names]

    here.until(lambda: groups() == [0, 5, 2, 1, 2], "the exporter to see the group")
    assert told(scrape(address), "taskq_topic_records_total", "orders") == 5
    assert told(scrape(address), "taskq_group_records_total", "post", "mails") == 1


def test_a_worker_without_topics_has_no_figures_of_records(here: World) -> None:
    worker = here.worker("--metrics-port", "0", "--no-events", app=APP)
    here.until(lambda: bool(addresses(worker.text())), "the worker's address")
    (address,) = addresses(worker.text())
    here.until(lambda: told(scrape(address), "taskq_worker_children", "running") == 1, "a child")
    assert not [name for name, _ in scrape(address) if name.startswith("taskq_worker_record")]
