"""What cannot be meant as a schedule is refused by one clear sentence, before anything is stored or declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import TaskQ
from taskq.bridge import entry_of
from taskq.errors import (
    ConfigError,
    DuplicateTask,
    InvalidArguments,
    InvalidName,
    InvalidOption,
    SerializationError,
    TaskqError,
    UnknownTask,
)

BAD: dict[str, tuple[dict[str, Any], type[TaskqError], str]] = {
    "bad cron text": ({"cron": "61 * * * *"}, InvalidOption, "'61' is no minute: those are 0 to 59"),
    "six fields": ({"cron": "* * * * * *"}, InvalidOption, "say seconds=True"),
    "a date that never comes": ({"cron": "0 0 30 2 *"}, InvalidOption, "this date never comes"),
    "unknown zone": ({"cron": "* * * * *", "tz": "Europe/Atlantis"}, InvalidOption, "no time zone"),
    "a zone of the host": (
        {"cron": "* * * * *", "tz": "localtime"},
        InvalidOption,
        "from host to host",
    ),
    "end before start": (
        {"every": 60, "start": datetime(2027, 1, 2, tzinfo=UTC), "end": datetime(2027, 1, 1, tzinfo=UTC)},
        InvalidOption,
        "end= is 86400 s before start=",
    ),
    "no slot between": (
        {"cron": "0 0 1 1 *", "start": datetime(2027, 1, 2, tzinfo=UTC), "end": datetime(2027, 2, 1, tzinfo=UTC)},
        InvalidOption,
        "no slot lies between start= and end=",
    ),
    "negative interval": ({"every": -30}, InvalidOption, "a duration is not negative"),
    "no interval": ({"every": 0}, InvalidOption, "at least 1 second"),
    "too long an interval": ({"every": timedelta(days=9_999)}, InvalidOption, "at most ten years"),
    "neither": ({}, InvalidOption, "neither a cron line nor every="),
    "both": ({"cron": "* * * * *", "every": 5}, InvalidOption, "a cron line and every="),
    "a zone of an interval": ({"every": 5, "tz": "Europe/Berlin"}, InvalidOption, "tz= belongs to a cron line"),
    "seconds of an interval": ({"every": 5, "seconds": True}, InvalidOption, "seconds= belongs to a cron line"),
    "seconds that are none": ({"cron": "* * * * *", "seconds": "yes"}, InvalidOption, "seconds='yes'"),
    "naive start": ({"every": 5, "start": datetime(2027, 1, 1)}, InvalidOption, "has no time zone"),  # noqa: DTZ001
    "missed": ({"every": 5, "missed": "none"}, InvalidOption, "missed='none': give 'latest', 'all' or 'skip'"),
    "overlap": ({"every": 5, "overlap": "wait"}, InvalidOption, "overlap='wait': give"),
    "cap": ({"every": 5, "cap": 0}, InvalidOption, "cap=0"),
    "jitter": ({"every": 5, "jitter": -1}, InvalidOption, "jitter=-1"),
    "arguments that do not fit": (
        {"every": 5, "args": (1, 2, 3)},
        InvalidArguments,
        f": args= and kwargs=: {__name__}.report(size): it takes 1 positional argument, 3 were given",
    ),
    "arguments that cannot be stored": (
        {"every": 5, "args": (object(),)},
        SerializationError,
        f": args= and kwargs=: {__name__}.report: args[0]",
    ),
    "arguments that are none": ({"every": 5, "args": "ab"}, InvalidOption, "args='ab': give a tuple"),
    "named arguments that are none": ({"every": 5, "kwargs": 5}, InvalidOption, "kwargs=5: give a dict"),
    "an empty list for them": ({"every": 5, "kwargs": []}, InvalidOption, "kwargs=[]: give a dict"),
    "queue": ({"every": 5, "queue": "a b"}, InvalidName, "'a b'"),
    "an option that there is not": ({"every": 5, "misse": "all"}, InvalidOption, "did you mean 'missed'?"),
}


def needy(a: int) -> None: ...


def report(size: Any = 1) -> None:
    """A task of the tests."""


@pytest.fixture
def app() -> TaskQ:
    """An app whose broker cannot be reached: what needs it raises another error than these."""
    app = TaskQ("shop", url="redis://127.0.0.1:1/0")
    app.task(report)
    return app


@pytest.mark.parametrize("name", BAD)
def test_add_refuses(app: TaskQ, name: str) -> None:
    said, error, text = BAD[name]
    with pytest.raises(error) as caught:
        app.schedules.add("nightly", app.tasks[report_name()], **said)
    _one_sentence(caught.value, text)


@pytest.mark.parametrize("name", BAD)
async def test_its_twin_refuses(app: TaskQ, name: str) -> None:
    said, error, text = BAD[name]
    with pytest.raises(error) as caught:
        await app.schedules.aadd("nightly", app.tasks[report_name()], **said)
    _one_sentence(caught.value, text)


@pytest.mark.parametrize("name", BAD)
def test_periodic_refuses(app: TaskQ, name: str) -> None:
    said, error, text = BAD[name]
    options = dict(said)
    cron = options.pop("cron", None)
    with pytest.raises(error) as caught:
        app.periodic(cron, **options)(app.tasks[report_name()])
    _one_sentence(caught.value, text)
    assert app.schedules.declared() == ()


def report_name() -> str:
    return f"{report.__module__}.report"


def _one_sentence(error: TaskqError, text: str) -> None:
    assert text in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda app: app.schedules.add("x", "shop.nope", every=5),
            UnknownTask,
            "registered in this app, not 'shop.nope'",
        ),
        (lambda app: app.schedules.add("x", report, every=5), UnknownTask, "registered in this app, not <function"),
        (lambda app: app.schedules.add("a b", report_name(), every=5), InvalidName, "schedule name 'a b' is not valid"),
        (lambda app: app.schedules.add(5, report_name(), every=5), InvalidName, "schedule name 5 is not valid"),
        (lambda app: app.schedules.add("--json", report_name(), every=5), InvalidName, "no '-' first"),
        (lambda app: app.periodic(every=5, name="")(app.tasks[report_name()]), InvalidName, "schedule name '' is not"),
        (lambda app: app.schedules.update("x", name="y"), InvalidOption, "there is no option 'name' of a schedule"),
        (lambda app: app.schedules.update("x"), InvalidOption, "update() changes nothing"),
        (lambda app: app.schedules.update("x", evry=5), InvalidOption, "did you mean 'every'?"),
        (lambda app: app.schedules.update("x", task="shop.nope"), UnknownTask, "registered in this app"),
        (lambda app: app.schedules.update("x", queue="a b"), InvalidName, "'a b'"),
        (lambda app: app.periodic(report), InvalidOption, "write @app.periodic('*/5 * * * *')"),
        (lambda app: app.periodic(5), InvalidOption, "write @app.periodic('*/5 * * * *')"),
    ],
)
def test_other_things_that_cannot_be_meant(
    app: TaskQ, call: Callable[[TaskQ], object], error: type[TaskqError], text: str
) -> None:
    with pytest.raises(error) as caught:
        call(app)
    _one_sentence(caught.value, text)


def test_what_is_for_one_call_is_not_for_a_schedule(app: TaskQ) -> None:
    once = app.task(name="once", unique="only")(single)
    with pytest.raises(InvalidOption, match="unique= is for one call, and a schedule makes many: overlap="):
        app.periodic(every=5)(once)
    dated = app.task(name="dated", expires=datetime(2030, 1, 1, tzinfo=UTC))(other)
    with pytest.raises(InvalidOption, match="expires= of a schedule is a duration"):
        app.periodic(every=5)(dated)


def single() -> None:
    """Another task of the tests."""


def other() -> None:
    """And another."""


def test_missing_arguments_are_told_as_those_of_the_schedule(app: TaskQ) -> None:
    with pytest.raises(InvalidArguments) as caught:
        app.periodic(every=30)(app.task(name="needy")(needy))
    assert str(caught.value) == "schedule needy: args= and kwargs=: needy(a): missing 'a'"


def test_a_call_that_a_bridge_made_is_told_as_such(app: TaskQ) -> None:
    task: Any = app.tasks[report_name()]
    with pytest.raises(InvalidArguments, match=r"^call: .*report\(size\): it takes 1 positional argument"):
        entry_of(task.call(1, 2))
    wrong: Any = 5
    with pytest.raises(InvalidOption, match=r"^call=5: give a call, like task\.call\(1\)$"):
        entry_of(wrong)


def test_a_name_is_declared_once(app: TaskQ) -> None:
    task = app.tasks[report_name()]
    app.periodic(every=5)(task)
    app.periodic(every=5)(task)
    with pytest.raises(DuplicateTask, match="is declared twice; give one of them another name="):
        app.periodic(every=6)(task)
    app.periodic(every=6, name="other")(task)
    assert [one.name for one in app.schedules.declared()] == [report_name(), "other"]


def test_a_task_of_another_app_is_told(app: TaskQ) -> None:
    with pytest.raises(UnknownTask, match="its task is not registered in this app, but in another one"):
        TaskQ("other").periodic(every=5)(app.tasks[report_name()])


def test_schedules_need_a_server() -> None:
    app = TaskQ("shop", url="memory://")
    app.task(report)
    with pytest.raises(ConfigError, match="schedules are kept on a server"):
        app.schedules.add("x", report_name(), every=5)
    with pytest.raises(ConfigError, match="schedules are kept on a server"):
        app.schedules.list()
