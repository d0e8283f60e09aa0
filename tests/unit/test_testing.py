"""`taskq.testing`: an app in memory, in this process, at the pace of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest

import taskq
from taskq import (
    Incident,
    InvalidArguments,
    Reject,
    ResultTimeout,
    ResultUnavailable,
    Retry,
    RetryPolicy,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskQ,
    around,
)
from taskq.errors import SerializationError, TaskqError
from taskq.tasks import inline
from taskq.testing import Memory, memory

app = TaskQ("testing")


@pytest.fixture
def q() -> Iterator[Memory]:
    with memory(app) as q:
        yield q


@dataclass
class Parcel:
    weight: float
    sent: date


@app.task
def weigh(parcel: Parcel) -> Parcel:
    assert isinstance(parcel, Parcel)
    return Parcel(parcel.weight * 2, parcel.sent + timedelta(days=1))


@app.task(queue="other")
async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@app.task(retry=RetryPolicy(max_attempts=3, base=60))
def third_time_lucky() -> int:
    attempt = taskq.current().attempt
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt}")
    return attempt


@app.task(retry=False)
def broken() -> None:
    raise ZeroDivisionError("broken")


# -- what was enqueued


def test_nothing_runs_before_it_is_told_to(q: Memory) -> None:
    handle = double.enqueue(21)
    assert handle.status() == "ready"
    q.run_until_idle()
    assert handle.status() == "done"
    assert handle.result() == 42


def test_what_was_enqueued_is_listed_with_its_options(q: Memory) -> None:
    options = double.options(delay=60, priority=2, unique="a", timeout=5, retry=2, expires=90)
    handle = options.enqueue(1)
    double.enqueue(number=2)
    first, second = q.enqueued
    assert (first.id, first.task, first.args, first.kwargs, first.queue) == (handle.id, double.name, (1,), {}, "other")
    assert first.options == {
        "delay": 60.0,
        "priority": 2,
        "unique": True,
        "timeout": 5.0,
        "retry": RetryPolicy(max_attempts=2),
        "expires": 90.0,
    }
    assert (second.kwargs, second.options) == ({"number": 2}, {})


def test_a_refused_call_is_not_listed(q: Memory) -> None:
    with pytest.raises(InvalidArguments):
        double.enqueue()  # type: ignore[call-arg]
    with pytest.raises(InvalidArguments):
        double.enqueue_many([(1,), (object(),)])
    assert q.enqueued == []


def test_arguments_and_results_go_through_the_codec(q: Memory) -> None:
    parcel = Parcel(1.5, date(2026, 11, 5))
    handle = weigh.enqueue(parcel)
    assert q.enqueued[0].args == (parcel,)
    assert q.enqueued[0].args[0] is not parcel
    assert handle.result() == Parcel(3.0, date(2026, 11, 6))


def test_a_batch_is_counted_and_read_in_order(q: Memory) -> None:
    batch = double.enqueue_many([(1,), (2,), (3,)])
    assert batch.counts() == {"ready": 3}
    q.run_until_idle()
    assert batch.wait() == {"done": 3}
    assert list(batch.results()) == [2, 4, 6]


def test_a_call_by_name_waits_for_a_worker_that_knows_it(q: Memory) -> None:
    handle = app.enqueue("somewhere.else", 1)
    q.run_until_idle()
    assert handle.status() == "parked"
    assert q.enqueued[0].task == "somewhere.else"

    @app.task(name="somewhere.else")
    def known_now(number: int) -> int:
        return number

    q.run_until_idle()
    assert handle.result() == 1


# -- failures


def test_a_retry_moves_the_clock_to_its_time(q: Memory) -> None:
    handle = third_time_lucky.enqueue()
    before = q.clock.monotonic()
    q.run_until_idle()
    assert handle.result() == 3
    assert q.clock.monotonic() - before == pytest.approx(60 * 0.75 + 120 * 0.75)


def test_the_exception_of_a_dead_letter_is_raised_where_the_test_is(q: Memory) -> None:
    handle, other = broken.enqueue(), double.enqueue(1)
    with pytest.raises(ZeroDivisionError, match="broken"):
        q.run_until_idle()
    assert handle.status() == "dead"
    q.run_until_idle()
    assert other.status() == "done"


def test_without_raise_errors_the_caller_of_the_result_sees_it(q: Memory) -> None:
    handle = broken.enqueue()
    q.run_until_idle(raise_errors=False)
    with pytest.raises(TaskFailed, match="ZeroDivisionError: broken"):
        handle.result()
    assert [attempt["kind"] for attempt in handle.info().history] == ["error"]


def test_signals_of_a_task_do_what_they_say(q: Memory) -> None:
    @app.task(name="signals")
    def signals(word: str) -> int:
        if word == "reject":
            raise Reject("never")
        if taskq.current().deliveries == 1:
            raise Retry(after=1_000, count_attempt=False)
        return taskq.current().attempt

    before = q.clock.monotonic()
    assert signals.enqueue("again").result() == 1
    assert q.clock.monotonic() - before == 1_000
    rejected = signals.enqueue("reject")
    with pytest.raises(Reject, match="never"):
        q.run_until_idle()
    assert rejected.status() == "dead"


def test_a_result_that_cannot_be_stored_is_a_dead_letter(q: Memory) -> None:
    @app.task(name="unstorable")
    def unstorable() -> Any:
        return object()

    handle = unstorable.enqueue()
    with pytest.raises(SerializationError):
        q.run_until_idle()
    assert handle.status() == "dead"


def test_arguments_that_no_longer_fit_are_a_dead_letter(q: Memory) -> None:
    handle = app.remote(double.name, queue="other").enqueue(1)
    app.enqueue("renamed", 1, 2, 3)

    @app.task(name="renamed")
    def renamed(one: int) -> None: ...

    with pytest.raises(TypeError):
        q.run_until_idle()
    assert handle.result() == 2


def test_hooks_hear_of_failures(q: Memory) -> None:
    heard: list[tuple[str, str, int]] = []
    mine = TaskQ("hooked")

    @mine.on_failure
    def failed(incident: Incident) -> None:
        heard.append(("failure", incident.failure.message, incident.failure.attempt))

    @mine.on_dead
    async def dead(incident: Incident) -> None:
        heard.append(("dead", incident.failure.message, incident.failure.attempt))

    with memory(mine) as own:

        @mine.task(retry=2)
        def fails() -> None:
            raise ValueError("no")

        fails.enqueue()
        own.run_until_idle(raise_errors=False)
    assert heard == [("failure", "no", 1), ("failure", "no", 2), ("dead", "no", 2)]


def test_a_task_that_enqueues_itself_for_ever_is_stopped(q: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "MOST_ATTEMPTS", 50)

    @app.task(name="forever")
    def forever() -> None:
        forever.enqueue()

    forever.enqueue()
    with pytest.raises(TaskqError, match="enqueue itself"):
        q.run_until_idle()


# -- time, uniqueness, follow-ups, cancelling


def test_a_delayed_message_waits_for_the_clock(q: Memory) -> None:
    handle = double.options(delay=3_600).enqueue(1)
    q.run_until_idle()
    assert handle.status() == "delayed"
    with pytest.raises(ResultTimeout, match=r"clock\.advance"):
        handle.result()
    q.clock.advance(3_599)
    q.run_until_idle()
    assert handle.status() == "delayed"
    q.clock.advance(1)
    assert handle.result() == 2


def test_an_expired_message_is_not_run(q: Memory) -> None:
    handle = double.options(expires=10).enqueue(1)
    q.clock.advance(11)
    with pytest.raises(TaskExpired):
        handle.result()


def test_larger_priorities_run_sooner(q: Memory) -> None:
    order: list[int] = []

    @app.task(name="note")
    def note(number: int) -> None:
        order.append(number)

    for number in (0, -2, 2, 1):
        note.options(priority=number).enqueue(number)
    q.run_until_idle()
    assert order == [2, 1, 0, -2]


def test_a_unique_key_is_held_until_the_message_is_over(q: Memory) -> None:
    one, two = (double.options(unique="k").enqueue(number) for number in (1, 2))
    assert (two.created, two) == (False, one)
    assert len(q.enqueued) == 1
    q.run_until_idle()
    assert double.options(unique="k").enqueue(3).created


def test_a_follow_up_is_listed_and_run(q: Memory) -> None:
    weigh.options(then=double.call(4)).enqueue(Parcel(1, date(2026, 1, 1)))
    assert [call.options for call in q.enqueued] == [{"then": double.name}]
    q.run_until_idle()
    assert [(call.task, call.args) for call in q.enqueued[1:]] == [(double.name, (4,))]
    assert app.handle(q.enqueued[1].id, "other").result() == 8


def test_cancelling(q: Memory) -> None:
    waiting = double.enqueue(1)
    assert waiting.cancel() == "cancelled"

    @app.task(name="suicidal")
    def suicidal() -> None:
        app.handle(taskq.current().id).cancel()
        taskq.current().check()

    running = suicidal.enqueue()
    q.run_until_idle()
    for handle in (waiting, running):
        with pytest.raises(TaskCancelled):
            handle.result()


def test_what_is_behind_cancelled_ones_is_run(q: Memory) -> None:
    handles = [double.enqueue(number) for number in range(4)]
    for handle in handles[:3]:
        handle.cancel()
    q.run_until_idle()
    assert handles[3].status() == "done"


def test_the_clock_does_not_move_for_a_retry_that_was_cancelled(q: Memory) -> None:
    handle = third_time_lucky.enqueue()

    @app.task(name="canceller")
    def canceller() -> None:
        handle.cancel()

    canceller.enqueue()
    before = q.clock.monotonic()
    q.run_until_idle()
    assert handle.status() == "cancelled"
    assert q.clock.monotonic() == before


def test_no_result_is_kept_without_a_ttl(q: Memory) -> None:
    handle = double.options(result_ttl=0).enqueue(1)
    q.run_until_idle()
    with pytest.raises(ResultUnavailable):
        handle.result()


# -- surroundings


def test_the_context_of_a_task(q: Memory) -> None:
    @app.task(name="looks", queue="look")
    def looks() -> list[Any]:
        me = taskq.current()
        me.progress(1, 2)
        return [me.id, me.task, me.queue, me.attempt, me.deliveries, me.fence > 0, me.headers]

    handle = looks.options(headers={"trace": "1"}).enqueue()
    assert handle.result() == [handle.id, "looks", "look", 1, 1, True, {"trace": "1"}]


def test_execute_middleware_is_around_the_task(q: Memory) -> None:
    seen: list[str] = []
    mine = TaskQ("wrapped")

    @mine.middleware("execute")
    @around
    def note(request: Any) -> Generator[None]:
        seen.append(f"before {request.task} {request.args}")
        yield
        seen.append("after")

    with memory(mine) as own:

        @mine.task(name="inner")
        async def inner(number: int) -> None:
            seen.append(f"run {number}")

        inner.enqueue(1)
        own.run_until_idle()
    assert seen == ["before inner [1]", "run 1", "after"]


@pytest.mark.parametrize("no_app", [5, None, TaskQ])
def test_memory_takes_an_app(no_app: Any) -> None:
    with pytest.raises(TaskqError, match=r"memory\(\) takes an app"), memory(no_app):
        pass


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf")])
def test_the_clock_takes_finite_steps(q: Memory, seconds: float) -> None:
    with pytest.raises(ValueError, match="give a finite number of seconds"):
        q.clock.advance(seconds)


def test_a_message_of_an_unknown_task_says_that_nobody_registered_it(q: Memory) -> None:
    @app.task(name="testing.known")
    def known() -> None: ...

    handle = app.enqueue("testing.knwon")
    with pytest.raises(ResultTimeout) as late:
        handle.result(timeout=1)
    assert "is parked: no task 'testing.knwon' is registered in this app (did you mean 'testing.known'?)" in str(
        late.value
    )
    assert "advance" not in str(late.value)
