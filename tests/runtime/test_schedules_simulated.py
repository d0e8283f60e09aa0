"""Ten days of schedules by a clock that the test moves: whatever becomes of the schedulers, each slot comes once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from taskq.cron import Cron, Every, Times, slots
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call, run
from taskq.tasks import schedule_calls as calls
from taskq.tasks.calls import Limits
from taskq.tasks.schedule import JUMP_MS, Definition, Entry, Fire, Rewind, plan, slot_id
from tests.servers import RealServer

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
# The nights of 28 and 29 March 2026, in which Europe loses an hour, are among these days.
FIRST = round(datetime(2026, 3, 22, tzinfo=UTC).timestamp() * 1_000)

TIMES: dict[str, Times] = {
    "often": Cron("*/10 * * * *"),
    "thrice": Cron("*/20 * * * *"),
    "hourly": Cron("30 * * * *", "Australia/Lord_Howe"),
    "nightly": Cron("30 2 * * *", "Europe/Berlin"),
    "spread": Every(37 * MINUTE),
}


def definition(name: str, **more: Any) -> Definition:
    call = {"task": name, "queue": "q", "args": [], "kwargs": {}}
    said: dict[str, Any] = {"missed": "all", "cap": 1_000, "overlap": "allow"} | more
    return Definition(name, TIMES[name], call, **said)


@dataclass
class Town:
    """A queue, and the time that it is there."""

    link: SyncLink
    namespace: str
    now: int = FIRST
    enqueued: list[bytes] = field(default_factory=list)

    @property
    def keys(self) -> QueueKeys:
        return queue_keys(self.namespace, "q")

    def add(self, one: Definition) -> None:
        fields = {"def": one.wire, "digest": one.digest, "created": self.now}
        call = calls.put(self.keys, one.name, "", fields, slot=one.following(self.now), now=str(self.now))
        assert run(self.link, call).code == calls.ENQUEUED

    def entry(self, name: str) -> Entry:
        entry = Entry.read(self.link.execute(*calls.read(self.keys, name)))
        assert entry is not None
        return entry

    def due(self) -> list[str]:
        return calls.names_of(self.link.execute(*calls.due(self.keys, self.now, 100))[::2])

    def fire(self, entry: Entry, step: Fire, *, skip: bool = False) -> Call[calls.Answer]:
        raw = slot_id(self.namespace, entry.name, step.slot, entry.turn)
        message = entry.definition.message(raw, step.slot, self.now) if step.run else None
        limits = Limits()
        return calls.fire(
            self.keys, entry.name, entry.rev, step.slot, step.next, message, limits, skip=skip, now=str(self.now)
        )

    def do(self, entry: Entry, step: Fire) -> calls.Answer:
        answer = run(self.link, self.fire(entry, step))
        if answer.code == calls.ENQUEUED:
            self.enqueued.append(slot_id(self.namespace, entry.name, step.slot, entry.turn))
        return answer

    def stored(self) -> set[bytes]:
        return set(self.link.execute("HKEYS", self.keys.body))


@dataclass
class Scheduler:
    """Looks, and then fires what it has read; it may stop at any moment, and go on with what it knew."""

    town: Town
    chance: Random
    asleep_until: int = 0
    todo: list[tuple[Entry, Fire]] = field(default_factory=list)

    def turn(self) -> None:
        while self.town.now >= self.asleep_until and (self.todo or self.town.due()):
            self._once()

    def _once(self) -> None:
        if not self.todo:
            for name in self.town.due():
                entry = self.town.entry(name)
                step = plan(entry, self.town.now)
                if isinstance(step, Fire):
                    self.todo.append((entry, step))
                if self._stops():
                    return
        while self.todo:
            entry, step = self.todo.pop()
            self.town.do(entry, step)
            if self.chance.random() < 0.1:
                assert self.town.do(entry, step).code == calls.CHANGED, "its answer was lost, and it tries again"
            if self._stops():
                return

    def _stops(self) -> bool:
        if self.chance.random() > 0.1:
            return False
        self.asleep_until = self.town.now + 1 + self.chance.randrange(4 * HOUR)
        if self.chance.random() < 0.5:
            self.todo.clear()  # killed: another one starts in its place, and knows nothing
        return True


@pytest.fixture
def town(server: RealServer, namespace: str) -> Iterator[Town]:
    link = server.link()
    yield Town(link, namespace)
    link.close()


TEN_DAYS = ("thrice", "hourly", "nightly", "spread")


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_each_slot_of_ten_days_once_whoever_stops_and_dies(town: Town, seed: int) -> None:
    chance, end = Random(seed), FIRST + 10 * DAY
    for name in TEN_DAYS:
        town.add(definition(name))
    five = [Scheduler(town, chance) for _ in range(5)]
    while town.now < end:
        town.now += chance.randrange(30 * MINUTE)
        chance.shuffle(five)
        for one in five:
            one.turn()
    while town.due():
        town.now += 1
        for one in five:
            one.asleep_until = 0
            one.turn()
    due = {name: slots(TIMES[name], FIRST, town.now, 9_999) for name in TEN_DAYS}
    expected = {slot_id(town.namespace, name, slot) for name in TEN_DAYS for slot in due[name]}
    assert len(expected) > 1_300
    assert len(town.enqueued) == len(set(town.enqueued))
    assert set(town.enqueued) == expected
    assert town.stored() == expected
    assert int(town.link.execute("HGET", town.keys.meta, "enqueued")) == len(expected)


def watch(town: Town, name: str, minutes: int) -> list[int]:
    """One scheduler that looks each minute; answers when it enqueued something."""
    times: list[int] = []
    for _ in range(minutes):
        town.now += MINUTE
        step = plan(town.entry(name), town.now)
        while isinstance(step, Fire | Rewind):
            entry = town.entry(name)
            if isinstance(step, Rewind):
                fields = {"turn": entry.turn + 1}
                run(town.link, calls.put(town.keys, name, entry.rev, fields, slot=step.slot, now=str(town.now)))
            elif town.do(entry, step).code == calls.ENQUEUED:
                times.append(town.now)
            step = plan(town.entry(name), town.now)
    return times


@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
def test_a_clock_that_jumps_forward_makes_no_storm(town: Town, missed: str) -> None:
    town.add(definition("often", missed=missed, cap=3))
    assert len(watch(town, "often", 60)) == 6
    town.now += HOUR
    town.now += 5 * MINUTE
    assert len(watch(town, "often", 1)) == {"latest": 1, "skip": 0, "all": 3}[missed]
    assert len(watch(town, "often", 60)) == 6, "and then it goes on as before"


@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
def test_a_clock_that_goes_back_silences_nothing_for_longer_than_an_interval(town: Town, missed: str) -> None:
    town.add(definition("often", missed=missed))
    assert len(watch(town, "often", 120)) == 12
    town.now -= HOUR
    again = watch(town, "often", 60)
    assert len(again) == 6, "neither silent nor a storm"
    assert again[0] - (town.now - HOUR) <= 10 * MINUTE
    assert town.entry("often").turn == 1
    assert len(town.stored()) == 18, "the slots of that hour come again, as other messages"
    assert len(watch(town, "often", 30)) == 3
    assert town.entry("often").turn == 1


def test_a_small_step_back_changes_nothing(town: Town) -> None:
    town.add(definition("often"))
    assert len(watch(town, "often", 10)) == 1
    town.now -= JUMP_MS
    assert len(watch(town, "often", 11)) == 1
    assert town.entry("often").turn == 0


def test_back_and_forth_ends_where_it_began(town: Town) -> None:
    town.add(definition("often", missed="latest"))
    watch(town, "often", 60)
    town.now += HOUR
    assert len(watch(town, "often", 20)) == 3, "the latest of the missed ones, and two"
    town.now -= HOUR
    assert len(watch(town, "often", 60)) == 6
    assert town.entry("often").turn == 1
