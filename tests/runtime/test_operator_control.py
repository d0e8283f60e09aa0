"""What the operator's hand does to queues, on every server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from taskq.control import STATES, Control, Pace
from taskq.errors import BrokerUnavailable, InvalidOption, ResultUnavailable, UnknownMessage, UnknownQueue
from taskq.inspector import Filter
from taskq.message import id_text
from tests.runtime.shop import Shop, shop
from tests.servers import RealServer, declared_keys, need_server


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: float = 0.0
    naps: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def pace(self) -> Pace:
        return Pace(lambda: self.now, self.sleep)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(server: RealServer, namespace: str, clock: Clock) -> Iterator[Shop]:
    with shop(server.url, namespace, clock.pace()) as one:
        yield one


# -- redrive


def test_a_redriven_letter_is_as_new_and_its_old_life_is_gone(here: Shop) -> None:
    here.enqueue(1)
    (item,) = here.take(1)
    here.hands.retry(item, 0)
    here.bury_all(here.take(1))
    assert here.control.redrive("mail", [id_text(item.id)]) == 1
    info = here.inspector.message("mail", item.id, contents=True)
    assert (info.status, info.attempts, info.crashes, info.deliveries) == ("ready", 0, 0, 0)
    assert (info.history, info.result, info.buried) == ((), None, None)
    (again,) = here.take(1)
    assert (again.id, again.attempts, again.crashes, again.deliveries) == (item.id, 0, 0, 1)
    assert here.app.handle(id_text(item.id), "mail").status() == "ready"
    assert here.inspector.queue("mail").counters["redriven"] == 1


def test_a_filter_redrives_what_fits_and_leaves_the_rest(here: Shop) -> None:
    here.bury(3, "shop.send")
    here.bury(2, "shop.scan")
    assert here.control.redrive("mail", Filter(task="shop.scan"), dry_run=True) == 2
    assert here.inspector.queue("mail").dead == 5
    assert here.control.redrive("mail", Filter(task="shop.scan")) == 2
    info = here.inspector.queue("mail")
    assert (info.dead, info.ready) == (3, 2)


def test_a_thousand_go_back_in_scripts_of_250_and_progress_is_told(here: Shop) -> None:
    ids = here.bury(1_000)
    told: list[int] = []
    assert here.control.redrive("mail", Filter(), on_progress=told.append) == 1_000
    assert told == [250, 500, 750, 1_000]
    assert here.statuses(ids) == ["r"] * 1_000


def test_a_rate_is_kept_in_small_steps(here: Shop, clock: Clock) -> None:
    here.bury(30)
    told: list[tuple[float, int]] = []
    assert here.control.redrive("mail", Filter(), rate=20, on_progress=lambda n: told.append((clock.now, n))) == 30
    assert told[-1][1] == 30
    assert told[-1][0] == pytest.approx(1.25)
    assert max(after - before for (_, before), (_, after) in pairwise(told)) == 5
    assert clock.now == pytest.approx(1.5)
    with pytest.raises(InvalidOption, match="rate=0"):
        here.control.redrive("mail", Filter(), rate=0)


def test_who_is_stopped_in_the_middle_goes_on_by_calling_again(here: Shop) -> None:
    ids = here.bury(600)

    def stop(done: int) -> None:
        if done >= 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.control.redrive("mail", Filter(), on_progress=stop)
    info = here.inspector.queue("mail")
    assert (info.dead, info.ready) == (350, 250)
    assert here.control.redrive("mail", Filter()) == 350
    assert here.statuses(ids) == ["r"] * 600
    assert len({item.id for item in here.take(600)}) == 600


def test_two_at_once_share_the_work_and_duplicate_nothing(here: Shop, server: RealServer) -> None:
    ids = here.bury(2_000)
    done: list[int] = []

    def work() -> None:
        with shop(server.url, here.app.namespace) as other:
            done.append(other.control.redrive("mail", Filter()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 2_000
    taken = [item.id for item in here.take(2_000)]
    assert sorted(taken) == sorted(ids)


def test_what_died_again_meanwhile_is_another_letter_and_stays(here: Shop) -> None:
    here.bury(8)

    def dies_again(done: int) -> None:
        taken = here.hands.take("mail")
        if taken:
            here.bury_all(taken)

    assert here.control.redrive("mail", Filter(), rate=4, on_progress=dies_again) == 8
    info = here.inspector.queue("mail")
    assert (info.dead, info.ready, info.counters["redriven"]) == (8, 0, 8)


def test_a_letter_that_was_seen_and_died_anew_is_not_taken_for_the_old_one(here: Shop) -> None:
    (raw,) = here.bury(1)
    (seen,) = here.inspector.dead("mail").items
    mark = raw + b"%d" % seen.at
    assert here.broker.redrive("mail", [mark]) == 1
    (item,) = here.take(1)
    here.bury_all([item])
    here.broker.link.execute("ZADD", here.broker.keys("mail").dead, seen.at + 5, raw)
    assert here.broker.redrive("mail", [mark]) == 0
    assert here.broker.discard("mail", [mark]) == 0
    assert here.broker.discard("mail", [raw + b"%d" % (seen.at + 5)]) == 1


def test_ids_that_are_no_dead_letters_are_left_alone(here: Shop) -> None:
    (alive,) = here.enqueue(1)
    assert here.control.redrive("mail", [alive, "never"]) == 0
    assert here.control.discard("mail", [alive]) == 0
    assert here.control.count("mail", [alive]) == 0
    assert here.statuses([alive]) == ["r"]


def test_a_redrive_goes_on_when_the_broker_comes_back(
    start_server: Callable[..., RealServer], namespace: str, clock: Clock
) -> None:
    server = start_server(aof=True, config={"appendfsync": "always"})
    with shop(server.url, namespace) as here:
        ids = here.bury(500)

        def sleep(seconds: float) -> None:
            if server.process is None:
                server.restart()

        def crash(done: int) -> None:
            if done == 250:
                server.kill9()

        control = Control(here.broker, Pace(lambda: 0.0, sleep))
        control.redrive("mail", Filter(), on_progress=crash)
        assert here.statuses(ids) == ["r"] * 500


# -- discard


def test_discarded_letters_are_gone_with_their_history(here: Shop) -> None:
    kept = here.bury(2, "shop.send")
    here.bury(300, "shop.scan")
    told: list[int] = []
    assert here.control.discard("mail", Filter(task="shop.scan"), dry_run=True) == 300
    assert here.control.discard("mail", Filter(task="shop.scan"), on_progress=told.append) == 300
    assert told[-1] == 300
    assert here.statuses(kept) == ["x", "x"]
    left = here.leftovers()
    assert (left["body"], left["state"], left["errors"], left["dead"]) == (2, 2, 2, 2)


def test_the_quarantine_is_emptied_by_its_own_filter(here: Shop) -> None:
    here.bury(2, quarantine=True)
    here.bury(2)
    assert here.control.discard("mail", Filter(quarantined=True)) == 2
    info = here.inspector.queue("mail")
    assert (info.dead, info.quarantined) == (2, 0)


# -- pause and resume


def test_a_paused_queue_hands_nothing_out_and_a_resumed_one_rings(here: Shop) -> None:
    (raw,) = here.enqueue(1)
    assert here.broker.wait(["mail"], 5) == "mail"
    here.control.pause("mail")
    here.control.pause("mail")
    assert here.inspector.queue("mail").paused
    assert here.hands.take("mail") == []
    here.control.resume("mail")
    assert not here.inspector.queue("mail").paused
    assert here.broker.wait(["mail"], 5) == "mail"
    assert [item.id for item in here.take(1)] == [raw]


# -- purge


def test_a_purge_takes_what_waits_and_leaves_what_is_held_and_what_is_dead(here: Shop) -> None:
    dead = here.bury(2)
    here.park(3, "shop.unknown")
    here.enqueue(1)
    held = here.take(1)
    here.app.remote("shop.send", queue="mail", delay=60).enqueue_many([(1,)] * 4)
    for priority in (-2, 0, 2):
        here.app.remote("shop.send", queue="mail", priority=priority).enqueue(1)
    assert here.control.purge("mail", dry_run=True) == 10
    told: list[int] = []
    assert here.control.purge("mail", on_progress=told.append) == 10
    assert told[-1] == 10
    info = here.inspector.queue("mail")
    assert (info.ready, info.delayed, info.parked_total, info.parked, info.leased, info.dead) == (0, 0, 0, (), 1, 2)
    assert info.counters["purged"] == 10
    here.hands.finish(held[0], 1)
    assert here.statuses([*dead, held[0].id]) == ["x", "x", "o"]


def test_nothing_is_left_of_purged_messages(here: Shop) -> None:
    sender = here.app.remote("shop.send", queue="mail", unique="only one")
    gone = sender.enqueue("x" * 5_000)
    here.app.remote("shop.send", queue="mail", delay=60, unique="later").enqueue(1)
    here.bury(3)
    here.bury(1, quarantine=True)
    cancelled = here.enqueue(3)
    here.broker.cancel("mail", cancelled[1])
    assert here.control.purge("mail", STATES) == 8
    assert here.leftovers() == {"results": 1}  # that it was cancelled is told for an hour
    assert gone.status() == "unknown"
    with pytest.raises(ResultUnavailable):
        gone.result(timeout=5)
    again = sender.enqueue(1)
    assert again.created


def test_a_unique_key_that_another_message_holds_survives_a_purge(here: Shop) -> None:
    sender = here.app.remote("shop.send", queue="mail", unique="one")
    sender.enqueue(1)
    (item,) = here.take(1)
    here.bury_all([item])  # lets the key go
    holder = sender.options(delay=60).enqueue(2)
    assert holder.created
    assert here.control.purge("mail", ["dead"]) == 1
    assert not sender.enqueue(3).created


def test_an_explicit_id_leaves_a_tombstone(here: Shop) -> None:
    sender = here.app.remote("shop.send", queue="mail", id="order-42")
    assert sender.enqueue(1).created
    assert here.control.purge("mail", ["ready"]) == 1
    assert not sender.enqueue(1).created


def test_a_purge_ends_although_producers_go_on(here: Shop) -> None:
    here.enqueue(300)
    assert here.control.purge("mail", ["ready"], on_progress=lambda _: here.enqueue(200) and None) == 300
    assert here.inspector.queue("mail").ready == 400


def test_large_bodies_are_freed_a_few_at_a_time(here: Shop) -> None:
    here.app.remote("shop.send", queue="mail").enqueue_many([("x" * 1_000_000,)] * 12)
    told: list[int] = []
    assert here.control.purge("mail", on_progress=told.append) == 12
    assert len(told) >= 2
    assert here.leftovers() == {}


def test_a_purge_of_a_full_broker_makes_room(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server()
    with shop(server.url, namespace) as here:
        here.app.remote("shop.send", queue="mail", id="one").enqueue(1)
        here.enqueue(1_000)
        here.bury(10)
        with server.client() as client:
            client.config_set("maxmemory", "1mb")
        here.control.pause("mail")
        assert here.control.purge("mail", STATES) == 1_011
        assert here.leftovers() == {}


def test_a_state_that_cannot_be_purged_is_refused(here: Shop) -> None:
    here.enqueue(1)
    with pytest.raises(InvalidOption, match="did you mean 'ready'"):
        here.control.purge("mail", ["redy"])  # type: ignore[list-item]
    with pytest.raises(InvalidOption, match="'running'"):
        here.control.purge("mail", ["running"])  # type: ignore[list-item]


# -- the rest


def test_parked_messages_of_a_task_go_back(here: Shop) -> None:
    ids = here.park(3, "shop.unknown")
    assert here.control.unpark("mail", "shop.unknown") == 3
    assert here.statuses(ids) == ["r"] * 3
    with pytest.raises(InvalidOption, match=r"no messages of task 'shop\.unknown' are parked"):
        here.control.unpark("mail", "shop.unknown")


def test_a_message_is_cancelled_and_an_unknown_one_is_told(here: Shop) -> None:
    held, waiting = here.enqueue(2)
    (item,) = here.take(1)
    assert here.control.cancel("mail", id_text(waiting)) == "cancelled"
    assert here.control.cancel("mail", held, kill=True) == "requested"
    here.hands.finish(item, 1)
    assert here.control.cancel("mail", held) == "too_late"
    with pytest.raises(UnknownMessage):
        here.control.cancel("mail", "never")


def test_nothing_is_done_to_a_queue_that_is_not_there(here: Shop) -> None:
    for action in (here.control.pause, here.control.resume, here.control.purge):
        with pytest.raises(UnknownQueue):
            action("nowhere")
    with pytest.raises(UnknownQueue):
        here.control.redrive("nowhere", Filter())
    with pytest.raises(UnknownQueue):
        here.control.discard("nowhere", ["x"])
    assert here.broker.link.execute("DBSIZE") == 0


def test_a_broker_that_stays_away_is_told(
    start_server: Callable[..., RealServer], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.control._PATIENCE_S", 0.05)
    server = start_server()
    with shop(server.url, namespace) as here:
        here.bury(1)
        server.kill9()
        with pytest.raises(BrokerUnavailable):
            here.control.redrive("mail", Filter())


@pytest.mark.cluster
def test_in_a_cluster_every_key_is_declared(start_server: Callable[..., RealServer], namespace: str) -> None:
    need_server()
    server = start_server(cluster=True)
    with declared_keys(server), shop(server.tcp_url, namespace) as here:
        ids = here.bury(3)
        here.park(2, "shop.unknown")
        here.app.remote("shop.send", queue="other", unique="u", delay=9).enqueue(1)
        listed = here.inspector.queues()
        assert [(info.name, info.dead, info.parked_total) for info in listed.queues] == [
            ("mail", 3, 2),
            ("other", 0, 0),
        ]
        assert here.inspector.find(ids[0]) == ["mail"]
        assert here.inspector.message("mail", ids[0]).status == "dead"
        assert here.control.redrive("mail", Filter(match="tea")) == 3
        assert here.control.purge("mail", STATES) == 5
        assert here.control.purge("other", STATES) == 1
        assert here.inspector.workers().workers == ()
