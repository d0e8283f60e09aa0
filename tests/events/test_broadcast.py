"""Broadcast: who listens hears it once, and whatever may have been missed is said (statement 59)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from taskq import Gap, Heard, TaskQ
from taskq.codec import JSON
from taskq.errors import InvalidName, SerializationError
from taskq.events.hearing import MOST_PUBLISHERS, Hearing, packed
from taskq.store.topic_keys import broadcast
from tests.events.kit import Noted, wait_until


@pytest.fixture
def noted() -> Noted:
    return Noted()


def test_s59_who_listens_hears_each_message_once_and_in_order(app: TaskQ, noted: Noted) -> None:
    flush = app.broadcast("cache.flush")
    gaps: list[Gap] = []
    assert flush.publish("nobody") == 0
    with flush.subscribe(noted.add, on_gap=gaps.append) as one, flush.subscribe() as two:
        for number in range(100):
            assert flush.publish({"n": number}) == 2
        assert noted.wait(100) == [Heard("cache.flush", {"n": number}) for number in range(100)]
        assert [next(two).value["n"] for _ in range(100)] == list(range(100))
        assert (one.tally.heard, one.tally.missed, gaps) == (100, 0, [])


def test_s59_a_connection_that_broke_is_a_gap_and_what_was_missed_is_counted(app: TaskQ, noted: Noted) -> None:
    news, gaps = app.broadcast("news"), Noted()
    link = app.events.links().sync
    with news.subscribe(noted.add, on_gap=gaps.add) as ears:
        news.publish(1)
        noted.wait(1)
        assert ears._ears is not None
        ears._ears._connect, connect = unable, ears._ears._connect
        link.execute("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: ears._hearing._was_lost)
        for number in range(2, 6):
            assert news.publish(number) == 0
        ears._ears._connect = connect
        assert gaps.wait(1) == [Gap("disconnected")]
        news.publish(6)
        assert [one.value for one in noted.wait(2)] == [1, 6]
        assert gaps.wait(2)[1] == Gap("numbers", "news", 4)
        assert (ears.tally.gaps, ears.tally.missed) == (2, 4)


def unable() -> object:
    raise ConnectionError("no way there")


def test_s59_a_listener_that_is_too_slow_is_cut_off_and_hears_of_it(app: TaskQ, noted: Noted) -> None:
    news, gaps, go = app.broadcast("news"), Noted(), threading.Event()
    link = app.events.links().sync
    link.execute("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 0")

    def slow(heard: Heard) -> None:
        noted.add(heard.value["n"])
        go.wait(60)

    try:
        with news.subscribe(slow, on_gap=gaps.add) as ears:
            number = 0
            while news.publish({"n": number, "x": "x" * 100_000}):
                number += 1
                assert number < 10_000
            go.set()
            assert Gap("disconnected") in gaps.wait(1)
            news.publish({"n": "last"})
            heard = noted.wait(lambda seen: seen[-1] == "last")
            wait_until(lambda: ears.tally.missed > 0)
    finally:
        link.execute("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")
        go.set()
    assert len(heard) + ears.tally.missed == number + 2, "what was not heard was counted"


def test_a_pattern_hears_its_channels_and_no_more(app: TaskQ, noted: Noted) -> None:
    with app.broadcast("cache.*").subscribe(lambda heard: noted.add((heard.channel, heard.value))):
        for name in ("cache.a", "cache.a.b", "cachet.a", "cache.b"):
            app.broadcast(name).publish(name)
        assert noted.wait(2) == [("cache.a", "cache.a"), ("cache.b", "cache.b")]
    with pytest.raises(InvalidName, match=r"'cache\.\*' is a pattern"):
        app.broadcast("cache.*").publish(1)


async def test_the_same_in_an_event_loop(app: TaskQ) -> None:
    news = app.broadcast("news")
    async with news.subscribe() as ears:
        await asyncio.gather(*(news.apublish(number) for number in range(50)))
        heard = [(await anext(ears)).value for _ in range(50)]
        assert sorted(heard) == list(range(50))
        assert (ears.tally.heard, ears.tally.gaps) == (50, 0)
        closing = asyncio.ensure_future(ears.aclose())
        assert [one async for one in ears] == []
        await closing


async def test_a_coroutine_handler_runs_in_the_loop(app: TaskQ) -> None:
    seen, done = [], asyncio.Event()

    async def handler(heard: Heard) -> None:
        seen.append((heard.value, asyncio.get_running_loop()))
        if heard.value == 1:
            raise SystemExit("the next one comes all the same")
        done.set()

    async with app.broadcast("news").subscribe(handler) as ears:
        await app.broadcast("news").apublish(1)
        await app.broadcast("news").apublish(2)
        async with asyncio.timeout(60):
            await done.wait()
    assert seen == [(1, asyncio.get_running_loop()), (2, asyncio.get_running_loop())]
    assert ears.tally.failed == 1


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_handler_that_fails_hears_the_next_one(app: TaskQ, noted: Noted, error: BaseException, kind: str) -> None:
    def handler(heard: Heard) -> None:
        noted.add(heard.value)
        raise error

    async def coroutine(heard: Heard) -> None:
        handler(heard)

    with app.broadcast("news").subscribe(handler if kind == "plain" else coroutine) as ears:
        app.broadcast("news").publish(1)
        app.broadcast("news").publish(2)
        assert noted.wait(2) == [1, 2]
        wait_until(lambda: ears.tally.failed == 2)


def test_what_others_say_there_is_counted_and_passed_over(app: TaskQ, noted: Noted) -> None:
    with app.broadcast("news").subscribe(noted.add) as ears:
        link = app.events.links().sync
        for data in (b"", b"hello", packed(b"12345678", 1, b"{"), packed(b"12345678", 1, b"1")[:-1]):
            link.execute("PUBLISH", broadcast(app.namespace, "news"), data)
        app.broadcast("news").publish("ours")
        assert noted.wait(1) == [Heard("news", "ours")]
        assert ears.tally.unreadable == 4


def test_a_value_that_cannot_be_stored_takes_no_number(app: TaskQ, noted: Noted) -> None:
    news = app.broadcast("news")
    with news.subscribe(noted.add) as ears:
        news.publish(1)
        with pytest.raises(SerializationError):
            news.publish({1, 2})
        news.publish(2)
        noted.wait(2)
        assert ears.tally.gaps == 0


def test_a_closed_subscription_says_nothing_more(app: TaskQ) -> None:
    ears = app.broadcast("news").subscribe().start()
    ears.close()
    assert list(ears) == []
    assert app.broadcast("news").publish(1) == 0


def test_each_publisher_has_numbers_of_its_own() -> None:
    hearing = Hearing(JSON)
    for number in (7, 8):
        assert hearing.message("c", packed(b"a" * 8, number, b"1"))[1] is None
        assert hearing.message("c", packed(b"b" * 8, number + 5, b"1"))[1] is None
        assert hearing.message("d", packed(b"a" * 8, number + 9, b"1"))[1] is None
    assert hearing.message("c", packed(b"a" * 8, 11, b"1"))[1] == Gap("numbers", "c", 2)
    assert hearing.tally.missed == 2
    for number in range(MOST_PUBLISHERS + 5):
        hearing.message("c", packed(number.to_bytes(8, "big"), 1, b"1"))
    assert len(hearing._last) == MOST_PUBLISHERS
