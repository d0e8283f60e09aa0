"""Input that cannot be meant: one clear error each, naming what was given, before anything leaves this process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from taskq import Queue, RetryPolicy, TaskQ
from taskq.errors import (
    EventLoopRunning,
    InvalidArguments,
    InvalidName,
    InvalidOption,
    PayloadTooLarge,
    SerializationError,
    TaskqError,
)
from taskq.testing import Memory, memory

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 -- naive on purpose

app = TaskQ("bad")


@app.task
def add(a: int, b: int = 2) -> int:
    return a + b


@app.task(queue="mail")
def send(to: str, *, subject: str = "") -> str:
    return to + subject


@app.task
def anything(value: Any) -> Any:
    return value


def plain(a: int) -> int:
    return a


@pytest.fixture
def q() -> Iterator[Memory]:
    with memory(app) as made:
        yield made


class Case(NamedTuple):
    call: Callable[[], Any]
    error: type[TaskqError]
    text: str


def refused(case: Case, q: Memory) -> None:
    """The one error says it, in one line, and nothing was stored."""
    with pytest.raises(case.error) as caught:
        case.call()
    assert type(caught.value) is case.error
    assert case.text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not q.enqueued


# -- arguments of a call -----------------------------------------------------------------------------------------------

any_add: Any = add
any_send: Any = send

ARGUMENTS = {
    "none": Case(lambda: any_add.enqueue(), InvalidArguments, ".add(a, b): missing 'a'"),
    "too many": Case(
        lambda: any_add.enqueue(1, 2, 3), InvalidArguments, "it takes 2 positional arguments, 3 were given"
    ),
    "twice": Case(lambda: any_add.enqueue(1, a=2), InvalidArguments, "'a' was given twice, by position and by name"),
    "type": Case(lambda: any_add.enqueue("x"), InvalidArguments, "a: 'x' (str) does not fit int"),
    "None": Case(lambda: any_add.enqueue(None), InvalidArguments, "a: None (NoneType) does not fit int"),
    "by name only": Case(lambda: any_send.enqueue("a", "b"), InvalidArguments, "it takes 1 positional argument"),
    "typo": Case(lambda: any_send.enqueue("a", subjet="b"), InvalidArguments, "(did you mean 'subject'?)"),
    "option": Case(lambda: any_add.enqueue(1, delay=5), InvalidArguments, ".options(delay=...).enqueue(...)"),
    "call of many": Case(lambda: any_add.enqueue_many([(1,), ("x",)]), InvalidArguments, "call 1: "),
    "call with options": Case(
        lambda: any_add.options(priority=1).enqueue_many([(1,), ("x",)]), InvalidArguments, "call 1: "
    ),
    "no tuples": Case(lambda: any_add.enqueue_many([1, 2]), InvalidArguments, "give tuples of arguments like (1,)"),
    "a text of calls": Case(lambda: any_add.enqueue_many("ab"), InvalidArguments, "call 0 of "),
    "no calls": Case(lambda: any_add.enqueue_many(None), InvalidArguments, "enqueue_many takes many calls, not None"),
    "tuples for any": Case(lambda: app.enqueue_many([(1,)]), InvalidArguments, "give calls, like task.call(1)"),  # type: ignore[list-item]
    "another task's": Case(lambda: any_add.enqueue_many([send.call("a")]), InvalidArguments, "app.enqueue_many does"),
    "then": Case(
        lambda: add.options(then=any_add.call("x")).enqueue(1), InvalidArguments, "then: tests.unit.test_bad_input.add"
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_that_the_function_would_not_take(case: Case, q: Memory) -> None:
    refused(case, q)


# -- values that cannot be stored --------------------------------------------------------------------------------------


def circular() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


def deep() -> list[Any]:
    outer: list[Any] = []
    for _ in range(10_000):
        outer = [outer]
    return outer


class Rude:
    def __repr__(self) -> str:
        raise ValueError("no repr")


VALUES = {
    "nan": (math.nan, "args[0] is nan"),
    "inf": (math.inf, "args[0] is inf"),
    "object": ({"a": [1, {"b": object()}]}, "args[0].a[1].b is an object"),
    "repr": (Rude(), "args[0] is a Rude"),
    "set": ({1}, "args[0] is a set"),
    "function": (plain, "args[0] is a function"),
    "circular": (circular(), "contains itself"),
    "deep": (deep(), "nested more than 100 levels deep"),
    "bytes": (b"\xff", "args[0] is a bytes"),
    "big": (10**5_000, "an int beyond 64 bits: pass it as str"),
    "surrogate": ("\ud800", "half a surrogate pair"),
    "moment": (datetime.now(UTC), "annotate the parameter with its type"),
    "key": ({1: 2}, "has the key 1, but keys are str"),
}


@pytest.mark.parametrize(("value", "text"), VALUES.values(), ids=VALUES)
def test_values_that_cannot_be_stored(value: Any, text: str, q: Memory) -> None:
    refused(Case(lambda: anything.enqueue(value), SerializationError, text), q)
    refused(Case(lambda: anything.enqueue_many([(1,), (value,)]), SerializationError, "call 1: "), q)


def test_arguments_that_are_too_large(q: Memory) -> None:
    refused(Case(lambda: anything.enqueue("x" * 2_000_000), PayloadTooLarge, "2,000,00"), q)


# -- options -----------------------------------------------------------------------------------------------------------

DURATION = "a duration is seconds (int or float) or a timedelta"
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "typo": ({"time_out": 5}, "there is no option 'time_out' (did you mean 'timeout'?)"),
    "retries of others": ({"max_retries": 3}, "there is no option 'max_retries': give retry=, the number of attempts"),
    "attempts of others": ({"max_attempts": 3}, "'max_attempts': give retry=RetryPolicy(max_attempts=...)"),
    "delay of others": ({"countdown": 3}, "'countdown': give delay=, in seconds"),
    "moment of others": ({"eta": 3}, "'eta': give at=, an aware datetime, or delay=, in seconds"),
    "self of others": ({"bind": True}, "'bind': the running task asks taskq.current()"),
    "typo of then": ({"thn": add.call(1)}, "there is no option 'thn' (did you mean 'then'?)"),
    "priority": ({"priority": 3}, "priority=3: give a whole number from -2 to 2"),
    "bool priority": ({"priority": True}, "priority=True"),
    "negative delay": ({"delay": -1}, "delay=-1: a duration is not negative"),
    "negative timedelta": ({"delay": timedelta(seconds=-1)}, "a duration is not negative"),
    "nan delay": ({"delay": math.nan}, "delay=nan is not a number of seconds"),
    "inf delay": ({"delay": math.inf}, "delay=inf: a duration is at most ten years"),
    "bool delay": ({"delay": True}, f"delay=True: {DURATION}"),
    "text delay": ({"delay": "5"}, f"delay='5': {DURATION}"),
    "moment as delay": ({"delay": datetime.now(UTC)}, DURATION),
    "naive at": ({"at": NAIVE}, "has no time zone: add tzinfo="),
    "negative at": ({"at": -1}, "at=-1 is outside the years 1970 to 2100"),
    "nan at": ({"at": math.nan}, "at=nan is outside"),
    "bool at": ({"at": True}, "at=True: give an aware datetime, or seconds since 1970"),
    "date at": ({"at": date(2026, 1, 1)}, "give an aware datetime"),
    "milliseconds at": ({"at": 1.7e12}, "numbers are seconds since 1970"),
    "delay and at": ({"delay": 1, "at": 1e9}, "delay= and at= both say when: give one of them"),
    "negative expires": ({"expires": -1}, "expires=-1: a duration is not negative"),
    "zero expires": ({"expires": 0}, "expires=0 leaves no time to run"),
    "nan expires": ({"expires": math.nan}, "expires=nan is not a number of seconds"),
    "bool expires": ({"expires": True}, f"expires=True: {DURATION}"),
    "naive expires": ({"expires": NAIVE}, "has no time zone"),
    "timeout": ({"timeout": 0}, "timeout=0 leaves no time to run; None is 'no limit'"),
    "limits": ({"timeout": 10, "hard_timeout": 5}, "hard_timeout=5 comes before timeout=10"),
    "no attempts": ({"retry": 0}, "retry=False is 'run once'"),
    "a class as retry": ({"retry": RetryPolicy}, "give a RetryPolicy, a number of attempts, or False"),
    "result_ttl": ({"result_ttl": None}, f"result_ttl=None: {DURATION}"),
    "max_result": ({"max_result": 0}, "max_result=0: give a whole number from 1"),
    "empty id": ({"id": ""}, "id='': give a text of 1 to 512 bytes"),
    "int id": ({"id": 5}, "id=5: give a text"),
    "long unique": ({"unique": "x" * 600}, "give a text of 1 to 512 bytes"),
    "half a pair": ({"unique": "\ud800"}, "give a text of 1 to 512 bytes"),
    "delivery": ({"delivery": "exactly_once"}, "give 'at_least_once' or 'at_most_once'"),
    "headers": ({"headers": [("a", "b")]}, "give a dict of str to str"),
    "header": ({"headers": {"a": 5}}, "headers: 'a': 5 is not str to str"),
    "long headers": ({"headers": {"a": "x" * 9_000}}, "headers have 9001 bytes, 8192 are allowed"),
    "a task as then": ({"then": add}, "give a call, like then=task.call(1)"),
}


@pytest.mark.parametrize(("options", "text"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_cannot_be_meant(options: dict[str, Any], text: str, q: Memory) -> None:
    refused(Case(lambda: add.options(**options).enqueue(1), InvalidOption, text), q)


def test_one_id_for_many_messages(q: Memory) -> None:
    refused(Case(lambda: add.options(id="z").enqueue_many([(1,), (2,)]), InvalidOption, "id='z' names one message"), q)


@pytest.mark.parametrize("name", ["", "a{b}", "a\nb", "größe", "x" * 300, "a b", "a:b", "-x", None, 5, b"x"])
def test_queue_names_outside_the_rule(name: Any, q: Memory) -> None:
    text = "is not valid: use 1 to 128 ASCII letters, digits, '_', '-' or '.', and a letter or digit first"
    refused(Case(lambda: add.options(queue=name).enqueue(1), InvalidName, text), q)
    refused(Case(lambda: app.handle("x", name), InvalidName, text), q)
    refused(Case(lambda: TaskQ(name), InvalidName, text), q)
    refused(Case(lambda: app.task(queue=name)(plain), InvalidName, f"task {__name__}.plain: queue name"), q)


def test_a_queue_is_named_where_a_task_is_told_its_own(q: Memory) -> None:
    declared: Any = Queue("audit", transport="stream")
    text = "give its name here, queue='audit', and the Queue in TaskQ(queues=[...])"
    refused(Case(lambda: app.task(queue=declared)(plain), InvalidName, text), q)
    refused(Case(lambda: add.options(queue=declared).enqueue(1), InvalidName, text), q)
    refused(Case(lambda: app.remote("shop.send", queue=declared).enqueue(1), InvalidName, text), q)


@pytest.mark.parametrize("name", ["", "a b", "a..b", None, add, "n" * 300])
def test_task_names_outside_the_rule(name: Any, q: Memory) -> None:
    refused(Case(lambda: app.enqueue(name, 1), InvalidName, "task name "), q)


# -- event loops and handles -------------------------------------------------------------------------------------------


async def test_waiting_inside_an_event_loop_is_refused(q: Memory) -> None:
    handle = await add.aenqueue(1)
    with pytest.raises(EventLoopRunning, match=r"use `await handle\.aresult\(\)`"):
        handle.result()
    batch = await add.aenqueue_many([(1,)])
    with pytest.raises(EventLoopRunning, match=r"use `await batch\.await_all\(\)`"):
        batch.wait()


def test_enqueueing_inside_an_event_loop_works_and_warns_once(q: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.loops._warned", set())  # once a process: another test may have had the warning

    async def loop() -> None:
        for number in range(3):
            add.enqueue(number)
        await asyncio.sleep(0)

    with pytest.warns(RuntimeWarning, match="use `await aenqueue") as caught:
        asyncio.run(loop())
    assert len(caught) == 1
    assert len(q.enqueued) == 3


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", True])
def test_time_outs_that_cannot_be_meant(timeout: Any, q: Memory) -> None:
    handle = add.enqueue(1)
    with pytest.raises(InvalidOption, match="timeout="):
        handle.result(timeout=timeout)


@pytest.mark.parametrize("id", ["", None, 5, b"x" * 16])
def test_ids_that_cannot_be_meant(id: Any, q: Memory) -> None:
    with pytest.raises(InvalidOption, match="id="):
        app.handle(id)


def test_a_handle_of_an_unknown_message_shows_what_it_knows(q: Memory) -> None:
    handle = app.handle("2d83a4bb-a3d2-487c-a63a-75dbb5fbdeb5", "mail")
    assert repr(handle) == "Handle(2d83a4bb-a3d2-487c-a63a-75dbb5fbdeb5 in 'mail')"
    assert (handle.status(), handle.cancel()) == ("unknown", "too_late")
