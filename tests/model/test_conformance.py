"""Random traces of the model, replayed against the real scripts; every key is compared after every call.

TASKQ_SEED=n          replay the trace of this one seed
TASKQ_TRACES=n        traces in all of each transport, for the first server; the others get a tenth
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from taskq.errors import BrokerError
from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys
from taskq.store.scripts import Script, load
from taskq.tasks import stream_calls
from taskq.tasks.queues import Queue, Retain
from taskq.tasks.transports import AROUND, around, own
from tests.model.decode import Reader, dump_script
from tests.model.drawing import KEYS, STREAM_KEYS, TASKS, Step
from tests.model.traces import DESTROY, EXPIRE, HEAR, PLANT, Trace
from tests.servers import RealServer, server_binaries

SEED = int(os.environ.get("TASKQ_SEED", "0"))
TRACES = int(os.environ.get("TASKQ_TRACES", "10000"))
STREAM_TRACES = int(os.environ.get("TASKQ_TRACES", "400"))
CALLS = 20  # of one trace
PARTS = 10
QUICK = {"list": 2, "stream": 4} if "TASKQ_TRACES" not in os.environ else {"list": PARTS, "stream": PARTS}
"""So many parts are in the quick suite, `make full` has all of them."""

SCRIPTS = (
    "enqueue lease extend ack nack dead_letter release park reclaim sweep promote unpark cancel redrive discard pause"
)
KEPT = (Retain(), Retain(count=0, age=0), Retain(count=3, bytes=200_000, age=20))


@pytest.fixture
def link(server: RealServer) -> Iterator[SyncLink]:
    link = server.link(timeout=10)
    scripts: list[Script] = [PLANT, HEAR, EXPIRE, DESTROY, *map(own, ("declare", "watch", "repair"))]
    for name in SCRIPTS.split():
        scripts += [load(f"tasks/{name}"), *([around(name)] if name in AROUND else [])]
    for text in (*(script.text for script in scripts), dump_script(KEYS, TASKS), dump_script(STREAM_KEYS, TASKS)):
        link.execute("SCRIPT", "LOAD", text)
    yield link
    link.close()


def told(step: Step, reply: Any) -> Any:
    """What the real script answered, as the model would say it."""
    verb = step.call.script.name.rpartition("/")[2]
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
    reader = Reader(trace.keys, TASKS, trace.lanes, trace.nonces)
    story: list[str] = []
    before: Any = None
    found: dict[str, Any] = {}
    at = iter(replies)
    for step in trace.steps:
        reply, then, dump = next(at), [next(at) for _ in step.then], next(at)
        story.append(step.label)
        where = f"seed {seed}: TASKQ_SEED={seed} replays\n  " + "\n  ".join(story)
        for one in (reply, *then, dump):
            assert not isinstance(one, Exception), f"{where}\n{one!r}"
        assert told(step, reply) == step.answer, where
        if dump != before:
            assert reader.strays(dump) == (0, 0), where
            before, found = dump, fields(reader, dump, where)
            assert found.keys() == step.after.keys()
        for name, value in step.after.items():
            assert found[name] == value, f"{where}\n{name}"


def fields(reader: Reader, dump: list[Any], where: str) -> dict[str, Any]:
    try:
        return reader.fields(dump)
    except AssertionError as error:
        raise AssertionError(f"{where}\n{error}") from error


def replay(link: SyncLink, seed: int, keys: QueueKeys) -> Trace:
    trace = Trace(seed, CALLS, keys)
    dump = Reader(keys, TASKS, trace.lanes, trace.nonces).command
    commands: list[Any] = [("FLUSHDB",)]
    if keys.streamed:
        kept = KEPT[seed % len(KEPT)]
        commands.append(stream_calls.declare("conformance", Queue("q", transport="stream", retain=kept)).command())
    first = len(commands)
    for step in trace.steps:
        commands += [step.call.command(), *(call.command() for call in step.then), dump]
    compare(seed, trace, link.pipeline(commands)[first:])
    return trace


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        pytest.param(keys, part, id=f"{name}-{part}", marks=() if part < QUICK[name] else pytest.mark.slow)
        for name, keys in (("list", KEYS), ("stream", STREAM_KEYS))
        for part in range(PARTS)
    ],
)
def test_the_scripts_do_what_the_model_says(link: SyncLink, server: RealServer, keys: QueueKeys, part: int) -> None:
    first = server.binary is next(iter(server_binaries().values()))
    traces = STREAM_TRACES if keys.streamed else TRACES
    count = max((traces if first else traces // 10) // PARTS, 1)
    seeds = [SEED] if SEED else range(1 + part * count, 1 + (part + 1) * count)
    seen: Counter[str] = Counter()
    for seed in seeds:
        for step in replay(link, seed, keys).steps:
            seen[step.call.script.name.rpartition("/")[2]] += 1
    if len(seeds) > 100:
        assert set(SCRIPTS.split()) <= set(seen), "a verb that no trace called"
