"""Rules that every script keeps: all checks before the first write, a full server drains, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq.errors import BrokerRefused
from taskq.store.scripts import Call
from taskq.tasks import calls
from taskq.tasks.briefs import Place
from taskq.tasks.broker import Finished, Mark
from taskq.tasks.choosing import remove
from taskq.tasks.move_calls import carried, take
from taskq.tasks.operator_calls import purge
from taskq.tasks.statistics import sample
from tests.lua.kit import LEASE_MS, Queue, buried, done, held, message, retried

KEY, OTHER = b"u" * 16, b"v" * 16
Build = Callable[[Queue], Call[Any]]


def taken(queue: Queue) -> list[Any]:
    """Two messages with everything a message can have, leased; one was to be cancelled, one has an error line."""
    queue.enqueue(message(1, unique=KEY, explicit=True), message(2, unique=OTHER, explicit=True))
    queue.nack(retried(queue.take(1)[0], line=b"{}"))
    queue.enqueue(message(3))
    deliveries = queue.take(2)
    queue.cancel(deliveries[0].id)
    queue.enqueue(message(8, due=-50))
    return deliveries


def enqueue(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, unique=KEY), message(2, due=-5))
    return queue.enqueue_call(message(5, unique=KEY), message(6, explicit=True), message(7, due=-9, unique=OTHER))


def lease(queue: Queue) -> Call[Any]:
    queue.enqueue(*(message(number, priority=number - 2) for number in range(5)), message(9, due=-50))
    queue.enqueue(message(7), message(8))
    return queue.lease_call(6)


def ack(queue: Queue) -> Call[Any]:
    one, two = taken(queue)
    items = [done(one, b"d1", follow=b"f" * 20, stats="d t"), Finished(two.id, two.token, "c", b"c", 1000)]
    return calls.ack(queue.keys, items, queue.seat.op("q", "ack"), queue.limits, queue.at)


def nack(queue: Queue) -> Call[Any]:
    one, two = taken(queue)
    items = [retried(one, line=b"{}", stats="f t\nr t"), retried(two, 5, line=b"{}")]
    return calls.nack(queue.keys, items, queue.seat.op("q", "nack"), queue.limits, queue.at)


def dead_letter(queue: Queue) -> Call[Any]:
    one, two = taken(queue)
    items = [buried(one, result=b"x", result_ttl=1000, stats="f t\nx t"), buried(two, quarantine=True)]
    return calls.dead_letter(queue.keys, items, queue.seat.op("q", "bury"), queue.limits, queue.at)


def release(queue: Queue) -> Call[Any]:
    return calls.release(queue.keys, [held(delivery) for delivery in taken(queue)], queue.at)


def park(queue: Queue) -> Call[Any]:
    return calls.park(queue.keys, [(held(delivery), "t") for delivery in taken(queue)], queue.at)


def unpark(queue: Queue) -> Call[Any]:
    queue.run(park(queue))
    return calls.unpark(queue.keys, "t")


def expire_parked(queue: Queue, step: int = 1) -> Call[Any]:
    queue.run(calls.park(queue.keys, [(held(delivery), "t") for delivery in taken(queue)[::step]], queue.at))
    queue.now += queue.limits.parked_age
    return calls.expire_parked(queue.keys, "t", b"{}", b"x{}", queue.limits, queue.at)


def expire_parked_backwards(queue: Queue) -> Call[Any]:
    return expire_parked(queue, -1)


def reclaim(queue: Queue) -> Call[Any]:
    one, two = taken(queue)
    started = [one.id, two.id]
    return calls.reclaim(queue.keys, one.token, b"{}", queue.limits, mode="crash", started=started, now=queue.at)


def extend(queue: Queue) -> Call[Any]:
    one, two = taken(queue)
    queue.now += 1
    return calls.extend(queue.keys, [one.token], [Mark(two.id, two.token)], queue.limits, queue.at)


def cancel_ready(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, unique=KEY, explicit=True))
    return calls.cancel(queue.keys, message(1).id, queue.limits, now=queue.at)


def cancel_delayed(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, unique=KEY, explicit=True, due=-50))
    return calls.cancel(queue.keys, message(1).id, queue.limits, now=queue.at)


def cancel_held(queue: Queue) -> Call[Any]:
    return calls.cancel(queue.keys, taken(queue)[1].id, queue.limits, kill=True, now=queue.at)


def promote(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, due=-5, unique=KEY), message(2, due=-6, priority=1), message(3, due=-7))
    queue.now += 10
    return calls.promote(queue.keys, now=queue.at)


def sweep(queue: Queue) -> Call[Any]:
    one, two = taken(queue)
    queue.ack(done(one, b"d1", 5))
    queue.bury(buried(two))
    queue.enqueue(message(4))
    queue.now += 40 * 86_400_000
    return calls.sweep(queue.keys, queue.limits, now=queue.at)


def take_sample(queue: Queue) -> Call[Any]:
    taken(queue)
    return sample(queue.keys, queue.at)


def dead(queue: Queue) -> list[bytes]:
    queue.run(dead_letter(queue))
    return [message(1).id, message(2).id, message(3).id]


def redrive(queue: Queue) -> Call[Any]:
    return calls.redrive(queue.keys, dead(queue))


def discard(queue: Queue) -> Call[Any]:
    return calls.discard(queue.keys, dead(queue))


def discard_quarantined(queue: Queue) -> Call[Any]:
    return calls.discard(queue.keys, dead(queue)[::-1])


def redrive_quarantined(queue: Queue) -> Call[Any]:
    return calls.redrive(queue.keys, dead(queue)[::-1])


def pause(queue: Queue) -> Call[Any]:
    return calls.pause(queue.keys, True)


def resume(queue: Queue) -> Call[Any]:
    queue.run(pause(queue))
    return calls.pause(queue.keys, False)


def purge_ready(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, unique=KEY, explicit=True), message(2), message(3))
    queue.cancel(message(2).id)
    return purge(queue.keys, "ready", queue.keys.ready_for(0), queue.limits, limit=250, now=queue.at)


def purge_parked(queue: Queue) -> Call[Any]:
    queue.run(park(queue))
    return purge(queue.keys, "parked", queue.keys.parked_task("t"), queue.limits, task="t", limit=250, now=queue.at)


def purge_dead(queue: Queue) -> Call[Any]:
    dead(queue)
    return purge(queue.keys, "dead", queue.keys.dead, queue.limits, limit=250, now=queue.at)


def take_ready(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, unique=KEY, explicit=True), message(2), message(3))
    place = Place("r2", queue.keys.ready_for(0), 2)
    return take(queue.keys, place, "r", "t", "other", [message(1).id, message(3).id], queue.limits, queue.at)


def take_dead(queue: Queue) -> Call[Any]:
    place = Place("x", queue.keys.dead)
    return take(queue.keys, place, "x", "t", "other", dead(queue), queue.limits, queue.at)


def carried_batch(queue: Queue) -> Call[Any]:
    queue.run(take_ready(queue))
    return carried(queue.keys, "t", 2)


def remove_ready(queue: Queue) -> Call[Any]:
    queue.enqueue(message(1, unique=KEY, explicit=True), message(2), message(3))
    return remove(queue.keys, "r", [message(1).id, message(3).id], queue.limits, queue.at)


BUILDS: tuple[Build, ...] = (
    *(enqueue, lease, ack, nack, dead_letter, release, park, unpark, expire_parked, reclaim, extend),
    *(cancel_ready, cancel_delayed, cancel_held, promote, sweep, redrive, discard, pause, resume),
    *(purge_ready, purge_parked, purge_dead, discard_quarantined, redrive_quarantined, expire_parked_backwards),
    take_sample,
    *(take_ready, take_dead, carried_batch, remove_ready),
)
builds = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)


@builds
def test_a_wrong_type_at_any_key_is_told_before_anything_is_written(queue: Queue, build: Build) -> None:
    keys = build(queue).keys
    for key in keys:
        if key == queue.keys.none:
            continue
        queue.link.execute("FLUSHALL")
        queue.number = 0
        queue.seat = type(queue.seat)()
        call = build(queue)
        wrong = call.keys[keys.index(key)]
        queue.link.execute("DEL", wrong)
        queue.link.execute("SADD", wrong, "not ours")
        before = queue.dump()
        with pytest.raises(BrokerRefused, match="holds data of another type"):
            queue.run(call)
        assert queue.dump() == before, key


def test_a_plain_enqueue_checks_what_it_writes(queue: Queue) -> None:
    touched = [queue.keys.lane(queue.lane), queue.keys.meta, queue.keys.body, queue.keys.wake, queue.keys.ready_for(0)]
    for key in touched:
        queue.link.execute("SADD", key, "not ours")
        before = queue.dump()
        with pytest.raises(BrokerRefused, match="holds data of another type"):
            queue.run(queue.enqueue_call(message(1), number=1))
        assert queue.dump() == before
        queue.link.execute("DEL", key)
    assert queue.enqueue(message(1), number=1)[0].created


@pytest.fixture
def full(queue: Queue) -> Any:
    """A switch: from its call on, the server is at its memory limit."""
    yield lambda: queue.link.execute("CONFIG", "SET", "maxmemory", "1")
    queue.link.execute("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("build", BUILDS[1:], ids=lambda build: build.__name__)
def test_a_full_server_lets_everything_but_enqueue_run_to_its_end(
    queue: Queue, full: Callable[[], None], build: Build
) -> None:
    expected = outcome(queue, build, lambda: None)
    assert outcome(queue, build, full) == expected


def outcome(queue: Queue, build: Build, before_it_runs: Callable[[], object]) -> Any:
    """The reply and all keys after a script ran; random parts of tokens and nonces are masked."""
    queue.link.execute("FLUSHALL")
    queue.number, queue.lane = 0, b"lane" * 3
    queue.seat = type(queue.seat)(nonce=b"nonce...")
    start = queue.now
    call = build(queue)
    before_it_runs()
    reply = queue.link.execute(*call.full_command())
    dump = queue.dump()
    queue.now = start
    return shape(reply), {name: shape(value) for name, value in dump.items()}


def shape(value: Any) -> Any:
    """A value without the random half of its tokens."""
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, dict):
        return {shape(name): shape(item) for name, item in value.items()}
    if isinstance(value, bytes) and (at := value.find(b"nonce...")) >= 0:
        return value[: at + 12] + value[at + 20 :]
    return value


def test_settling_what_is_lost_works_on_a_full_server_too(queue: Queue, full: Callable[[], None]) -> None:
    queue.enqueue(message(1))
    delivery = queue.take()[0]
    queue.release(held(delivery))
    full()
    assert queue.ack(done(delivery), op=queue.seat.op("q", "ack")) == [delivery.id]
    assert queue.nack(retried(delivery), op=queue.seat.op("q", "nack")) == [delivery.id]
    assert queue.bury(buried(delivery), op=queue.seat.op("q", "bury")) == [delivery.id]
    assert len(queue.take()) == 1
    assert queue.take() == [], "and so does a lease that finds nothing"


FIGURES = {"meta", "wake", "stats", "recent"}
KEPT = {*FIGURES, "results", "results:due", "tombs"}
"""What may remain in a drained queue, beside lanes and workers, which have an expiry (docs/protocol.md)."""


def test_after_a_drain_only_what_is_capped_or_expires_remains(queue: Queue) -> None:
    for rounds in range(3):
        first = 100 * rounds
        queue.enqueue(*(message(first + n, unique=b"%016d" % n, explicit=True, expires=-(10**9)) for n in range(10)))
        queue.enqueue(*(message(first + 10 + n, priority=n % 5 - 2, due=-n) for n in range(20)))
        queue.now += 30
        queue.promote()
        queue.cancel(message(first + 12).id)
        one, two, three, four, *rest = queue.take()
        queue.nack(retried(one, line=b"{}"), retried(two, 5, line=b"{}"))
        queue.cancel(four.id)
        queue.bury(buried(three, result=b"x", result_ttl=10), buried(four))
        assert queue.discard(four.id) == 1
        queue.park(*((held(delivery), "t") for delivery in rest[:2]))
        queue.reclaim(rest[2].token, mode="crash", started=[rest[3].id])
        queue.seat = type(queue.seat)()
    queue.unpark("t")
    everything = [message(n).id for n in range(250)]
    for _ in range(5):
        queue.now += LEASE_MS
        queue.promote()
        for alone in (False, True):
            queue.ack(*(done(delivery, b"d1", 10) for delivery in queue.take(250, alone=alone)))
    assert not {found.state for found in queue.lookup(*everything)} & set("rdlp")
    assert queue.redrive(*everything) == 3
    queue.ack(*(done(delivery) for delivery in queue.take(250)))
    left = {name for name in queue.dump() if not name.startswith(("lane:", "worker:"))}
    assert left <= KEPT
    for name in set(queue.dump()) - left:
        assert queue.link.execute("PTTL", queue.keys.base + name) > 0
    queue.now += queue.limits.tombstone + 1
    queue.sweep()
    assert {name for name in queue.dump() if not name.startswith(("lane:", "worker:"))} <= FIGURES
