"""Schedules fired by real workers, and by several schedulers at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from taskq import TaskQ
from taskq.cron import Every
from taskq.errors import BrokerUnavailable, TaskqError
from taskq.message import decode, id_text
from taskq.store.connection import SyncLink
from taskq.store.keys import queue_keys
from taskq.store.scripts import run
from taskq.tasks import schedule_calls as calls
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from taskq.tasks.schedule import ORPHAN_MS, RETIRE_MS, Definition, Entry, slot_id
from taskq_workers import scheduler
from taskq_workers.scheduler import Scheduler
from taskq_workers.wires import exchange
from tests.runtime.world import World, world
from tests.servers import RealServer

APP = "tests.runtime.periodic:app"


# -- real workers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def entry_of(here: World, queue: str, name: str) -> Entry | None:
    return Entry.read(here.broker.link.execute(*calls.read(here.broker.keys(queue), name)))


def last_slot(here: World, queue: str, name: str) -> int:
    entry = entry_of(here, queue, name)
    return 0 if entry is None or entry.last is None else entry.last


def slots_done(here: World, queue: str, name: str) -> None:
    """Each second since the entry was made has one message, and one outcome."""
    here.app.schedules.pause(name)
    entry = entry_of(here, queue, name)
    assert entry is not None
    assert entry.last is not None
    slots = range(entry.created // 1_000 * 1_000 + 1_000, entry.last + 1, 1_000)
    ids = [slot_id(here.namespace, name, slot) for slot in slots]
    here.until(lambda: all(one.result[:1] == b"d" for one in here.broker.lookup(queue, ids)), "all slots to be done")
    assert len(ids) == entry.runs
    assert int(here.broker.link.execute("HGET", here.broker.keys(queue).meta, "enqueued")) == len(ids)


@pytest.mark.crash
def test_each_second_has_its_run_whichever_worker_is_killed(server: RealServer, namespace: str) -> None:
    with world(server, namespace, lease=2.0) as here:
        workers = [here.worker("-c", "4", app=APP) for _ in range(3)]
        here.until_present(3)
        for victim in workers[:2]:
            slots_pass(here, "ticks", "tick", 2)
            victim.process.send_signal(signal.SIGKILL)
            here.worker("-c", "4", app=APP)
        slots_pass(here, "tocks", "tock", 3)
        slots_done(here, "ticks", "tick")
        slots_done(here, "tocks", "tock")


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_ten_real_minutes_of_workers_that_stop_and_die(server: RealServer, namespace: str) -> None:
    chance = Random(5)
    with world(server, namespace, lease=2.0) as here:
        alive = [here.worker("-c", "4", app=APP) for _ in range(5)]
        here.until_present(5)
        end = time.monotonic() + 600
        kills = stops = 0
        while time.monotonic() < end:
            victim = chance.choice(alive)
            if chance.random() < 0.3:
                victim.process.kill()
                alive.remove(victim)
                alive.append(here.worker("-c", "4", app=APP))
                kills += 1
                slots_pass(here, "ticks", "tick", chance.randrange(1, 5))
            else:
                victim.process.send_signal(signal.SIGSTOP)
                stops += 1
                slots_pass(here, "ticks", "tick", chance.randrange(1, 8))
                victim.process.send_signal(signal.SIGCONT)
        assert kills > 10
        assert stops > 30
        slots_done(here, "ticks", "tick")
        slots_done(here, "tocks", "tock")
        assert last_slot(here, "ticks", "tick") - first_slot(here, "ticks", "tick") > 590_000


def first_slot(here: World, queue: str, name: str) -> int:
    entry = entry_of(here, queue, name)
    assert entry is not None
    return entry.created


def slots_pass(here: World, queue: str, name: str, count: int) -> None:
    seen = last_slot(here, queue, name)
    here.until(lambda: last_slot(here, queue, name) >= seen + count * 1_000, f"{count} slots")


# -- schedulers without workers ----------------------------------------------------------------------------------------


class Team:
    """Schedulers in this thread, each with a connection of its own."""

    def __init__(self, server: RealServer, namespace: str, count: int) -> None:
        self.namespace = namespace
        self.brokers = [ListBroker(server.link(), namespace, Limits()) for _ in range(count)]
        self.members = [Scheduler(broker, ["q"], f"worker-{index}") for index, broker in enumerate(self.brokers)]
        self.complaints: list[str] = []
        self.link = self.brokers[0].link
        self.keys = queue_keys(namespace, "q")

    def round(self) -> None:
        for broker, member in zip(self.brokers, self.members, strict=True):
            before = time.monotonic()
            for wire, answer in exchange(broker.link, member.wires(before)):
                assert wire.then is not None
                wire.then(answer)
            member.looked(before, time.monotonic())
            member.turn(self._complain)

    def _complain(self, what: str, error: TaskqError) -> None:
        self.complaints.append(f"{what}: {error}")

    def until_idle(self) -> None:
        """Go on until nobody has anything to do at once."""
        for _ in range(100):
            self.round()
            if all(member.due() > time.monotonic() for member in self.members):
                return
        raise AssertionError("the schedulers find no end")

    def add(self, definition: Definition, slot: int | None, **fields: object) -> None:
        said = {"def": definition.wire, "digest": definition.digest, "created": 1, **fields}
        answer = run(self.link, calls.put(self.keys, definition.name, "", said, slot=slot))
        assert answer.code == calls.ENQUEUED
        self.link.execute("HSET", f"taskq:{{{self.namespace}}}:schedules", definition.name, definition.queue)

    def entry(self, name: str = "tick") -> Entry:
        entry = Entry.read(self.link.execute(*calls.read(self.keys, name)))
        assert entry is not None
        return entry

    def now(self) -> int:
        seconds, micros = self.link.execute("TIME")
        return int(seconds) * 1_000 + int(micros) // 1_000

    def enqueued(self) -> int:
        return int(self.link.execute("HGET", self.keys.meta, "enqueued") or 0)


@pytest.fixture
def team(server: RealServer, namespace: str) -> Iterator[Team]:
    one = Team(server, namespace, 3)
    yield one
    for broker in one.brokers:
        broker.close()


HOUR = 3_600_000
CALL = {"task": "t", "queue": "q", "args": [1], "kwargs": {"a": 2}, "headers": {"h": "x"}, "priority": 1}


def hourly(name: str = "tick", **more: object) -> Definition:
    return Definition(name, Every(HOUR), CALL, **more)  # type: ignore[arg-type]


def past(team: Team, hours: int) -> int:
    return team.now() // HOUR * HOUR - (hours - 1) * HOUR


def test_of_several_who_fire_a_slot_one_has_done_it(team: Team) -> None:
    for number in range(60):
        team.add(hourly(f"tick{number}"), past(team, 1))
    team.until_idle()
    assert team.enqueued() == 60
    assert {team.entry(f"tick{number}").runs for number in range(60)} == {1}
    assert team.link.execute("LLEN", team.keys.ready_for(1)) == 60
    assert team.complaints == []


def test_a_message_carries_what_the_entry_says(team: Team) -> None:
    team.add(hourly(), past(team, 1))
    team.until_idle()
    raw = team.entry().message
    assert raw == slot_id(team.namespace, "tick", past(team, 1))
    message = decode(raw, team.link.execute("HGET", team.keys.body, raw))
    assert (message.task, message.args, message.kwargs, message.headers) == ("t", [1], {"a": 2}, {"h": "x"})


@pytest.mark.parametrize(("missed", "runs"), [("latest", 1), ("all", 3), ("skip", 0)])
def test_missed_slots(team: Team, missed: str, runs: int) -> None:
    # Of an hour that began less than a minute ago the last slot would not be late.
    slot = past(team, 6) - HOUR // 2
    call = hourly(missed=missed, cap=3, overlap="allow")
    team.add(Definition("tick", Every(HOUR, HOUR // 2), CALL, call.missed, 3, "allow"), slot)
    team.link.execute("HSET", team.keys.schedule("tick"), "at", slot - HOUR)
    late = (team.now() - HOUR // 2) % HOUR
    team.until_idle()
    expected = runs if missed != "skip" or late > 60_000 else 1
    assert team.entry().runs == expected
    assert team.enqueued() == expected
    assert (team.entry().slot or 0) > team.now()


def test_what_overlaps_is_skipped_or_cancels_the_one_before(team: Team) -> None:
    first, second = past(team, 2), past(team, 1)
    team.add(hourly("skips", missed="all"), first)
    team.add(hourly("cancels", missed="all", overlap="cancel_previous"), first)
    team.until_idle()
    assert (team.entry("skips").runs, team.entry("skips").skips) == (1, 1)
    assert (team.entry("cancels").runs, team.entry("cancels").skips) == (2, 0)
    ids = [slot_id(team.namespace, name, slot) for name in ("skips", "cancels") for slot in (first, second)]
    assert [one.state for one in team.brokers[0].lookup("q", ids)] == ["r", "?", "c", "r"]


def test_paused_ended_and_orphaned_entries_rest(team: Team) -> None:
    team.add(hourly("paused"), past(team, 1), paused="1")
    team.add(hourly("ended"), None)
    team.add(hourly("orphan"), past(team, 1), **{"origin": "code", "d:x": team.now() - ORPHAN_MS - 1_000})
    for _ in range(3):
        team.round()
    assert team.enqueued() == 0
    assert team.entry("orphan").slot == past(team, 1)


def test_an_orphan_is_retired_after_a_day_and_what_was_left_behind_is_taken_away(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "GRACE_S", 0.0)
    for member in team.members:
        member.hurry()
    team.add(hourly("orphan"), past(team, 1), **{"origin": "code", "d:x": team.now() - RETIRE_MS - 1_000})
    team.add(hourly("moved"), past(team, 1), moved="other")
    team.link.execute("HSET", f"taskq:{{{team.namespace}}}:schedules", "moved", "other")
    team.add(hourly("elsewhere"), past(team, 1))
    team.link.execute("HSET", f"taskq:{{{team.namespace}}}:schedules", "elsewhere", "other")
    for _ in range(3):
        team.round()
    assert team.enqueued() == 0
    assert team.link.execute("ZRANGE", team.keys.schedules, 0, -1) == [b"elsewhere"]
    assert team.link.execute("HKEYS", f"taskq:{{{team.namespace}}}:schedules") == [b"moved", b"elsewhere"]


def test_what_the_code_declares_is_brought_about_and_fired(team: Team) -> None:
    definition = hourly()
    for member in team.members:
        member.declare([str(definition.wire, "utf-8"), "nonsense"])
    team.until_idle()
    assert team.entry().definition == definition
    assert team.entry().in_code
    run(team.link, calls.put(team.keys, "tick", team.entry().rev, {}, slot=past(team, 1)))
    for member in team.members:
        member.hurry()
    team.until_idle()
    assert team.enqueued() == 1


def test_an_entry_that_cannot_be_read_is_told_and_keeps_no_other_from_its_slot(team: Team) -> None:
    team.add(hourly("good"), past(team, 1))
    team.link.execute("ZADD", team.keys.schedules, 1, "bad", 2, "type")
    team.link.execute("HSET", team.keys.schedule("bad"), "def", "{", "rev", "1", "slot", "1")
    team.link.execute("HSET", f"taskq:{{{team.namespace}}}:schedules", "bad", "q", "type", "q")
    team.link.execute("SET", team.keys.schedule("type"), "x")
    for _ in range(3):
        team.round()
    assert team.enqueued() == 1
    assert any("cannot read schedule bad of queue q" in text for text in team.complaints)


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
def test_an_outage_while_it_fires_neither_loses_nor_repeats_a_slot(
    team: Team, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    for number in range(5):
        team.add(hourly(f"tick{number}"), past(team, 1))
    pipeline, lost, most = SyncLink.pipeline, list[int](), 1 if stored else 3

    def torn(link: SyncLink, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        fires = any(len(command) > 20 and command[0] == "EVALSHA" for command in commands)
        if fires and len(lost) < most:
            if stored:
                pipeline(link, commands)
            lost.append(1)
            raise BrokerUnavailable("the answer was lost")
        return pipeline(link, commands)

    monkeypatch.setattr(SyncLink, "pipeline", torn)
    for _ in range(6):
        try:
            team.round()
        except BrokerUnavailable:
            for member in team.members:
                member.hurry()
    team.until_idle()
    assert len(lost) == most, "the fault did not fire"
    assert team.enqueued() == 5
    assert {team.entry(f"tick{number}").runs for number in range(5)} == {1}


def test_a_clock_that_went_back_is_noticed_by_an_entry_of_the_future(team: Team) -> None:
    team.add(hourly(), team.now() // HOUR * HOUR + 5 * HOUR)
    team.link.execute("HSET", team.keys.schedule("tick"), "at", team.now() + 4 * HOUR)
    team.until_idle()
    assert team.entry().turn == 1
    assert team.entry().slot == team.now() // HOUR * HOUR + HOUR


def test_run_by_hand_is_seen_by_who_waits_for_it(server: RealServer, here: World) -> None:
    app = TaskQ(here.namespace, url=server.url)
    here.worker("-c", "4", app=APP)
    here.until(lambda: last_slot(here, "ticks", "tick") > 0, "a slot")
    handle = app.schedules.run("tick")
    assert handle.result(timeout=30) == "tick"
    assert handle.id != id_text(slot_id(here.namespace, "tick", last_slot(here, "ticks", "tick")))
    app.close()
