"""Tasks: still callable, and enqueued with what was said of them and of the call."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import RetryPolicy, TaskQ, loops
from taskq.errors import BrokerFull, ConfigError, InvalidArguments, InvalidOption, SerializationError
from taskq.middleware import around
from taskq.tasks.producer import Request
from taskq.tasks.task import AsyncTask, SyncTask
from tests.unit.notepad import Notepad


def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


async def aadd(a: int, b: int = 0) -> int:
    return a + b


def anything(value: Any) -> None: ...


@pytest.fixture
def app() -> TaskQ:
    return TaskQ("shop", url="redis://127.0.0.1:1")


@pytest.fixture
def pad(app: TaskQ) -> Iterator[Notepad]:
    pad = Notepad()
    with app.use_broker(pad):
        yield pad


async def test_a_task_is_called_like_its_function(app: TaskQ) -> None:
    task, atask = app.task(add), app.task(name="aadd")(aadd)
    assert (task(1, b=2), await atask(1, 2)) == (3, 3)
    assert (type(task), type(atask)) == (SyncTask, AsyncTask)
    assert (task.is_async, atask.is_async) == (False, True)
    assert (task.__doc__, task.__name__) == ("Add two numbers.", "add")
    assert repr(task) == f"SyncTask({__name__}.add in 'default')"


async def test_a_task_is_enqueued_with_its_options(app: TaskQ, pad: Notepad) -> None:
    task = app.task(queue="mail", name="add", timeout=5)(add)
    handle = await task.aenqueue(1, b=2)
    ((queue, message),) = pad.messages()
    assert (queue, message.task, message.args, message.kwargs) == ("mail", "add", [1], {"b": 2})
    assert message.options is None, "the worker knows its own options"
    assert (handle.queue, handle.task, handle.created) == ("mail", "add", True)
    assert handle.id == str(handle.id)
    assert len(handle.id) == 36


def test_options_hold_for_the_call_and_are_added_up(app: TaskQ, pad: Notepad) -> None:
    task = app.task(name="add", headers={"a": "1"})(add)
    sender = task.options(queue="slow", timeout=5).options(priority=2, headers={"b": "2"})
    sender.enqueue(1)
    task.enqueue(2)
    (_, message), (queue, untouched) = pad.messages()
    assert (message.options, message.headers) == ({"t": 5.0}, {"a": "1", "b": "2"})
    assert (pad.taken[0][0], pad.taken[0][1].priority) == ("slow", 2)
    assert (queue, untouched.options, untouched.headers) == ("default", None, {"a": "1"})
    assert repr(sender) == "Sender(add in 'slow', headers={'a': '1', 'b': '2'}, priority=2, timeout=5.0)"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delay": -1}, "delay=-1"),
        ({"priority": 3}, "priority=3"),
        ({"queue": "a{b}"}, "queue name"),
        ({"queue": ""}, "queue name"),
        ({"queue": "a\nb"}, "queue name"),
        ({"time_out": 1}, "did you mean 'timeout'"),
        ({"then": 5}, "then=5"),
        ({"delay": 1, "at": 5}, "delay= and at="),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(
    app: TaskQ, pad: Notepad, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        app.task(add).options(**options)
    assert not pad.taken


def test_a_bad_call_leaves_nothing_stored(app: TaskQ, pad: Notepad) -> None:
    task = app.task(add)
    bad: Any = "x"
    with pytest.raises(InvalidArguments, match="add"):
        task.enqueue(bad)
    with pytest.raises(InvalidArguments, match="call 1"):
        task.enqueue_many([(1,), bad])
    with pytest.raises(InvalidArguments, match="call 2"):
        task.enqueue_many([task.call(1), (2,), task.call(bad)])
    with pytest.raises(SerializationError, match=r"anything: .*args\[0\] is an object"):
        app.task(anything).enqueue(object())
    assert not pad.taken


def test_many_calls_are_a_batch_in_order(app: TaskQ, pad: Notepad) -> None:
    task = app.task(name="add")(add)
    batch = task.enqueue_many((number,) for number in range(2_500))
    assert pad.calls == [1_000, 1_000, 500]
    assert [message.args for _, message in pad.messages()] == [[number] for number in range(2_500)]
    assert (len(batch), batch.created, batch[7].id) == (2_500, 2_500, batch.ids[7])
    assert [handle.id for handle in batch[-2:]] == batch.ids[-2:]
    assert repr(batch) == "Batch(2500 messages in default)"
    assert len(task.enqueue_many([])) == 0


def test_tuples_take_the_bound_options_and_calls_keep_their_own(app: TaskQ, pad: Notepad) -> None:
    task = app.task(name="add")(add)
    slow = task.options(queue="slow")
    batch = slow.enqueue_many([(1,), task.call(2, b=3), task.options(queue="own").call(4)])
    assert [queue for queue, _ in pad.messages()] == ["slow", "slow", "own"]
    assert [handle.queue for handle in batch] == ["slow", "slow", "own"]


def test_calls_of_several_tasks_go_to_their_queues_and_come_back_in_order(app: TaskQ, pad: Notepad) -> None:
    first, second = app.task(name="first", queue="one")(add), app.task(name="second", queue="two")(aadd)
    batch = app.enqueue_many([first.call(1), second.call(2), first.call(3), app.remote("far", queue="two").call("x")])
    assert [(handle.queue, handle.task) for handle in batch] == [
        ("one", "first"),
        ("two", "second"),
        ("one", "first"),
        ("two", "far"),
    ]
    assert pad.calls == [2, 2]
    with pytest.raises(InvalidArguments, match=r"app.enqueue_many"):
        first.enqueue_many([second.call(1)])


def test_a_bulk_that_fails_midway_says_what_was_accepted(app: TaskQ) -> None:
    task = app.task(add)
    with app.use_broker(pad := Notepad(room=2_000)), pytest.raises(BrokerFull) as caught:
        task.enqueue_many([(number,) for number in range(3_000)])
    assert len(caught.value.accepted) == len(pad.taken) == 2_000


def test_a_taken_unique_key_gives_the_holder(app: TaskQ, pad: Notepad) -> None:
    task = app.task(add).options(unique="order-42")
    holder, late = task.enqueue(1), task.enqueue(2)
    assert (holder.created, late.created) == (True, False)
    assert late == holder
    assert repr(late).endswith("not created)")


def test_inside_an_event_loop_the_blocking_call_works_and_warns_once(
    app: TaskQ, pad: Notepad, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(loops, "_warned", set())
    task = app.task(add)

    async def main() -> None:
        task.enqueue(1)
        task.enqueue(2)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        task.enqueue(0)
        asyncio.run(main())
    assert len(pad.taken) == 3
    assert [str(warning.message) for warning in told if "aenqueue" in str(warning.message)] == [
        "enqueue() blocks the event loop that runs here while it talks to the broker: use `await aenqueue()`"
    ]
    assert told[0].filename == __file__


def test_middleware_sees_each_call_before_it_is_encoded(app: TaskQ, pad: Notepad) -> None:
    @app.middleware("enqueue")
    def trace(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        def handle(request: Request) -> Any:
            request.options = request.options.merge(headers={"trace": request.task})
            request.args = (request.args[0] * 10,)
            return handler(request)

        return handle

    task = app.task(name="add")(add)
    assert task.enqueue(1).created
    task.options(then=task.call(5)).enqueue_many([(2,), task.call(3)])
    messages = [message for _, message in pad.messages()]
    assert [(message.args, message.headers) for message in messages] == [
        ([number], {"trace": "add"}) for number in (10, 20, 30)
    ]
    assert [bool(message.options) for message in messages] == [False, True, True], "the follow-up stays"


async def test_middleware_fits_the_awaited_calls_as_well(app: TaskQ, pad: Notepad) -> None:
    seen: list[str] = []

    @app.middleware("enqueue")
    @around
    def log(request: Request) -> Any:
        seen.append("before")
        yield
        seen.append("after")

    task = app.task(add)
    await task.aenqueue(1)
    await task.aenqueue_many([(2,), (3,)])
    assert seen == ["before", "after"] * 3
    assert len(pad.taken) == 3


def test_middleware_that_holds_back_a_call_of_a_bulk_is_refused(app: TaskQ, pad: Notepad) -> None:
    @app.middleware("enqueue")
    def nothing(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        return lambda request: None

    with pytest.raises(ConfigError, match="held back"):
        app.task(add).enqueue_many([(1,)])
    assert not pad.taken


def test_a_task_has_its_own_hooks(app: TaskQ) -> None:
    task = app.task(add)

    @task.on_dead
    @task.on_failure
    def tell(incident: Any) -> None: ...

    assert task.hooks.dead == task.hooks.failure == [tell]
    with pytest.raises(ConfigError, match="a hook is a function"):
        task.on_dead(42)  # type: ignore[type-var]


def test_retry_of_a_task_may_name_exceptions_and_that_of_a_call_may_not(app: TaskQ) -> None:
    task = app.task(retry=RetryPolicy(on=OSError))(add)
    assert task.defaults.retry.on == (OSError,)
    with pytest.raises(InvalidOption, match="cannot travel"):
        task.options(retry=RetryPolicy(on=ValueError))


@pytest.mark.parametrize("seam", [None, "enqueue", "enqueue_many"])
def test_a_bulk_never_has_one_id_twice(seam: Any, app: TaskQ, pad: Notepad) -> None:
    if seam is not None:
        app.middleware(seam)(lambda handler: handler)
    task, other = app.task(add), app.task(name="other")(anything)
    named, again = task.options(id="k"), other.options(id="k")
    bulks: list[Any] = [[(1,), (2,)], [named.call(1), named.call(2)], [(1,), task.call(2)]]
    for bulk in bulks:
        with pytest.raises(InvalidOption, match="id='k' names one message"):
            named.enqueue_many(bulk)
        with pytest.raises(InvalidOption, match="id='k' names one message"):
            asyncio.run(named.aenqueue_many(bulk))
    text = "id='k' names one message in queue 'default', and calls 0 and 2 both have it: give each an id of its own"
    with pytest.raises(InvalidOption) as caught:
        app.enqueue_many([named.call(1), task.call(1), again.call(2)])
    assert str(caught.value) == text
    with pytest.raises(InvalidOption, match="calls 0 and 1 both have it"):
        asyncio.run(app.aenqueue_many([named.call(1), again.call(2)]))
    assert not pad.taken


def test_a_bulk_may_have_one_call_twice_with_its_id(app: TaskQ, pad: Notepad) -> None:
    task = app.task(add)
    named = task.options(id="k")
    app.enqueue_many([named.call(1), task.call(2), named.call(1)])
    assert len(pad.taken) == 3, "the broker takes each of them once"


def test_a_bulk_may_have_one_id_in_two_queues_and_one_unique_key_twice(app: TaskQ, pad: Notepad) -> None:
    task = app.task(add)
    calls = [task.options(id="k", queue=queue).call(1) for queue in ("mail", "images")]
    assert [handle.created for handle in app.enqueue_many(calls)] == [True, True]
    once = task.options(unique="u")
    assert [handle.created for handle in once.enqueue_many([once.call(1), once.call(2)])] == [True, False]
    assert len(pad.taken) == 4
