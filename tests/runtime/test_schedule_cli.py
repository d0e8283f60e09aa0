"""`taskq schedule` as it is typed, against real servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.cron import Every
from taskq.errors import UnknownSchedule
from taskq.tasks import schedule_calls as calls
from taskq.tasks import schedule_steps
from taskq.tasks.schedule import ORPHAN_MS, Definition
from taskq.tasks.schedules import Schedules
from tests.runtime.operating import Operator, error_of, operating
from tests.servers import RealServer


@pytest.fixture
def operator(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


def send(order: int) -> None:
    """A task of the tests."""


@pytest.fixture
def schedules(operator: Operator) -> Schedules:
    app: TaskQ = operator.shop.app
    app.task(name="store.send", queue="mail")(send)
    return app.schedules


def test_schedules_are_listed_for_people_and_for_scripts(operator: Operator, schedules: Schedules) -> None:
    assert "has no schedules" in operator("schedule", "ls").stderr
    assert operator.objects("schedule", "ls") == []
    info = schedules.add("nightly", "store.send", "30 2 * * *", tz="Asia/Tokyo", args=(1,))
    head, row = operator.ok("schedule", "ls").splitlines()
    assert head.split() == ["SCHEDULE", "WHEN", "ZONE", "TASK", "QUEUE", "NEXT", "LAST", "RUNS", "SKIPPED", "STATE"]
    assert "02:30:00+09:00" in row
    assert info.next is not None
    (one,) = operator.objects("schedule", "ls")
    assert one["next"] == round(info.next.timestamp() * 1_000)
    assert (one["name"], one["cron"], one["tz"], one["state"]) == ("nightly", "30 2 * * *", "Asia/Tokyo", "active")
    shown = operator.ok("schedule", "show", "nightly")
    assert "30 2 * * * in Asia/Tokyo" in shown
    assert operator.objects("schedule", "show", "nightly") == [one]


def test_the_next_slots_are_shown_in_the_zone_of_the_entry(operator: Operator, schedules: Schedules) -> None:
    schedules.add("nightly", "store.send", "30 2 * * *", tz="Asia/Tokyo", args=(1,))
    lines = operator.ok("schedule", "next", "nightly", "-n", "3").splitlines()
    assert [line[10:] for line in lines] == [" 02:30:00+09:00"] * 3
    (one,) = operator.objects("schedule", "next", "nightly")
    assert one["tz"] == "Asia/Tokyo"
    assert [b - a for a, b in zip(one["slots"], one["slots"][1:], strict=False)] == [86_400_000] * 4
    schedules.pause("nightly")
    assert "is paused: these come once it is resumed" in operator("schedule", "next", "nightly").stderr
    assert "give a whole number from 1 to 1000" in error_of(operator("schedule", "next", "nightly", "-n", "0"), 2)


def test_run_pause_resume_and_remove(operator: Operator, schedules: Schedules) -> None:
    schedules.add("often", "store.send", every=3_600, args=(1,))
    assert operator.ok("schedule", "pause", "often") == "paused often\n"
    assert schedules.get("often").state == "paused"
    (ran,) = operator.objects("schedule", "run", "often")
    assert (ran["task"], ran["queue"]) == ("store.send", "mail")
    assert operator.objects("message", "show", ran["id"])[0]["status"] == "ready"
    assert len(operator.ok("schedule", "run", "often").split()) == 1
    assert operator.ok("schedule", "resume", "often").startswith("resumed often; next 2")
    assert operator.ok("schedule", "remove", "often") == "removed often\n"
    assert "there is no schedule 'often'" in error_of(operator("schedule", "remove", "often"), 2)


def test_unknown_names_end_with_usage_and_nothing_stored_commands_the_terminal(
    operator: Operator, schedules: Schedules
) -> None:
    schedules.add("nightly", "store.send", every=60, args=(1,))
    for words in (("show",), ("next",), ("run",), ("pause",), ("resume",), ("remove",)):
        assert "did you mean 'nightly'" in error_of(operator("schedule", *words, "nightli"), 2)
    assert "\x1b" not in error_of(operator("schedule", "show", "a\x1b[31m"), 2)


def test_orphans_are_shown_and_pruned(operator: Operator, schedules: Schedules) -> None:
    space, link = operator.shop.app.namespace, operator.shop.broker.link
    call = {"task": "store.send", "queue": "mail", "args": [1], "kwargs": {}}
    definition = Definition("tick", Every(60_000), call)
    schedule_steps.drive(link, schedule_steps.declare(space, definition, "worker-1"))
    assert "is declared by live workers" in error_of(operator("schedule", "remove", "tick"), 2)
    assert operator.ok("schedule", "prune", "--yes") == "removed 0 schedules\n"
    keys = operator.shop.broker.keys("mail")
    seen = int(link.execute("HGET", keys.schedule("tick"), f"d:{definition.digest}"))
    link.execute("HSET", keys.schedule("tick"), f"d:{definition.digest}", seen - ORPHAN_MS - 1_000)
    assert operator.objects("schedule", "ls")[0]["state"] == "orphaned"
    assert operator.ok("schedule", "prune", "--dry-run") == "would remove 1 orphaned schedule: tick\n"
    assert "Add --yes" in error_of(operator("schedule", "prune"), 2)
    assert operator.objects("schedule", "prune", "--yes") == [
        {"found": ["tick"], "removed": ["tick"], "dry_run": False}
    ]
    assert link.execute(*calls.read(keys, "tick")) == []


def test_a_key_of_another_type_hides_no_other(operator: Operator, schedules: Schedules) -> None:
    for name in ("bad", "good"):
        schedules.add(name, "store.send", every=60, args=(1,))
    link, key = operator.shop.broker.link, operator.shop.broker.keys("mail").schedule("bad")
    link.execute("DEL", key)
    link.execute("SET", key, "somebody else's")
    assert [one["state"] for one in operator.objects("schedule", "ls")] == ["unreadable", "active"]
    operator.ok("schedule", "prune", "--yes")
    assert "data of another type" in error_of(operator("schedule", "remove", "bad"), 3)
    assert link.execute("GET", key) == b"somebody else's"


def test_one_that_cannot_be_read_hides_no_other_and_can_be_removed(operator: Operator, schedules: Schedules) -> None:
    for name in ("bad", "good"):
        schedules.add(name, "store.send", every=60, args=(1,))
    link, keys = operator.shop.broker.link, operator.shop.broker.keys("mail")
    link.execute("HSET", keys.schedule("bad"), "def", "{}")
    bad, good = operator.ok("schedule", "ls").splitlines()[1:]
    assert bad.split()[:2] == ["bad", "?"]
    assert bad.split()[-1] == "unreadable"
    assert good.split()[-1] == "active"
    assert [one["state"] for one in operator.objects("schedule", "ls")] == ["unreadable", "active"]
    operator.ok("schedule", "prune", "--yes")
    operator.ok("schedule", "remove", "bad")
    assert [info.name for info in schedules.list()] == ["good"]
    assert link.execute("ZRANGE", keys.schedules, 0, -1) == [b"good"]
    schedules.add("bad", "store.send", every=60, args=(1,))


@pytest.mark.parametrize("name", [None, 5, b"x", ["x"]], ids=str)
def test_a_name_that_is_no_text_is_no_schedule(schedules: Schedules, name: Any) -> None:
    for method in (schedules.get, schedules.pause, schedules.resume, schedules.remove, schedules.run):
        with pytest.raises(UnknownSchedule, match="its name is a text"):
            method(name)


def test_utc_is_a_zone_however_it_is_said(schedules: Schedules) -> None:
    assert schedules.add("utc", "store.send", "0 * * * *", tz=UTC, args=(1,)).tz == "UTC"
