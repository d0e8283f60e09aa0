"""Schedulers among entries, keys and clocks that are not as they should be: what is sound goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from taskq import Queue
from taskq.store.scripts import run
from taskq.tasks import schedule_calls as calls
from taskq.tasks import schedule_steps
from taskq.tasks.schedule import ORPHAN_MS, RETIRE_MS
from taskq_workers import scheduler
from tests.runtime.test_scheduler import CALL, HOUR, Team, hourly, past
from tests.servers import RealServer


@pytest.fixture
def team(server: RealServer, namespace: str) -> Iterator[Team]:
    one = Team(server, namespace, 2)
    yield one
    for broker in one.brokers:
        broker.close()


@pytest.mark.parametrize(
    "said",
    [
        {"every": 0},
        {"every": "x"},
        {"every": -5},
        {"anchor": None},
        {"cap": "many"},
        {"cap": 0},
        {"jitter": -1},
        {"start": "soon"},
        {"end": []},
        {"missed": "some"},
        {"overlap": None},
        {"call": []},
        {"call": {"task": "t"}},
        {"name": 5},
    ],
    ids=str,
)
def test_a_definition_that_makes_no_sense_keeps_no_other_from_its_slot(team: Team, said: dict[str, Any]) -> None:
    wire = orjson.dumps(orjson.loads(hourly("bad").wire) | said)
    team.add(hourly("bad"), 1)
    team.link.execute("HSET", team.keys.schedule("bad"), "def", wire)
    team.add(hourly("good"), past(team, 1))
    for _ in range(3):
        team.round()
    assert team.enqueued() == 1
    assert any("cannot read schedule bad of queue q" in text for text in team.complaints)


def test_an_entry_of_another_type_keeps_no_other_from_being_declared(team: Team) -> None:
    team.link.execute("SET", team.keys.schedule("bad"), "x")
    for member in team.members:
        member.declare([str(hourly(name).wire, "utf-8") for name in ("bad", "good")])
    team.until_idle()
    before = team.entry("good").seen
    team.link.execute("HSET", team.keys.schedule("good"), "d:" + hourly("good").digest, 1)
    for member in team.members:
        member.hurry()
    team.until_idle()
    assert team.entry("good").seen >= before
    assert any("schedule bad" in text and "WRONGTYPE" in text for text in team.complaints)


def test_an_entry_of_another_type_is_told(team: Team) -> None:
    team.link.execute("ZADD", team.keys.schedules, 1, "bad")
    team.link.execute("SET", team.keys.schedule("bad"), "x")
    team.round()
    assert any("cannot read schedule bad of queue q" in text for text in team.complaints)


def test_a_queue_whose_schedules_cannot_be_listed_hides_none_of_the_next(server: RealServer, team: Team) -> None:
    broker = team.brokers[0]
    member = scheduler.Scheduler(broker, ["broken", "q"], "worker")
    team.members[:] = [member]
    team.link.execute("SET", broker.keys("broken").schedules, "x")
    # Only who lists all entries finds it: its slot does not come for long.
    team.add(hourly(), team.now() // HOUR * HOUR + 5 * HOUR)
    team.link.execute("HSET", team.keys.schedule("tick"), "at", team.now() + 4 * HOUR)
    for _ in range(3):
        member.turn(team._complain)
    assert team.entry().turn == 1
    assert any("cannot list schedules of queue broken" in text for text in team.complaints)


def test_after_a_day_without_any_worker_the_code_comes_before_the_retiring(team: Team) -> None:
    definition = hourly()
    seen = {f"d:{definition.digest}": team.now() - RETIRE_MS - HOUR}
    team.add(definition, past(team, 30), origin="code", last=past(team, 31), paused="1", runs=7, **seen)
    team.until_idle()  # a supervisor is up before its first child has told what the code declares
    for member in team.members:
        member.declare([str(definition.wire, "utf-8")])
    team.until_idle()
    assert (team.entry().paused, team.entry().runs) == (True, 7)
    run(team.link, calls.put(team.keys, "tick", team.entry().rev, {"paused": ""}))
    for member in team.members:
        member.hurry()
    team.until_idle()
    assert (team.entry().runs, team.enqueued()) == (8, 1)


def test_entries_that_rest_in_the_past_hide_none_that_comes_up(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_NAMES", 10)
    team.until_idle()  # all entries are listed once at the start, and then not for minutes
    orphaned = {"origin": "code", "d:x": team.now() - ORPHAN_MS - 1_000}
    for number in range(12):
        team.add(hourly(f"orphan{number}"), past(team, 3), **orphaned)
    team.add(hourly("good"), past(team, 1))
    for _ in range(3):
        for member in team.members:
            member._next_look = 0.0
        team.until_idle()
    assert team.enqueued() == 1
    assert team.entry("good").runs == 1


def test_an_entry_that_the_index_has_lost_is_entered_again(team: Team) -> None:
    """As when one who removes a schedule is held up between its two steps, and the code declares it meanwhile."""
    team.add(hourly(), past(team, 1))
    team.link.execute("HDEL", f"taskq:{{{team.namespace}}}:schedules", "tick")
    team.until_idle()
    assert team.link.execute("HGET", f"taskq:{{{team.namespace}}}:schedules", "tick") == b"q"
    assert team.entry().runs == 1


def future(team: Team) -> dict[str, int]:
    """Fields of an entry whose last slot was decided when the clock was five hours ahead."""
    return {"last": past(team, 1) + 5 * HOUR, "at": team.now() + 5 * HOUR, "turn": 2, "created": 1}


@pytest.mark.parametrize("how", ["resume", "update", "move", "declare"])
def test_whoever_changes_an_entry_after_the_clock_went_back_begins_it_again(team: Team, how: str) -> None:
    slot = past(team, 1) + 6 * HOUR
    old, other = hourly(), replace(hourly(), jitter=1, call={**CALL, "queue": "r"} if how == "move" else CALL)
    code = {"origin": "code", f"d:{old.digest}": team.now()} if how == "declare" else {}
    held = {"paused": "1"} if how == "resume" else {}
    team.add(old, slot, **code, **held)
    team.link.execute("HSET", team.keys.schedule("tick"), *(one for pair in future(team).items() for one in pair))
    steps: Any
    if how == "resume":
        steps = schedule_steps.hold(team.namespace, team.entry(), False)
    elif how == "declare":
        steps = schedule_steps.declare(team.namespace, other, "w")
    else:
        steps = schedule_steps.replace(team.namespace, team.entry(), other, "", {})
    assert schedule_steps.drive(team.link, steps)
    after = schedule_steps.drive(team.link, schedule_steps.find(team.namespace, "tick"))
    assert after is not None
    assert (after.turn, after.slot) == (3, past(team, 0))


def test_a_queue_of_another_transport_than_declared_keeps_no_other_from_its_slots(team: Team) -> None:
    broker = team.brokers[0]
    broker.queues.declare(Queue("broken"))
    member = scheduler.Scheduler(broker, ["broken", "q"], "worker")
    team.members[:] = [member]
    broken = replace(hourly("broken"), call={**CALL, "queue": "broken"})
    said = {"def": broken.wire, "digest": broken.digest, "created": 1}
    run(team.link, calls.put(broker.keys("broken"), "broken", "", said, slot=past(team, 1)))
    team.link.execute("HSET", broker.keys("broken").meta, "transport", "stream")
    team.link.execute("HSET", f"taskq:{{{team.namespace}}}:schedules", "broken", "broken")
    team.add(hourly("good", missed="all", overlap="allow"), past(team, 3))
    for _ in range(10):
        member.turn(team._complain)
    assert team.entry("good").runs == 3
    assert any("cannot fire schedule broken" in text and "declared a list queue" in text for text in team.complaints)


@pytest.mark.parametrize("said", [{"priority": 99}, {"priority": "x"}, {"codec": "none"}, {"delay": []}], ids=str)
def test_a_call_that_makes_no_sense_keeps_no_other_from_its_slot(team: Team, said: dict[str, Any]) -> None:
    team.add(replace(hourly("bad"), call={**CALL, **said}), past(team, 2))
    team.add(hourly("good"), past(team, 1))
    for _ in range(3):
        team.round()
    assert team.entry("good").runs == 1
    assert team.entry("bad").runs == 0
    assert any("cannot fire schedule bad" in text for text in team.complaints)


def test_a_schedule_that_could_not_be_fired_is_once_it_is_mended(team: Team) -> None:
    team.add(replace(hourly(), call={**CALL, "priority": 99}), past(team, 1), last=past(team, 2))
    team.until_idle()
    assert any("cannot fire schedule tick" in text for text in team.complaints)
    assert schedule_steps.drive(team.link, schedule_steps.replace(team.namespace, team.entry(), hourly(), "", {}))
    for member in team.members:
        member._next_look = 0.0
    team.until_idle()
    assert team.entry().runs == 1


@pytest.mark.parametrize("queue", ["q", "r"], ids=["changed", "moved"])
def test_a_definition_changed_after_an_outage_keeps_to_its_cap(team: Team, queue: str) -> None:
    old = hourly(missed="all", cap=3, overlap="allow")
    team.add(old, past(team, 50), last=past(team, 51), at=past(team, 51))
    other = replace(old, jitter=1, call={**CALL, "queue": queue})
    assert schedule_steps.drive(team.link, schedule_steps.replace(team.namespace, team.entry(), other, "", {}))
    after = schedule_steps.drive(team.link, schedule_steps.find(team.namespace, "tick"))
    assert after is not None
    assert (after.definition, after.slot) == (other, past(team, 3))
