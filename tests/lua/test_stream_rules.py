"""The rules of every script, on a stream queue: checks before the first write, and a full server drains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import Queue as Declared
from taskq.errors import BrokerFull, BrokerRefused
from taskq.store.scripts import Call
from taskq.tasks import calls, stream_calls
from taskq.tasks.operator_calls import purge
from tests.lua.kit import Queue, held, message
from tests.lua.stream_kit import StreamQueue
from tests.lua.test_rules import BUILDS, Build, shape
from tests.servers import RealServer


@pytest.fixture
def queue(server: RealServer, namespace: str) -> Iterator[StreamQueue]:
    link = server.link()
    yield StreamQueue(link, namespace)
    link.close()


def lease_given_back(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1), message(2), message(3, explicit=True))
    queue.release(held(queue.take(1)[0]))
    queue.cancel(message(2).id)
    return queue.lease_call(6)


def purge_unread(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1), message(2), message(3))
    queue.cancel(message(2).id)
    return purge(queue.keys, "ready", queue.keys.ready_for(0), queue.limits, limit=250, now=queue.at)


def watch(queue: Queue) -> Call[Any]:
    queue.enqueue(*(message(number) for number in range(120)))
    taken = queue.take(110)
    queue.run(calls.ack(queue.keys, taken[:105], None, queue.limits, queue.at))
    return stream_calls.watch(queue.keys, "0 0 0", queue.at)


def watch_idle(queue: Queue) -> Call[Any]:
    queue.enqueue(*(message(number) for number in range(100)))
    queue.run(calls.ack(queue.keys, queue.take(100), None, queue.limits, queue.at))
    return stream_calls.watch(queue.keys, "0 0 0", queue.at)


def repair(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1), message(2))
    queue.link.execute("HSET", queue.keys.tally, "repair", "0")
    return stream_calls.repair(queue.keys)


def declare(queue: Queue) -> Call[Any]:
    assert isinstance(queue, StreamQueue)
    return stream_calls.declare(queue.namespace, Declared("q", transport="stream"))


MORE: tuple[Build, ...] = (lease_given_back, purge_unread, watch, repair, declare)
builds = pytest.mark.parametrize("build", [*BUILDS, *MORE], ids=lambda build: build.__name__)


def afresh(queue: StreamQueue, build: Build) -> Call[Any]:
    queue.link.execute("FLUSHALL")
    queue.number, queue.lane = 0, b"lane" * 3
    queue.seat = type(queue.seat)(nonce=b"nonce...")
    queue.declare()
    return build(queue)


@builds
def test_a_wrong_type_at_any_key_is_told_before_anything_is_written(queue: StreamQueue, build: Build) -> None:
    start, keys = queue.now, list(dict.fromkeys(afresh(queue, build).keys))
    for key in keys:
        if key == queue.keys.none:
            continue
        queue.now = start
        call = afresh(queue, build)
        queue.link.execute("DEL", key)
        queue.link.execute("SADD", key, "not ours")
        before, pending = queue.dump(), _pending(queue)
        with pytest.raises(BrokerRefused, match="holds data of another type"):
            queue.run(call)
        assert (queue.dump(), _pending(queue)) == (before, pending), key


@pytest.fixture
def full(queue: StreamQueue) -> Any:
    """A switch: from its call on, the server is at its memory limit."""
    yield lambda: queue.link.execute("CONFIG", "SET", "maxmemory", "1")
    queue.link.execute("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("build", [*BUILDS[1:], *MORE, watch_idle], ids=lambda build: build.__name__)
def test_a_full_server_lets_everything_but_enqueue_run_to_its_end(
    queue: StreamQueue, full: Callable[[], None], build: Build
) -> None:
    expected = outcome(queue, build, lambda: None)
    assert outcome(queue, build, full) == expected


def test_a_full_server_refuses_an_enqueue_and_stores_nothing(queue: StreamQueue, full: Callable[[], None]) -> None:
    queue.enqueue(message(1))
    before = queue.dump()
    full()
    for plain in (True, False):
        with pytest.raises(BrokerFull):
            queue.run(queue.enqueue_call(message(2, explicit=not plain), number=2))
    assert queue.dump() == before


def outcome(queue: StreamQueue, build: Build, before_it_runs: Callable[[], object]) -> Any:
    """The reply and all that is there after a script ran, without what is random or the server's time."""
    start = queue.now
    call = afresh(queue, build)
    before_it_runs()
    reply = queue.link.execute(*call.full_command())
    dump = {name: _timeless(shape(value)) for name, value in queue.dump().items()}
    queue.now = start
    return _timeless(shape(reply)), dump, len(_pending(queue))


def _timeless(value: Any) -> Any:
    """A value with all entries of streams alike, whatever the moment they were made."""
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items()}
    return re.sub(rb"\d{13}-(0\d{11}|\d+)", b"entry", value) if isinstance(value, bytes) else value


def _pending(queue: StreamQueue) -> list[Any]:
    if queue.link.execute("TYPE", queue.keys.stream) != b"stream":
        return []
    found: list[Any] = queue.link.execute("XPENDING", queue.keys.stream, "taskq", "-", "+", 1000)
    return [one[0] for one in found]
