"""Replies that `taskq.testing` loses, and the time that it moves."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

import taskq
import taskq.clock
import taskq.testing
from taskq import EnqueueUnconfirmed, ResultUnavailable, RetryPolicy, TaskExpired, TaskQ
from taskq.errors import InvalidOption
from taskq.testing import Memory, memory

app = TaskQ("testing-replies")
runs: list[tuple[str, int, int]] = []


@pytest.fixture
def q() -> Iterator[Memory]:
    runs.clear()
    with memory(app) as q:
        yield q


@app.task(aliases=["old.charge"])
def charge(order: int) -> int:
    me = taskq.current()
    runs.append(("charge", order, me.crashes))
    return order * 2


@app.task(queue="async")
async def acharge(order: int) -> int:
    await asyncio.sleep(0)
    runs.append(("acharge", order, taskq.current().crashes))
    return order * 2


def test_a_lost_reply_is_one_message_with_the_id_and_two_without(q: Memory) -> None:
    with q.lose_reply(), pytest.raises(EnqueueUnconfirmed, match="may or may not") as caught:
        charge.enqueue(1)
    assert [call.id for call in q.enqueued] == [caught.value.id]
    again = charge.options(id=caught.value.id).enqueue(1)
    assert (again.id, again.created, len(q.enqueued)) == (caught.value.id, True, 1)
    charge.enqueue(1)
    q.run_until_idle()
    assert runs == [("charge", 1, 0)] * 2


def test_the_answer_that_was_lost_comes_even_when_the_message_is_over(q: Memory) -> None:
    with q.lose_reply(), pytest.raises(EnqueueUnconfirmed) as caught:
        charge.enqueue(1)
    q.run_until_idle()
    again = charge.options(id=caught.value.id).enqueue(1)
    assert (again.created, again.status(), runs) == (True, "done", [("charge", 1, 0)])


def test_a_reply_lost_twice_is_one_message(q: Memory) -> None:
    name = None
    with q.lose_reply(times=2):
        for _ in range(2):
            with pytest.raises(EnqueueUnconfirmed) as caught:
                charge.options(id=name).enqueue(1)
            name = caught.value.id
    assert charge.options(id=name).enqueue(1).created
    assert [call.id for call in q.enqueued] == [name]


def test_the_answer_of_a_unique_key_is_kept_too(q: Memory) -> None:
    holder = charge.options(unique="k").enqueue(1)
    with q.lose_reply(), pytest.raises(EnqueueUnconfirmed) as caught:
        charge.options(unique="k").enqueue(2)
    q.run_until_idle()
    again = charge.options(unique="k", id=caught.value.id).enqueue(2)
    assert (again.id, again.created) == (holder.id, False)


def test_only_the_named_task_loses_its_reply(q: Memory) -> None:
    with q.lose_reply("old.charge"):
        acharge.enqueue(1)
        with pytest.raises(EnqueueUnconfirmed):
            charge.enqueue(2)
    with q.lose_reply("elsewhere.task"):
        charge.enqueue(3)
        with pytest.raises(EnqueueUnconfirmed):
            app.enqueue("elsewhere.task")
    assert len(q.enqueued) == 4


async def test_a_lost_reply_in_an_event_loop(q: Memory) -> None:
    with q.lose_reply(), pytest.raises(EnqueueUnconfirmed) as caught:
        await charge.aenqueue(1)
    again = await charge.options(id=caught.value.id).aenqueue(1)
    await q.arun_until_idle()
    assert (await again.aresult(), len(runs)) == (2, 1)


def test_a_bulk_whose_first_replies_are_lost(q: Memory) -> None:
    with q.lose_reply(), pytest.raises(EnqueueUnconfirmed) as caught:
        charge.enqueue_many([(number,) for number in range(1_500)])
    assert len(caught.value.ids) == 1_000
    assert caught.value.accepted == ()
    assert [call.id for call in q.enqueued] == list(caught.value.ids), "the rest was not sent"
    again = app.enqueue_many([charge.options(id=one).call(at) for at, one in enumerate(caught.value.ids)])
    assert len(again) == len(q.enqueued) == 1_000


def test_an_unconfirmed_enqueue_is_remembered_for_half_an_hour(q: Memory) -> None:
    with q.lose_reply(), pytest.raises(EnqueueUnconfirmed) as caught:
        charge.options(delay=7_200).enqueue(1)
    q.clock.advance(1_801)
    again = charge.options(id=caught.value.id, delay=7_200).enqueue(1)
    assert (again.created, len(q.enqueued)) == (False, 1), "it is found by its id, as long as it is there"


def test_a_reply_lost_inside_a_task_is_the_tasks_error(q: Memory) -> None:
    @app.task(name="orders", retry=RetryPolicy(max_attempts=2, base=1))
    def orders() -> None:
        charge.enqueue(1)

    orders.enqueue()
    with q.lose_reply(charge):
        q.run_until_idle()
    assert len(runs) == 2


def test_a_follow_up_loses_no_reply(q: Memory) -> None:
    charge.options(then=acharge.call(1)).enqueue(1)
    with pytest.raises(AssertionError, match=r"lose_reply\(\) fired 0 of 1 times"), q.lose_reply():
        q.run_until_idle()
    assert len(runs) == 2


# -- time


def test_the_clock_is_set_to_a_moment(q: Memory) -> None:
    tomorrow = q.clock.now() + timedelta(days=1)
    handle = charge.options(at=tomorrow).enqueue(1)
    q.clock.set(tomorrow - timedelta(seconds=1))
    assert handle.status() == "delayed"
    q.clock.set(tomorrow)
    assert handle.status() == "ready"
    with pytest.raises(ValueError, match="does not go back"):
        q.clock.set(tomorrow - timedelta(seconds=1))
    with pytest.raises(InvalidOption, match="time zone"):
        q.clock.set(datetime(2099, 1, 1))  # noqa: DTZ001
    q.clock.set(datetime(2099, 1, 1, tzinfo=UTC).timestamp())
    assert q.clock.now() == datetime(2099, 1, 1, tzinfo=UTC)


def test_all_that_is_kept_for_a_time_ends_with_it(q: Memory) -> None:
    gone = charge.options(expires=20).enqueue(2)
    q.clock.advance(21)
    done = charge.options(result_ttl=60).enqueue(1)
    named = charge.options(id="order-1", delay=3_600).enqueue(3)
    q.run_until_idle()
    q.clock.advance(59)
    assert done.status() == "done"
    assert not charge.options(id="order-1").enqueue(3).created
    with pytest.raises(TaskExpired):
        gone.result()
    q.clock.advance(1)
    assert done.status() == "unknown"
    with pytest.raises(ResultUnavailable):
        done.result()
    q.clock.advance(3_600)
    assert named.result() == 6
    q.clock.advance(86_399)
    assert not charge.options(id="order-1").enqueue(3).created, "its tombstone stands for a day"
    q.clock.advance(1)
    assert charge.options(id="order-1").enqueue(3).created


def test_a_task_that_moves_the_clock_keeps_its_lease(q: Memory) -> None:
    @app.task(name="slow")
    def slow() -> str:
        q.clock.advance(3_600)
        charge.enqueue(1).result()
        return app.handle(taskq.current().id).status()

    assert slow.enqueue().result() == "running"
    assert len(runs) == 1


@pytest.mark.parametrize("module", [taskq.testing, taskq.clock], ids=lambda module: module.__name__)
def test_the_examples_run(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 3
    assert outcome.failed == 0
