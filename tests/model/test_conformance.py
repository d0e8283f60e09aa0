"""Random traces of the model, replayed against the real scripts; every key is compared after every call.

TASKQ_SEED=n          replay the trace of this one seed
TASKQ_TRACES=n        traces in all, for the first server; the others get a tenth
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from taskq.errors import BrokerError
from taskq.store.connection import SyncLink
from taskq.store.scripts import load
from tests.model.decode import Reader, dump_script
from tests.model.drawing import KEYS, TASKS, Step
from tests.model.traces import EXPIRE, HEAR, PLANT, Trace
from tests.servers import RealServer, server_binaries

SEED = int(os.environ.get("TASKQ_SEED", "0"))
TRACES = int(os.environ.get("TASKQ_TRACES", "10000"))
CALLS = 20  # of one trace
PARTS = 10
SCRIPTS = (
    "enqueue lease extend ack nack dead_letter release park reclaim sweep promote unpark cancel redrive discard pause"
)


@pytest.fixture
def link(server: RealServer) -> Iterator[SyncLink]:
    link = server.link(timeout=10)
    link.execute("SCRIPT", "LOAD", dump_script(KEYS, TASKS))
    for script in (PLANT, HEAR, EXPIRE):
        link.execute("SCRIPT", "LOAD", script.text)
    for name in SCRIPTS.split():
        link.execute("SCRIPT", "LOAD", load(f"tasks/{name}").text)
    yield link
    link.close()


def told(step: Step, reply: Any) -> Any:
    """What the real script answered, as the model would say it."""
    verb = step.call.script.name.removeprefix("tasks/")
    try:
        value = step.call.decode(reply)
    except BrokerError:
        return "stale"
    if verb == "enqueue":
        return tuple((mid, created) for mid, created in value) or "gap"
    if verb == "lease":
        names = ("id", "body", "fence", "priority", "flags", "deliveries", "crashes", "attempts")
        given = [tuple(getattr(one, name) for name in names) for one in value.deliveries]
        return reply[0], value.due, tuple((*one[:3], 2 - one[3], *one[4:]) for one in given)
    if verb == "extend":
        return value.lost, value.cancelled, value.refused
    if verb == "reclaim":
        return [(one.id, one.crashes, one.once) for one in value]
    if verb == "sweep":
        same = ("skipped", "due", "deadline", "alone", "outbox", "lapsed")
        return {name: getattr(value, name) for name in same} | {"parked": value.parked_since}
    return tuple(value) if isinstance(value, list) else value


def compare(seed: int, trace: Trace, replies: list[Any]) -> None:
    reader = Reader(KEYS, TASKS, trace.lanes, trace.nonces)
    story: list[str] = []
    before: Any = None
    found: dict[str, Any] = {}
    for step, reply, dump in zip(trace.steps, replies[1::2], replies[2::2], strict=True):
        story.append(step.label)
        where = f"seed {seed}: TASKQ_SEED={seed} replays\n  " + "\n  ".join(story)
        assert not isinstance(reply, Exception), f"{where}\n{reply!r}"
        assert told(step, reply) == step.answer, where
        if dump != before:
            assert reader.strays(dump) == (0, 0), where
            before, found = dump, reader.fields(dump)
            assert found.keys() == step.after.keys()
        for name, value in step.after.items():
            assert found[name] == value, f"{where}\n{name}"


def replay(link: SyncLink, seed: int) -> Trace:
    trace = Trace(seed, CALLS)
    dump = Reader(KEYS, TASKS, trace.lanes, trace.nonces).command
    commands: list[Any] = [("FLUSHDB",)]
    for step in trace.steps:
        commands += [step.call.command(), dump]
    compare(seed, trace, link.pipeline(commands))
    return trace


@pytest.mark.parametrize("part", range(PARTS))
def test_the_scripts_do_what_the_model_says(link: SyncLink, server: RealServer, part: int) -> None:
    first = server.binary is next(iter(server_binaries().values()))
    count = max((TRACES if first else TRACES // 10) // PARTS, 1)
    seeds = [SEED] if SEED else range(1 + part * count, 1 + (part + 1) * count)
    seen: Counter[str] = Counter()
    for seed in seeds:
        for step in replay(link, seed).steps:
            seen[step.call.script.name] += 1
    if len(seeds) > 100:
        assert {f"tasks/{name}" for name in SCRIPTS.split()} <= set(seen), "a verb that no trace called"
