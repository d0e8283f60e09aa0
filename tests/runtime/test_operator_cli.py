"""The operator's other commands as they are typed, against real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.buckets import bucket
from taskq.message import id_text
from taskq.store import keys
from taskq.tasks.broker import Finished, Retried
from taskq.tasks.statistics import counted
from tests.runtime.operating import Operator, error_of, operating
from tests.servers import RealServer, free_port


@pytest.fixture
def operator(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


# -- which namespace


def test_the_namespace_comes_from_the_option_the_app_or_the_project(operator: Operator, server: RealServer) -> None:
    operator.shop.enqueue(2)
    space = operator.shop.app.namespace
    assert operator.objects("queue", "ls")[0]["ready"] == 2
    (operator.folder / "pyproject.toml").write_text("[tool.taskq]\n")
    assert "no namespace is set" in error_of(operator("queue", "ls"), 2)
    url = ("--url", server.url)
    assert operator.objects("queue", "ls", "--namespace", space, *url)[0]["ready"] == 2
    assert operator.objects("queue", "ls", "--app", "store:app")[0]["ready"] == 2
    assert operator("queue", "ls", *url, TASKQ_NAMESPACE=space).stdout.splitlines()[1].split()[:2] == ["mail", "2"]
    (operator.folder / "pyproject.toml").write_text(
        f"[tool.taskq]\nnamespace = {space!r}\nurl = {server.url!r}\napp = 'broken:app'\n"
    )
    assert operator.objects("queue", "ls", *url)[0]["ready"] == 2
    assert "namespace name 'a b' is not valid" in error_of(operator("queue", "ls", "--namespace", "a b", *url), 2)


def test_a_broker_that_is_not_there_and_one_that_is_in_memory_are_told_apart(operator: Operator) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    assert "cannot reach" in error_of(operator("queue", "ls", "--url", nobody), 3)
    assert "memory://" in error_of(operator("dead", "ls", "--url", "memory://"), 2)


# -- taskq queue


def test_queues_are_listed_for_people_and_for_scripts(operator: Operator) -> None:
    assert "has no queues yet" in operator("queue", "ls").stderr
    operator.shop.enqueue(3)
    operator.shop.bury(1, queue="dead-ones")
    lines = operator.ok("queue", "ls").splitlines()
    assert lines[0].split()[:3] == ["QUEUE", "READY", "LEASED"]
    assert [line.split()[0] for line in lines[1:]] == ["dead-ones", "mail"]
    assert "\x1b" not in "".join(lines)
    (one,) = operator.objects("queue", "ls", "mail")
    assert (one["name"], one["ready"], one["paused"], one["counters"]) == ("mail", 3, False, {"enqueued": 3})


def test_a_queue_is_paused_and_resumed(operator: Operator) -> None:
    operator.shop.enqueue(1)
    assert operator.ok("queue", "pause", "mail") == "paused mail\n"
    assert operator.objects("queue", "ls")[0]["paused"]
    assert operator.shop.hands.take("mail") == []
    assert operator.ok("queue", "resume", "mail") == "resumed mail\n"
    assert len(operator.shop.take(1)) == 1
    assert "no queue 'mial'" in error_of(operator("queue", "pause", "mial"), 2)


def test_a_purge_asks_first_and_needs_yes_without_a_terminal(operator: Operator) -> None:
    operator.shop.enqueue(3)
    operator.shop.bury(2)
    refused = error_of(operator("queue", "purge", "mail"), 2)
    assert "Remove 3 messages (3 ready, 0 delayed, 0 parked) of queue mail?" in refused
    assert "--yes" in refused
    assert operator.shop.inspector.queue("mail").ready == 3
    assert "would remove 3 messages" in operator.ok("queue", "purge", "mail", "--dry-run")
    assert operator.ok("queue", "purge", "mail", "--yes") == "removed 3 messages of queue mail\n"
    (told,) = operator.objects("queue", "purge", "mail", "--state", "dead", "--yes")
    assert told == {"queue": "mail", "found": {"dead": 2}, "removed": 2, "dry_run": False}
    assert "running" in error_of(operator("queue", "purge", "mail", "--state", "running"), 2)


# -- taskq message


def test_a_message_is_shown_wherever_it_is(operator: Operator) -> None:
    sender = operator.shop.app.remote("store.send", queue="mail", delay=60, timeout=9, id="order-42")
    handle = sender.enqueue(1, size=3)
    text = operator.ok("message", "show", "order-42")
    assert "status      delayed until" in text
    assert "options     timeout=9.0" in text
    assert "has an explicit id" in text
    assert "size" not in text
    (told,) = operator.objects("message", "show", handle.id, "--data")
    assert (told["status"], told["args"], told["kwargs"], told["options"]) == (
        "delayed",
        [1],
        {"size": 3},
        {"timeout": 9.0},
    )
    assert "no trace of message never in 1 queue of" in error_of(operator("message", "show", "never"), 1)
    assert "no queue 'x'" in error_of(operator("message", "show", handle.id, "--queue", "x"), 2)


def test_a_done_message_is_shown_without_counts_that_nobody_keeps(operator: Operator) -> None:
    (done,) = operator.shop.enqueue(1)
    (item,) = operator.shop.take(1)
    assert "tried       attempts 0, crashes 0, deliveries 1" in operator.ok("message", "show", id_text(done))
    operator.shop.hands.finish(item, 1)
    shown = operator.ok("message", "show", id_text(done))
    assert ("status      done" in shown, "tried" in shown) == (True, False)
    (told,) = operator.objects("message", "show", id_text(done))
    assert (told["attempts"], told["crashes"], told["deliveries"]) == (None, None, None)


def test_a_message_is_cancelled(operator: Operator) -> None:
    held, waiting = operator.shop.enqueue(2)
    (item,) = operator.shop.take(1)
    assert operator.ok("message", "cancel", id_text(waiting)) == f"{id_text(waiting)} in queue mail: cancelled\n"
    (told,) = operator.objects("message", "cancel", id_text(held), "--kill")
    assert (told["answer"], told["queue"]) == ("requested", "mail")
    assert operator.shop.broker.extend("mail", [item.token]).cancelled == {held: True}
    operator.shop.hands.finish(item, 1)
    assert "cannot be cancelled: it is done" in error_of(operator("message", "cancel", id_text(held)), 1)
    assert "no trace" in error_of(operator("message", "cancel", "never"), 1)


# -- taskq workers, taskq stats


def test_workers_are_listed(operator: Operator) -> None:
    assert "no worker is there" in operator("workers", "ls").stderr
    link, space = operator.shop.broker.link, operator.shop.app.namespace
    now = operator.shop.inspector.server_ms()
    record = {
        "id": "host-1",
        "state": "running",
        "queues": ["mail", "scans"],
        "processes": 2,
        "concurrency": 8,
        "started": now - 90_000,
        "version": "0.1.0",
        "counters": {"done": 5, "failed": 2},
        "children": [{"running": 3}, {"running": 1}],
    }
    link.execute("ZADD", keys.workers(space), now, "host-1", now - 60_000, "host-2")
    link.execute("SET", keys.worker_record(space, "host-1"), json.dumps(record))
    head, first, second = operator.ok("workers", "ls").splitlines()
    assert head.split()[:2] == ["WORKER", "STATE"]
    assert first.split()[:7] == ["host-1", "running", "mail,scans", "16", "4", "5", "2"]
    assert second.split()[:2] == ["host-2", "gone"]
    (told,) = operator.objects("workers", "ls", "--queue", "scans")
    assert (told["id"], told["present"], told["record"]["concurrency"]) == ("host-1", True, 8)


def test_stats_add_up_and_show_rates(operator: Operator) -> None:
    operator.shop.enqueue(3)
    operator.shop.bury(1, queue="scans")
    lines = [line.split() for line in operator.ok("stats").splitlines()]
    assert lines[0][0] == "QUEUE"
    assert [line[0] for line in lines[1:]] == ["mail", "scans", "all"]
    assert lines[3][lines[0].index("ENQUEUED")] == "4"
    (told,) = operator.objects("stats", "mail", "--over", "0.1")
    assert told["counters"]["enqueued"] == 3
    assert told["rates"] == {"enqueued": 0.0}
    assert "0.0/s" in operator.ok("stats", "--over", "0.1")


def test_the_sum_of_queues_that_are_not_all_is_not_called_all(operator: Operator) -> None:
    link, space = operator.shop.broker.link, operator.shop.app.namespace
    link.execute("SADD", keys.queues(space), *(f"q-{number:04}" for number in range(1_001)))
    done = operator("stats")
    lines = done.stdout.splitlines()
    assert (lines[1].split()[0], lines[-2].split()[0], lines[-1].split()[0]) == ("q-0000", "q-0999", "shown")
    assert "only the first 1000 queues are shown" in done.stderr


@pytest.mark.parametrize("over", ["0", "0.0", "0ms"])
def test_rates_over_no_time_are_refused(operator: Operator, over: str) -> None:
    done = operator("stats", "--over", over)
    assert (done.returncode, done.stdout) == (2, "")
    assert "more than zero" in done.stderr


def count_tasks(operator: Operator, number: int) -> None:
    """So many are done in 12 ms after 2 s, and one has failed."""
    shop = operator.shop
    shop.enqueue(number + 1)
    *taken, failed = shop.take(number + 1)
    stats = counted("shop.send", "d", bucket(12_000), bucket(2_000_000))
    shop.broker.ack("mail", [Finished(one.id, one.token, stats=stats) for one in taken])
    shop.broker.nack("mail", [Retried(failed.id, failed.token, 60_000, stats=counted("shop.send", "fr"))])


def test_stats_of_tasks_show_counts_and_how_long_they_run_and_wait(operator: Operator) -> None:
    assert "nothing is counted" in operator("stats", "--tasks").stderr
    count_tasks(operator, 3)
    operator.shop.enqueue(1, queue="scans")
    head, line = (text.split("  ") for text in operator.ok("stats", "--tasks").splitlines())
    told = dict(zip((text.strip() for text in head if text), (text.strip() for text in line if text), strict=True))
    assert {name: told[name] for name in ("QUEUE", "TASK", "DONE", "FAILED", "RETRIED", "DEAD")} == {
        "QUEUE": "mail", "TASK": "shop.send", "DONE": "3", "FAILED": "1", "RETRIED": "1", "DEAD": "0"
    }  # fmt: skip
    assert told["RUN p50"].endswith(" ms")
    assert told["WAIT p99"].endswith(" s")
    (one,) = operator.objects("stats", "mail", "--tasks")
    assert (one["done"], one["failed"], one["run"]["count"], one["rates"]) == (3, 1, 3, None)
    assert 0.008 <= one["run"]["p50"] <= 0.016
    assert operator.objects("stats", "scans", "--tasks") == []
    assert operator("stats", "nowhere", "--tasks").returncode


def test_rates_of_tasks_are_those_of_the_time_between(operator: Operator) -> None:
    count_tasks(operator, 3)
    (one,) = operator.objects("stats", "--tasks", "--for", "0.1")
    assert (one["done"], one["rates"]["done"]) == (0, 0.0)
    assert one["run"] == {"count": 0, "p50": None, "p95": None, "p99": None}
    assert "0.0/s" in operator.ok("stats", "--tasks", "--over", "0.1")
