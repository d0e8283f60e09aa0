"""Schedules on a real server: what `app.schedules` does to them, and how the code of deploys becomes one entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import TaskQ
from taskq.cron import Every
from taskq.errors import ConfigError, UnknownSchedule
from taskq.store import keys as store_keys
from taskq.store.connection import SyncLink
from taskq.store.keys import queue_keys
from taskq.tasks import schedule_admin, schedule_steps
from taskq.tasks import schedule_calls as calls
from taskq.tasks.schedule import ORPHAN_MS, Definition, Entry
from taskq.tasks.schedule_steps import Steps, drive
from taskq.tasks.schedules import ScheduleInfo
from tests.servers import RealServer

HOUR = 3_600_000


def report(size: int = 1) -> int:
    """A task of the tests."""
    return size


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    app = TaskQ(namespace, url=server.url)
    app.task(name="report", queue="reports")(report)
    yield app
    app.close()


# -- app.schedules -----------------------------------------------------------------------------------------------------


def test_a_schedule_from_its_beginning_to_its_end(app: TaskQ) -> None:
    made = app.schedules.add("nightly", "report", "30 2 * * *", tz="Europe/Berlin", args=(5,), jitter=10)
    assert (made.task, made.queue, made.state, made.in_code) == ("report", "reports", "active", False)
    assert made.next is not None
    assert (made.next.hour, made.next.minute) in ((2, 30), (3, 0))
    assert str(made.next.tzinfo) == "Europe/Berlin"
    assert app.schedules.get("nightly") == made
    assert app.schedules.list() == [made]
    paused = app.schedules.pause("nightly")
    assert (paused.state, paused.next) == ("paused", None)
    assert app.schedules.pause("nightly") == paused
    assert app.schedules.resume("nightly") == made
    changed = app.schedules.update("nightly", cron="0 4 * * *", overlap="allow", queue="other")
    assert (changed.cron, changed.tz, changed.overlap, changed.queue) == (
        "0 4 * * *",
        "Europe/Berlin",
        "allow",
        "other",
    )
    assert changed.jitter == 10
    assert app.schedules.list() == [changed]
    handle = app.schedules.run("nightly")
    assert handle.queue == "other"
    assert handle.status() == "ready"
    assert app.schedules.get("nightly").runs == 1
    assert app.schedules.get("nightly").last_message == handle.id
    app.schedules.remove("nightly")
    assert app.schedules.list() == []


async def test_its_twins(app: TaskQ) -> None:
    made = await app.schedules.aadd("often", app.tasks["report"], every=60)
    assert (made.every, made.cron, made.tz) == (60, None, "UTC")
    assert await app.schedules.aget("often") == made
    assert await app.schedules.alist() == [made]
    assert (await app.schedules.apause("often")).state == "paused"
    assert (await app.schedules.aresume("often")).state == "active"
    assert (await app.schedules.aupdate("often", every=30, args=(7,))).every == 30
    handle = await app.schedules.arun("often")
    assert await handle.astatus() == "ready"
    assert await app.schedules.aprune() == []
    await app.schedules.aremove("often")
    with pytest.raises(UnknownSchedule):
        await app.schedules.aget("often")
    await app.aclose()


def test_a_name_is_taken_once_and_an_unknown_one_is_told(app: TaskQ) -> None:
    app.schedules.add("nightly", "report", every=60)
    with pytest.raises(ConfigError, match="there is a schedule 'nightly' already"):
        app.schedules.add("nightly", "report", every=30)
    assert app.schedules.get("nightly").every == 60
    for call in (app.schedules.get, app.schedules.pause, app.schedules.resume, app.schedules.remove, app.schedules.run):
        with pytest.raises(UnknownSchedule, match=r"no schedule 'nightli' .*did you mean 'nightly'"):
            call("nightli")
    with pytest.raises(UnknownSchedule):
        app.schedules.update("nightli", every=5)


def test_an_update_goes_on_from_the_last_slot(app: TaskQ) -> None:
    app.schedules.add("often", "report", every=3_600)
    town = Town(app)
    last = town.entry("often").created - 10 * HOUR
    town.put("often", {"last": last})
    assert town.entry("often").slot is not None
    app.schedules.update("often", every=600)
    assert town.entry("often").slot == Every(600_000).ms * (last // 600_000 + 1)


def test_start_and_end_bound_the_slots(app: TaskQ) -> None:
    start, end = datetime(2090, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, 1, tzinfo=UTC)
    info = app.schedules.add("once", "report", every=7_200, start=start, end=end)
    assert info.next == start
    assert app.schedules.update("once", start=None, end=datetime(2020, 1, 1, tzinfo=UTC)).state == "ended"


# -- declared in code --------------------------------------------------------------------------------------------------


class Town:
    """An app's namespace, and the code of workers that declare things in it."""

    def __init__(self, app: TaskQ) -> None:
        self.link: SyncLink = app.broker().link
        self.namespace = app.namespace

    def definition(self, every_ms: int = HOUR, queue: str = "reports", name: str = "tick") -> Definition:
        call = {"task": "report", "queue": queue, "args": [], "kwargs": {}}
        return Definition(name, Every(every_ms), call)

    def declare(self, definition: Definition) -> str:
        return str(self.do(schedule_steps.declare(self.namespace, definition, "worker-1")))

    def do(self, steps: Steps[Any]) -> Any:
        return drive(self.link, steps)

    def entry(self, name: str = "tick") -> Entry:
        entry: Entry | None = self.do(schedule_steps.find(self.namespace, name))
        assert entry is not None
        return entry

    def put(self, name: str, fields: dict[str, Any]) -> None:
        entry = self.entry(name)
        keys = queue_keys(self.namespace, entry.definition.queue)
        assert self.do(_one(calls.put(keys, name, entry.rev, fields))).code == calls.ENQUEUED

    def age(self, definition: Definition, ms: int) -> None:
        """As if the last worker with this definition had gone so long ago."""
        entry = self.entry(definition.name)
        self.put(definition.name, {f"d:{definition.digest}": entry.known[definition.digest] - ms})

    def open(self, name: str = "tick") -> list[str]:
        """The queues in which an entry of that name lies that could be fired; one that was moved away cannot."""
        keys = {queue: queue_keys(self.namespace, queue) for queue in ("reports", "other")}
        found = {queue: Entry.read(self.link.execute(*calls.read(key, name))) for queue, key in keys.items()}
        return [queue for queue, entry in found.items() if entry is not None and not entry.moved]

    def info(self, name: str = "tick") -> ScheduleInfo:
        info: ScheduleInfo = self.do(schedule_admin.get(self.namespace, name))
        return info


