"""The word of a running task is kept only while its lease is held."""

from __future__ import annotations

import pytest

from taskq.errors import BrokerRefused
from taskq.tasks.broker import Delivery
from taskq.tasks.progress import PROGRESS_TTL_MS, progress
from tests.lua.kit import Queue, done, held, message


@pytest.fixture
def one(queue: Queue) -> Delivery:
    queue.enqueue(message(1), message(2))
    return queue.take()[0]


def stored(queue: Queue, id: bytes) -> bytes | None:
    found: bytes | None = queue.link.execute("GET", queue.keys.progress(id))
    return found


def test_the_holder_is_heard_and_the_newest_word_counts(queue: Queue, one: Delivery) -> None:
    for word in (b"a", b"b", b"b"):
        assert queue.run(progress(queue.keys, one.token, one.id, word))
    assert stored(queue, one.id) == b"b"
    assert 0 < queue.link.execute("PTTL", queue.keys.progress(one.id)) <= PROGRESS_TTL_MS


def test_whoever_has_lost_the_lease_is_not(queue: Queue, one: Delivery) -> None:
    queue.release(held(one))
    assert not queue.run(progress(queue.keys, one.token, one.id, b"waits"))
    again = queue.take(1)[0]
    assert again.id == one.id
    before = queue.dump()
    assert not queue.run(progress(queue.keys, one.token, one.id, b"stale"))
    assert not queue.run(progress(queue.keys, b"t" * 20, b"nothing there...", b"stale"))
    assert queue.dump() == before
    assert queue.run(progress(queue.keys, again.token, one.id, b"fresh"))
    queue.ack(done(again))
    assert not queue.run(progress(queue.keys, again.token, one.id, b"too late"))
    assert stored(queue, one.id) == b"fresh"


@pytest.mark.parametrize("which", [0, 1])
def test_a_wrong_type_is_told_before_anything_is_written(queue: Queue, one: Delivery, which: int) -> None:
    call = progress(queue.keys, one.token, one.id, b"word")
    queue.link.execute("DEL", call.keys[which])
    queue.link.execute("SADD", call.keys[which], "not ours")
    before = queue.dump()
    with pytest.raises(BrokerRefused, match="holds data of another type"):
        queue.run(call)
    assert queue.dump() == before


def test_it_is_kept_on_a_full_server_too(queue: Queue, one: Delivery) -> None:
    queue.link.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        assert queue.run(progress(queue.keys, one.token, one.id, b"word"))
    finally:
        queue.link.execute("CONFIG", "SET", "maxmemory", "0")
