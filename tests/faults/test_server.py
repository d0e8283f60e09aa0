"""The server under the workers (group C): killed, restored, flushed, paused, full, narrow-minded, and its refusals."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from taskq.errors import BrokerError, BrokerRefused, EnqueueUnconfirmed
from taskq.tasks.failure import parse
from taskq.tasks.queues import Transport
from tests.faults.chaos import Chaos, Plan
from tests.faults.stage import Stage, newest_aof, stage
from tests.servers import RealServer

Server = Callable[..., RealServer]
pytestmark, LOST = pytest.mark.crash, "has lost its data"
SELDOM = (
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
)


@pytest.fixture
def volatile(start_server: Server, namespace: str, transport: Transport) -> Iterator[Stage]:
    with stage(start_server(), namespace, 1.0, transport) as one:
        yield one


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_c01_a_server_that_is_killed_again_and_again_loses_nothing(
    start_server: Server, namespace: str, transport: Transport
) -> None:
    with stage(start_server(aof=True), namespace, 2.0, transport) as here:
        chaos = Chaos(here, Plan(kills=20, restarts=20, seconds=240.0), seed=3)
        report = chaos.run(print)
    assert report.clean, f"{report}: {report.details}"
    assert chaos.tally.restarts >= 10


@pytest.mark.slow
def test_c01_a_server_that_writes_each_command_to_disk_loses_nothing(
    start_server: Server, namespace: str, transport: Transport
) -> None:
    with stage(start_server(aof=True, config={"appendfsync": "always"}), namespace, 2.0, transport) as here:
        here.hire("-c", "2")
        for n in range(5):
            for m in range(10):
                here.put("effective", f"e{n}.{m}", 0.0, m % 2)
            here.server.kill9()
            here.server.restart()
        here.settled()


def test_c02_a_server_that_forgot_everything_is_served_on(volatile: Stage) -> None:
    """What was queued is gone, as its persistence promised; the outcome of what ran is refused, and work goes on."""
    here = volatile
    worker = here.hire("-c", "2")
    here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    here.put("effective", "lost", delay=3600)
    here.server.kill9()
    here.server.restart()
    here.open_gate("g")
    here.hear("end", "g")
    here.until(lambda: "lease lost" in worker.text() and LOST in worker.text(), "both to be said")
    here.accepted.clear()
    here.forgotten.update(["g", "lost"])
    here.settled(here.put("effective", "after"))
    assert ("Traceback" in worker.text(), worker.text().count(LOST)) == (False, 1)


@pytest.mark.parametrize("always", [False, True], ids=["no", "always"])
def test_c03_a_server_that_is_killed_in_the_middle_of_bulks_keeps_whole_scripts_only(
    start_server: Server, namespace: str, transport: Transport, always: bool
) -> None:
    config = {"appendfsync": "always" if always else "no"}
    with stage(start_server(aof=True, config=config), namespace, transport=transport) as here:
        proxy = here.proxy()
        producer = here.producer(proxy)
        third = proxy.on("enqueue", 3).after(lambda _: here.server.kill9())
        items = [here.outgoing("effective", f"b{n}") for n in range(2_000)]
        with pytest.raises(BrokerError) as caught:
            producer.enqueue("work", items, 0.0)
        third.wait()
        here.server.restart()
        found = {item.id for item in items if here.found(item.id).state == "r"}
        accepted = {item.id for item in items[: len(caught.value.accepted)]}
        assert accepted <= found
        assert len(found) % 250 == 0
        assert here.ready() == len(found) == here.counter("enqueued")
        producer.close()


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        *(pytest.param(text, marks=pytest.mark.slow) for text in SELDOM),
    ],
    ids=lambda error: error.split()[0],
)
def test_c04_c12_c14_a_refusal_that_passes_costs_nothing(short: Stage, error: str) -> None:
    """Every script is refused for a while, the heartbeat included; with that over, all goes on at the first attempt."""
    here = short
    proxy = here.proxy()
    worker = here.hire("-c", "2", via=proxy)
    message = here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    refused = proxy.on("*", times=0).answer(error)
    for n in range(3):
        here.put("effective", f"e{n}")
    refused.wait(4)
    here.open_gate("g")
    refused.wait(12)
    refused.end()
    here.settled(message)
    here.settled()
    assert here.runs("g") == 1
    assert here.counter("retried") == 0
    assert "Traceback" not in worker.text()


def test_c14_somebody_elses_endless_script_is_waited_for(durable: Stage) -> None:
    here = durable
    here.hire("-c", "2")
    here.put("effective", "before")
    here.settled()
    here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    with here.server.client(socket_timeout=60) as other, here.server.client() as boss:
        boss.config_set("lua-time-limit", 5)
        stuck = threading.Thread(target=endless, args=(other,))
        stuck.start()
        here.until_elapsed(3.0)  # longer than a lease: the fault itself
        boss.script_kill()
        stuck.join(40)
    here.open_gate("g")
    here.settled()
    here.settled(here.put("effective", "after"))
    assert here.runs("g") == 1


def endless(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        client.eval("while true do end", 0)


def test_c05_forgotten_scripts_in_the_middle_of_a_bulk_and_of_settling(here: Stage) -> None:
    stop = threading.Event()

    def flush() -> None:
        with here.server.client() as client:
            while not stop.wait(0.02):
                client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        here.hire("-c", "4")
        items = [here.outgoing("silent", f"s{n}") for n in range(5_000)]
        assert all(one.created for one in here.broker.enqueue("work", items, 60.0))
        here.until(lambda: here.counter("done") == 5_000, "all to be done")
    finally:
        stop.set()
        flusher.join()
    assert here.counter("enqueued") == 5_000
    assert here.counter("reclaimed") == here.counter("retried") == 0


def test_c06_a_flushed_database_is_served_on(volatile: Stage) -> None:
    here = volatile
    worker = here.hire("-c", "2")
    here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    with here.server.client() as client:
        client.flushdb()
    here.open_gate("g")
    here.until(lambda: "lease lost" in worker.text() and LOST in worker.text(), "both to be said")
    here.accepted.clear()
    here.forgotten.add("g")
    here.settled(here.put("effective", "after"))


def test_c07_connections_that_are_killed_all_the_time(short: Stage) -> None:
    here = short
    here.hire("-c", "4")
    here.until_present(1)
    with here.server.client() as client:
        for n in range(60):
            here.put("effective", f"e{n}", 0.01, n % 2)
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
    here.settled()


@pytest.mark.parametrize("mode", ["ALL", pytest.param("WRITE", marks=pytest.mark.slow)])
def test_c08_a_paused_server_costs_nobody_an_attempt(short: Stage, mode: str) -> None:
    """Three leases without an answer; then the heartbeats come first, and nothing has lapsed."""
    here = short
    here.hire("-c", "2")
    here.hire("-c", "2")
    here.until_present(2)
    here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    with here.server.client() as client:
        client.execute_command("CLIENT", "PAUSE", 3000, mode)
    here.until_elapsed(3.0)  # the fault itself
    here.open_gate("g")
    here.settled()
    assert here.runs("g") == 1
    assert here.counter("reclaimed") == 0


def test_c09_a_frozen_server_gets_no_enqueue_twice(short: Stage) -> None:
    """The client gives up and sends again while the first call still waits in the frozen server's socket."""
    here = short
    here.hire("-c", "2")
    here.put("effective", "before")
    here.settled()
    here.server.sigstop()
    try:
        with pytest.raises(EnqueueUnconfirmed) as caught:
            here.put("effective", "e")
    finally:
        here.server.sigcont()
    again = here.put("effective", "e", id=caught.value.id)
    here.settled(again)
    assert here.runs("e") == 1


