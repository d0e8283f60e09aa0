"""Metrics of a real namespace: what one process serves, and which of several serves the figures of all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.errors import BrokerRefused
from taskq.exporter import OWN_RANK, WORKER_RANK, Exporter, looking, place
from taskq.exposition import Page
from taskq.snapshot import ServerInfo, Snapshot
from taskq.store import keys
from taskq.store.connection import SyncLink
from taskq.store.scripts import run
from taskq.store.spawn import die_with_parent
from taskq.tasks.broker import Mark, Seat
from tests.runtime.scraping import PATIENCE_S, addresses, fetch, scrape, told
from tests.runtime.world import ROOT, World, world
from tests.servers import RealServer

pytestmark = pytest.mark.crash

OBSERVED = "tests.runtime.observed:app"
ELECTED = "taskq_exporter_elected"


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


class Processes:
    """`taskq metrics` processes on one namespace."""

    def __init__(self, here: World) -> None:
        self._here = here
        self._folder = Path(tempfile.mkdtemp(dir=here.dir))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> tuple[subprocess.Popen[bytes], str]:
        """One more, and where it serves."""
        log = self._folder / str(len(self.started))
        command = [sys.executable, "-m", "taskq_workers", "metrics", "--port", "0", "--namespace", self._here.namespace]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--url", self._here.server.url, *options],
                env=self._here.env,
                stderr=out,
                cwd=ROOT,
                preexec_fn=die_with_parent(),
            )
        self.started.append(process)
        self._here.until(lambda: bool(addresses(log.read_text())) or process.poll() is not None, "an address")
        return process, addresses(log.read_text())[0].removesuffix("/metrics")


@pytest.fixture
def processes(here: World) -> Iterator[Processes]:
    made = Processes(here)
    yield made
    for process in made.started:
        process.kill()
        process.wait(PATIENCE_S)


# -- who is elected


class Candidates:
    """Exporters in this process, whose looks see nothing."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self.made: list[Exporter] = []

    def __call__(self, id: str, rank: int = WORKER_RANK) -> Exporter:
        snapshot = Snapshot(self._namespace, 1, ServerInfo())
        one = Exporter(SyncLink(self._url), self._namespace, lambda: snapshot, id, rank)
        self.made.append(one)
        return one


@pytest.fixture
def candidate(server: RealServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Candidates]:
    monkeypatch.setattr("taskq.exporter.LEAST_S", 0.0)  # each page is a look of its own
    made = Candidates(server.url, namespace)
    yield made
    for one in made.made:
        one.close()


def elected(*exporters: Exporter) -> list[bool]:
    return [one.page().value(ELECTED) == 1 for one in exporters]


def test_of_two_workers_one_serves_the_namespace_and_the_other_follows_when_it_leaves(candidate: Candidates) -> None:
    first, second = candidate("one"), candidate("two")
    assert elected(first, second, first, second) == [True, False, True, False]
    assert second.page().value("taskq_workers", state="running") is None
    assert first.page().value("taskq_workers", state="running") == 0
    first.close()
    assert elected(second, first) == [True, False]


def test_a_process_that_only_exports_is_preferred(candidate: Candidates) -> None:
    worker, own, other = candidate("worker"), candidate("own", OWN_RANK), candidate("other", OWN_RANK)
    assert elected(worker, own, worker, other, own) == [True, True, False, False, True]
    own.close()
    assert elected(worker, other, worker) == [True, True, False]


def test_the_place_expires_once_nobody_scrapes_its_holder(
    candidate: Candidates, server: RealServer, namespace: str
) -> None:
    first, second = candidate("one"), candidate("two")
    began = time.monotonic()
    assert elected(first, second) == [True, False]
    with server.client() as client:
        assert 0 < client.pttl(keys.exporter(namespace)) <= 30_000
        assert elected(first) == [True]
        lasts = max(5_000, 3_000 * (time.monotonic() - began))  # three of its pauses, and 5 s at least
        assert 0 < client.pttl(keys.exporter(namespace)) <= lasts, "after quick scrapes it is not kept for long"
        client.delete(keys.exporter(namespace))  # as its expiry does
    assert elected(second, first) == [True, False]


def test_a_repeated_call_changes_nothing_and_who_does_not_hold_it_cannot_leave_it(
    server: RealServer, namespace: str
) -> None:
    link, key = server.link(), keys.exporter(namespace)
    assert [run(link, place(namespace, "0a", 60_000)) for _ in range(2)] == [True, True]
    assert not run(link, place(namespace, "0b", 0))
    assert link.execute("GET", key) == b"0a"
    assert not run(link, place(namespace, "0a", 0))
    assert link.execute("EXISTS", key) == 0
    link.execute("LPUSH", key, "x")
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        run(link, place(namespace, "0a", 60_000))
    assert link.execute("LLEN", key) == 1
    link.close()