def _one(step: Any) -> Steps[Any]:
    return (yield step)


@pytest.fixture
def town(app: TaskQ) -> Town:
    return Town(app)


def test_what_is_declared_is_there_once(town: Town) -> None:
    one = town.definition()
    assert town.declare(one) == one.digest
    entry = town.entry()
    assert town.declare(one) == one.digest
    assert town.entry().rev == entry.rev, "declaring it again changes nothing"
    assert (town.info().state, town.info().in_code) == ("active", True)
    assert town.link.execute("SISMEMBER", store_keys.queues(town.namespace), "reports")


def test_a_definition_that_was_never_seen_is_newer_and_counts_from_the_last_slot(town: Town) -> None:
    old, new = town.definition(), town.definition(HOUR // 4)
    town.declare(old)
    last = town.entry().created // HOUR * HOUR - 5 * HOUR
    town.put("tick", {"last": last})
    assert town.declare(new) == new.digest
    assert town.entry().definition == new
    assert town.entry().slot == last + HOUR // 4


def test_old_and_new_workers_side_by_side_do_not_flap(town: Town) -> None:
    old, new = town.definition(), town.definition(HOUR // 4)
    town.declare(old)
    town.declare(new)
    rev = town.entry().rev
    for _ in range(3):
        assert town.declare(old) == new.digest
        assert town.declare(new) == new.digest
    assert town.entry().rev == rev


def test_an_older_definition_comes_back_when_the_newer_one_is_gone(town: Town) -> None:
    old, new = town.definition(), town.definition(HOUR // 4)
    town.declare(old)
    town.declare(new)
    town.age(new, ORPHAN_MS + 1_000)
    assert town.declare(old) == old.digest
    assert town.entry().definition == old
    assert town.declare(new) == old.digest, "it is the older one now, for it was known before"


@pytest.mark.parametrize("steps", range(12))
def test_a_move_to_another_queue_may_stop_anywhere(town: Town, steps: int) -> None:
    """Whoever comes next, of the new code or of the old, finds one entry, with the slot that is next."""
    old, new = town.definition(), town.definition(queue="other")
    town.declare(old)
    last = town.entry().created // HOUR * HOUR - 3 * HOUR
    town.put("tick", {"last": last, "runs": 4, "turn": 1})
    if steps == 11:
        town.put("tick", {"paused": "1"})
    walk, reply = schedule_steps.declare(town.namespace, new, "worker-2"), None
    for _ in range(steps):
        try:
            step = walk.send(reply)
        except StopIteration:
            break
        reply = schedule_steps._do(town.link, step)
    walk.close()
    town.declare(old)
    assert len(town.open()) == 1
    assert town.declare(new) == new.digest
    town.declare(old)
    entry = town.entry()
    assert town.open() == ["other"]
    assert entry.definition == new
    assert (entry.slot, entry.last, entry.runs, entry.turn) == (last + HOUR, last, 4, 1)
    assert entry.known.keys() == {old.digest, new.digest}
    assert entry.paused == (steps == 11)
    assert town.link.execute("ZCOUNT", queue_keys(town.namespace, "reports").schedules, "-inf", "(+inf") == 0


def test_a_name_of_run_time_is_not_for_code_and_the_other_way_round(app: TaskQ, town: Town) -> None:
    app.schedules.add("tick", "report", every=60)
    with pytest.raises(ConfigError, match="'tick' was added at run time; remove it there"):
        town.declare(town.definition())
    app.schedules.remove("tick")
    town.declare(town.definition())
    with pytest.raises(ConfigError, match="there is a schedule 'tick' already"):
        app.schedules.add("tick", "report", every=60)
    with pytest.raises(ConfigError, match="is declared in code: change it there"):
        app.schedules.update("tick", every=5)
    with pytest.raises(ConfigError, match="is declared by live workers"):
        app.schedules.remove("tick")


def test_what_no_worker_declares_is_orphaned_and_pruned(app: TaskQ, town: Town) -> None:
    gone, there = town.definition(), town.definition(name="tock")
    town.declare(gone)
    town.declare(there)
    app.schedules.add("mine", "report", every=60)
    town.age(gone, ORPHAN_MS + 1_000)
    slot = town.entry().slot
    assert [(one.name, one.state) for one in app.schedules.list()] == [
        ("mine", "active"),
        ("tick", "orphaned"),
        ("tock", "active"),
    ]
    assert town.entry().slot == slot
    assert app.schedules.prune() == ["tick"]
    assert [one.name for one in app.schedules.list()] == ["mine", "tock"]
    assert app.schedules.prune() == []


def test_an_orphan_that_is_declared_again_goes_on_with_its_slot(town: Town) -> None:
    one = town.definition()
    town.declare(one)
    town.put("tick", {"last": town.entry().created - 5 * HOUR})
    town.age(one, ORPHAN_MS + 1_000)
    before = town.entry()
    assert town.info().state == "orphaned"
    town.declare(one)
    assert town.info().state == "active"
    assert (town.entry().slot, town.entry().last) == (before.slot, before.last)