def test_c13_a_server_without_room_for_another_client(durable: Stage) -> None:
    here = durable
    here.hire("-c", "2")
    here.put("gated", "g", here.gate("g"))
    here.hear("start", "g")
    here.until_present(1)
    late = here.producer(here.proxy())
    with here.server.client() as client:
        used = int(client.info("clients")["connected_clients"])
        client.config_set("maxclients", used)
        # The server speaks first and hangs up: whoever was quicker to write may only see the end of the connection.
        with pytest.raises(BrokerError, match=r"max number of clients|maxclients|cannot reach"):
            late.link.execute("PING")
        here.open_gate("g")
        here.settled()
        client.config_set("maxclients", 10_000)
    late.close()
    here.settled(here.put("effective", "after"))


def test_c15_a_key_of_the_wrong_type_stops_its_own_queue_only(here: Stage) -> None:
    names = here.broker.keys("work")
    here.broker.link.execute("DEL", here.landing)
    here.broker.link.execute("SET", here.landing, "not ours")
    with pytest.raises(BrokerRefused, match="another type"):
        here.put("effective", "refused")
    assert here.broker.link.execute("HLEN", names.body) == 0
    worker = here.hire("-c", "2", "-q", "work,other")
    other = here.app.remote("tests.faults.misdeeds.effective", queue="other").enqueue("o")
    assert other.result(timeout=30)[0] == "o"
    here.until(lambda: here.landing in worker.text() or "another type" in worker.text(), "the worker to name it")
    here.broker.link.execute("DEL", here.landing)
    here.forgotten.add("o")
    here.settled(here.put("effective", "after"))