def test_a_full_broker_can_still_be_watched(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server()
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(Exception, match="maxmemory"):
            client.set("x", "y")
    link = server.link()
    one = Exporter(link, namespace, looking(link, namespace), "one", WORKER_RANK)
    page = one.page()
    assert (page.value(ELECTED), page.value("taskq_broker_memory_limit_bytes")) == (1, 1)
    one.close()


@pytest.mark.cluster
@pytest.mark.topics
def test_a_cluster_is_watched_as_well(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server(cluster=True)
    with TaskQ(namespace, url=server.tcp_url) as app:
        app.remote("shop.send", queue="mail").enqueue(1)
        app.remote("shop.resize", queue="images").enqueue(2)
        orders = app.topic("orders", partitions=3)
        orders.publish_many(list(range(6)))
        for options in ({"group": "billing"}, {"group": "mail", "mode": "shared"}):
            with orders.subscribe(reset="earliest", **options):  # type: ignore[call-overload]
                pass
    link = server.link()
    one = Exporter(link, namespace, looking(link, namespace), "one", WORKER_RANK)
    page = one.page()
    assert page.value(ELECTED) == 1
    assert page.value("taskq_topic_records_total", topic="orders") == 6
    lags = [page.value("taskq_group_lag_records", topic="orders", group=name) for name in ("billing", "mail")]
    assert lags == [6, 6]
    assert [page.value("taskq_queue_messages", queue=name, state="ready") for name in ("mail", "images")] == [1, 1]
    one.close()


def test_the_broker_is_looked_at_once_a_second_however_often_it_is_scraped(server: RealServer, namespace: str) -> None:
    looks: list[int] = []

    def look() -> Snapshot:
        looks.append(1)
        return Snapshot(namespace, 1, ServerInfo())

    one = Exporter(server.link(), namespace, look, "one", WORKER_RANK, lambda page: None)
    one._ended = float("inf")  # no second passes in this test, however slow the machine is
    one._seen = one._again()
    assert [one.page().value(ELECTED) for _ in range(50)] == [1] * 50
    assert len(looks) == 1
    one.close()


# -- processes


def test_when_the_exporter_is_killed_another_takes_over(here: World, processes: Processes) -> None:
    (first, one), (_, two) = processes.start(), processes.start()
    here.enqueue("quick", "a")
    here.until(lambda: told(scrape(one), "taskq_messages_enqueued_total", "work") == 1, "the first to see the queue")
    assert told(scrape(two), ELECTED) == 0
    assert told(scrape(two), "taskq_messages_enqueued_total", "work") is None
    name = keys.exporter(here.namespace)
    here.until(lambda: bool(scrape(one)) and here.broker.link.execute("PTTL", name) < 15_000, "it to know its pace")
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE_S)
    here.until(lambda: told(scrape(two), ELECTED) == 1, "the second to take over")
    here.until(lambda: told(scrape(two), "taskq_messages_enqueued_total", "work") == 1, "it to see the queue")


def test_a_process_that_ends_in_order_leaves_its_place(here: World, processes: Processes) -> None:
    process, address = processes.start()
    here.until(lambda: told(scrape(address), ELECTED) == 1, "it to be elected")
    assert fetch(address, "/livez")[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert here.broker.link.execute("EXISTS", keys.exporter(here.namespace)) == 0


def test_a_port_that_is_taken_is_one_clear_error(here: World, processes: Processes) -> None:
    _, address = processes.start()
    for command in (["metrics", "--port"], ["worker", "tests.runtime.guarded:app", "--health-port"]):
        done = subprocess.run(
            [sys.executable, "-m", "taskq_workers", *command, address.rpartition(":")[2]],
            env=here.env | {"TASKQ_NAMESPACE": here.namespace, "TASKQ_URL": here.server.url},
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 2
        assert "cannot listen on 127.0.0.1 port" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_a_worker_ran_is_what_the_metrics_say(here: World) -> None:
    """Twenty that are done, one of them at its second attempt, and one that is dead after two."""
    one = here.worker("--metrics-port", "0", "-p", "2", app=OBSERVED)
    for number in range(19):
        here.app.remote("tests.runtime.observed.plain", queue="work").enqueue(f"q{number}")
    for task in ("never", "twice"):
        here.app.remote(f"tests.runtime.observed.{task}", queue="work").enqueue(task)
    here.until(lambda: here.counter("dead") == 1, "one to be dead")
    here.until(lambda: here.counter("done") == 20, "all to be done")
    (address,) = addresses(one.text())
    here.until(lambda: told(scrape(address), "taskq_messages_ended_total", "done", "work") == 20, "the exporter to see")
    found = scrape(address)
    assert told(found, ELECTED) == 1
    assert told(found, "taskq_messages_enqueued_total", "work") == 21
    assert told(found, "taskq_messages_ended_total", "dead", "work") == 1
    assert told(found, "taskq_queue_messages", "work", "dead") == 1
    attempts = {
        (task, outcome): told(found, "taskq_attempts_total", outcome, "work", f"tests.runtime.observed.{task}")
        for task in ("plain", "twice", "never")
        for outcome in ("done", "retried", "dead")
    }
    assert {key: count for key, count in attempts.items() if count} == {
        ("plain", "done"): 19,
        ("twice", "retried"): 1,
        ("twice", "done"): 1,
        ("never", "retried"): 1,
        ("never", "dead"): 1,
    }
    for task, failed, ended in (("plain", 0, 19), ("twice", 1, 2), ("never", 2, 2)):
        where = ("work", f"tests.runtime.observed.{task}")
        assert told(found, "taskq_attempts_failed_total", *where) == failed
        assert told(found, "taskq_message_run_seconds_count", *where) == ended
        assert told(found, "taskq_message_wait_seconds_count", *where) == (19 if task == "plain" else 1)
    assert told(found, "taskq_queue_messages", "work", "ready") == 0

    def idle() -> bool:  # the worker tells of itself by its next beat
        seen = scrape(address)
        return (told(seen, "taskq_workers", "running"), told(seen, "taskq_slots", "free")) == (1, 16)

    here.until(idle, "the worker to say that it runs and has nothing to do")

    def own() -> list[float | None]:
        found = scrape(address)
        return [told(found, "taskq_worker_attempts_total", name) for name in ("done", "retried", "dead")]

    here.until(lambda: own() == [20, 2, 1], "the children to tell their supervisor")
    assert told(scrape(address), "taskq_worker_ready") == 1


def test_beside_an_exporter_a_worker_serves_only_what_is_its_own(here: World, processes: Processes) -> None:
    _, exporter = processes.start()
    here.until(lambda: told(scrape(exporter), ELECTED) == 1, "it to be elected")
    one = here.worker("--metrics-port", "0")
    here.until(lambda: bool(addresses(one.text())), "the worker's address")
    (address,) = addresses(one.text())
    here.until(lambda: told(scrape(address), "taskq_worker_children", "running") == 1, "a child")
    found = scrape(address)
    assert told(found, "taskq_worker_slots", "free") == 8
    assert (told(found, ELECTED), told(found, "taskq_broker_up")) == (0, 1)
    own = ("taskq_worker_", "taskq_exporter_", "taskq_broker_up")
    assert [name for name, _ in found if not name.startswith(own)] == []


# -- an outage


def test_in_an_outage_the_page_says_so_and_goes_on(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server()

    def own(page: Page) -> None:
        from taskq import metric_names

        page.add(metric_names.WORKER_LOST, 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskq.exporter.LEAST_S", 0.0)
        link = SyncLink(server.url, timeout=1.0)
        one = Exporter(link, namespace, looking(link, namespace), "one", WORKER_RANK, own)

        def facts(page: Page) -> list[Any]:
            return [page.value(name) for name in ("taskq_broker_up", ELECTED, "taskq_worker_outcomes_lost_total")]

        assert facts(one.page()) == [1, 1, 3]
        server.sigstop()
        assert facts(one.page()) == [0, 0, 3]
        assert one.page().value("taskq_broker_clients") is None
        server.sigcont()
        assert facts(one.page()) == [1, 1, 3]
        server.kill9()
        assert facts(one.page()) == [0, 0, 3]
        one.close()


def test_trouble_is_said_once(server: RealServer, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    with server.client() as client:
        client.lpush(keys.exporter(namespace), "x")
    one = Exporter(server.link(), namespace, looking(server.link(), namespace), "one", WORKER_RANK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskq.exporter.LEAST_S", 0.0)
        for _ in range(3):
            assert one.page().value("taskq_broker_up") == 1, "it answers, if only to refuse"
        with server.client() as client:
            client.delete(keys.exporter(namespace))
        one.page()
    assert [record.message[:9] for record in caplog.records] == ["metrics: ", "metrics: "]
    assert "WRONGTYPE" in caplog.text
    one.close()


def test_what_runs_is_counted_in_every_queue_at_each_look(here: World) -> None:
    """A dashboard looks into some queues at a time; who comes every few seconds would meet old figures."""
    look, seat = looking(here.server.link(), here.namespace), Seat()
    names = [f"q{number}" for number in range(9)]
    for name in names:
        here.app.remote("shop.send", queue=name).enqueue(1)
    assert {queue.name: queue.running for queue in look().queues} == dict.fromkeys(names, 0)
    for name in names:
        (one,) = here.broker.lease(name, seat.ticket(name), 1).deliveries
        here.broker.extend(name, [], [Mark(one.id, one.token)])
    assert {queue.name: queue.running for queue in look().queues} == dict.fromkeys(names, 1)


def test_a_look_is_one_round_trip_that_holds_no_sample(server: RealServer, namespace: str) -> None:
    assert json.dumps(looking(server.link(), namespace)().samples) == "{}"