def test_c16_an_append_only_file_without_its_last_bytes(durable: Stage) -> None:
    """What was stored last may be missing, and what remains is whole."""
    here = durable
    for n in range(20):
        here.put("effective", f"e{n}")
    last = here.put("effective", "last")
    here.server.kill9()
    torn = newest_aof(here.server)
    with torn.open("r+b") as file:
        file.truncate(torn.stat().st_size - 5)
    here.server.restart()
    state = here.found(last).state
    assert state in ("r", "?")
    if state == "?":
        del here.accepted[last]
    here.hire("-c", "2")
    here.settled()


def test_c17_a_bit_that_flipped_in_the_append_only_file_is_found(durable: Stage) -> None:
    here = durable
    flipped = here.put("effective", "flipped-tag")
    other = here.put("effective", "other")
    file = newest_aof(here.server)
    here.until(lambda: all(tag in file.read_bytes() for tag in (b"flipped-tag", b"other")), "both, which may wait")
    here.server.kill9()
    data = file.read_bytes()
    file.write_bytes(data.replace(b"flipped-tag", b"flipped-taf"))
    here.server.restart()
    here.hire("-c", "2")
    found = here.until_state(flipped, "q")
    assert "checksum" in parse(found.lines)[-1]["message"]
    assert here.runs("flipped-taf") == here.runs("flipped-tag") == 0
    here.settled(other, dead=True)


def test_c18_a_server_that_was_set_back_to_an_old_backup(durable: Stage) -> None:
    """What had been done since then runs again; tokens of the future do not settle what is leased now."""
    here = durable
    here.put("gated", "g", here.gate("g"))
    worker = here.hire("-c", "1")
    here.hear("start", "g")
    here.until_present(1)
    here.server.stop()
    backup = here.dir / "backup"
    shutil.copytree(here.server.dir, backup, ignore=shutil.ignore_patterns("s"))
    here.server.restart()
    here.put("effective", "forgotten")
    here.open_gate("g")
    for message in here.accepted:
        here.until_state(message, "o")
    here.disturb(worker)
    here.server.kill9()
    for entry in here.server.dir.iterdir():
        if entry.name.startswith("appendonly") and entry.is_dir():
            shutil.rmtree(entry)
            shutil.copytree(backup / entry.name, entry)
        elif entry.suffix == ".aof":  # before Redis 7 it is one file
            shutil.copy(backup / entry.name, entry)
    here.server.restart()
    here.accepted = {message: tag for message, tag in here.accepted.items() if tag != "forgotten"}
    here.forgotten.add("forgotten")
    here.settled()
    assert here.runs("g") == 2
    assert here.counter("done") == 1


def test_c20_connections_that_the_server_closes_when_idle(short: Stage) -> None:
    here = short
    with here.server.client() as client:
        client.config_set("timeout", 1)
        try:
            here.hire("-c", "2")
            here.settled(here.put("effective", "before"))
            here.until_elapsed(2.5)  # so that idle connections are closed
            here.settled(here.put("effective", "after"))
            handle = here.app.remote("tests.faults.misdeeds.effective", queue="work").enqueue("waited", 2.5)
            assert handle.result(timeout=30)[0] == "waited"
        finally:
            client.config_set("timeout", 0)


def test_c21_a_password_that_changes_under_a_worker(start_server: Server, namespace: str, transport: Transport) -> None:
    with stage(start_server(requirepass="secret", aof=True), namespace, 1.0, transport) as here:
        worker = here.hire("-c", "1")
        here.put("gated", "g", here.gate("g"))
        here.hear("start", "g")
        here.until_present(1)
        with here.server.client() as client:
            client.config_set("requirepass", "changed")
            client.client_kill_filter(_type="normal", skipme=True)
            here.until(lambda: "password" in worker.text() or "WRONGPASS" in worker.text(), "the worker to say so")
            client.config_set("requirepass", "secret")
        here.open_gate("g")
        here.disturb(worker)
        here.settled()
        here.settled(here.put("effective", "after"))
        assert "secret" not in worker.text().replace("unix://:secret@", "")


def test_c22_a_waiter_whose_subscription_is_cut_off_still_gets_its_result(short: Stage) -> None:
    here = short
    here.hire("-c", "2")
    with here.server.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 1kb 1kb 1")
        handle = here.app.remote("tests.runtime.guarded.gated", queue="work").enqueue("w", here.gate("g"))
        answers: list[str] = []
        waiter = threading.Thread(target=lambda: answers.append(handle.result(timeout=60)))
        waiter.start()
        here.hear("start", "w")
        channel = here.broker.keys("work").channel
        for _ in range(50):
            client.publish(channel, b"x" * 1600)
        client.client_kill_filter(_type="pubsub", skipme=True)
        here.open_gate("g")
        waiter.join(60)
        client.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
    assert len(answers) == 1
