"""docs/reference.md tells of each option, method and error what the code has: names, defaults, where it may be said."""

from __future__ import annotations

import inspect
import math
import pickle
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

import taskq
from taskq import AppOptions, Batch, Handle, Queue, Retain, RetryPolicy, TaskQ, errors
from taskq.control import Control
from taskq.inspector import Inspector
from taskq.middleware import Middlewares, Seam
from taskq.options import HARD_GRACE, HARD_LIMIT, TaskOptions
from taskq.tasks.app import TaskOverrides
from taskq.tasks.context import Context
from taskq.tasks.failure import Failure
from taskq.tasks.hooks import Incident
from taskq.tasks.policy import decide
from taskq.tasks.schedules import Schedules
from taskq.tasks.task import CallOptions, Sender
from taskq.testing import memory

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference.md").read_text("utf-8")
NO_DEFAULT = inspect.Parameter.empty
SAMPLES: dict[str, Any] = {
    "queue": "mail",
    "priority": 2,
    "delay": timedelta(seconds=1),
    "at": datetime(2026, 5, 1, tzinfo=UTC),
    "expires": 60,
    "timeout": 5,
    "hard_timeout": None,
    "retry": 5,
    "result_ttl": 0,
    "max_result": 1,
    "id": "one",
    "unique": "key",
    "delivery": "at_most_once",
    "headers": {"a": "b"},
    "then": TaskQ("other").remote("other.task").call(1),
    "name": "shop.other",
    "aliases": ["shop.old"],
    "codec": "json",
}


def add(one: int = 0) -> int:
    return one


def table(head: str) -> list[list[str]]:
    """The rows of the table that begins with this line, without its two lines of head."""
    text = PAGE.partition(head)[2]
    assert text, head
    lines = text.splitlines()[2:]
    rows = lines[: next(number for number, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in rows]


def names(cell: str) -> list[str]:
    return re.findall(r"`@?(?:app|task)?\.?(\w+)", cell)


def defaults(rows: list[list[str]], column: int) -> dict[str, Any]:
    """What a table says of each name: its default, made of the text in the cell."""
    known = {"RetryPolicy": RetryPolicy, "Exception": Exception}
    told: dict[str, Any] = {}
    for row in rows:
        code = re.fullmatch(r"`(.+)`", row[column])
        told[names(row[0])[0]] = eval(code[1], known) if code else NO_DEFAULT  # the page is ours
    return told


def parameters(function: Any) -> dict[str, Any]:
    said = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in said if one.name != "self"}


OPTION = "| Option | Type | Default | Means |"
WHERE = "| Option | Where | Type | Default | Means |"


def test_the_options_of_the_app() -> None:
    assert defaults(table(OPTION), 2) == parameters(TaskQ)


def test_the_options_of_the_app_that_few_need() -> None:
    rows = table(f"`AppOptions(...)`:\n\n{OPTION}")
    assert defaults(rows, 2) == parameters(AppOptions)


def test_the_options_of_a_policy() -> None:
    assert defaults(table("| `RetryPolicy` | Type | Default | Means |"), 2) == parameters(RetryPolicy)
    assert "`retry` | task, call | see below | `RetryPolicy()` | **4 attempts from 10 s on" in PAGE
    assert (TaskOptions().retry.max_attempts, TaskOptions().retry.base) == (4, 10)


def test_the_options_of_tasks_and_calls() -> None:
    rows = table(WHERE)
    told = defaults(rows, 3)
    assert set(told) == set(TaskOverrides.__annotations__) | set(CallOptions.__annotations__) == set(SAMPLES)
    assert told.pop("hard_timeout") is NO_DEFAULT
    assert (HARD_GRACE, HARD_LIMIT) == (10, 3_600)
    of_tasks = {"then": None, "name": None, "aliases": (), "codec": None}
    assert told == {name: of_tasks[name] if name in of_tasks else getattr(TaskOptions(), name) for name in told}


@pytest.mark.parametrize("row", table(WHERE), ids=lambda row: names(row[0])[0])
def test_where_an_option_may_be_said(row: list[str]) -> None:
    name, where = names(row[0])[0], row[1].split(", ")
    said = {name: SAMPLES[name]}

    def refused(act: Any) -> bool:
        try:
            act()
        except errors.ConfigError:
            return True
        return False

    assert refused(lambda: TaskQ("shop").task(**said)(add)) is ("task" not in where)
    assert refused(lambda: TaskQ("shop").task(add).options(**said)) is ("call" not in where)
    in_defaults = "task" in where and name not in ("name", "aliases", "codec")
    assert refused(lambda: TaskQ("shop", defaults=said)) is not in_defaults  # type: ignore[arg-type]


def test_calls_that_are_written_out() -> None:
    for call, code in {
        'Queue(name, transport="list", retain=None)': Queue,
        "Retain(count=10_000, bytes=67_108_864, age=86_400)": Retain,
        'Retry(after=None, *, count_attempt=True, reason="")': taskq.Retry,
        'Reject(reason="rejected by the task")': taskq.Reject,
        "result(timeout=None)": Handle.result,
        "cancel(kill=False)": Handle.cancel,
        "wait(timeout=None)": Batch.wait,
        "results(timeout=None, *, return_exceptions=False)": Batch.results,
        'progress(done, total=None, note="")': Context.progress,
        'app.handle(id, queue="default")': TaskQ.handle,
    }.items():
        assert call in PAGE, call
        arguments = [part for part in call.partition("(")[2].rstrip(")").split(", ") if part != "*"]
        told = {
            name: eval(value) if value else NO_DEFAULT for name, _, value in (one.partition("=") for one in arguments)
        }
        assert told == parameters(code), call


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def words(begin: str, end: str) -> set[str]:
    """The words that stand in code between two places of the page."""
    code = re.findall(r"`([^`]+)`", PAGE.partition(begin)[2].partition(end)[0])
    return set(re.findall(r"\w+", " ".join(code)))


def test_what_the_objects_have() -> None:
    assert public(Handle) <= words("## Handles", "| `Batch` |")
    assert public(Batch) <= words("| `Batch` | |", "beside `shop.py`")
    assert public(Context) == words("## Inside a task", "## Hooks") - {"TaskqError", "TaskCancelled", "None"} - {
        *("current", "done", "total", "note")
    }
    for cls, head in ((Sender, "task"), (TaskQ, "app")):
        calls = re.findall(rf"`{head}\.(\w+)\(", PAGE)
        assert len(calls) >= 3
        assert all(hasattr(cls, name) for name in calls), calls
    of_failure = {"kind", "type", "message", "traceback", "attempt", "worker", "at"}
    assert words("`Incident` has", "Hooks of the app") == set(Incident.__dataclass_fields__) | of_failure
    assert of_failure <= set(Failure.__dataclass_fields__)
    seams = table("| Seam | Around | `request` has | The handler returns |")
    assert [row[0].strip('`"') for row in seams] == [*get_args(Seam)]


@pytest.mark.parametrize(
    ("cls", "begin", "end"),
    [
        (Inspector, "reads: ", ". `taskq.control"),
        (Control, "changes: ", "([from Python]"),
        (Schedules, "`app.schedules.add(name, task, cron, ...)`, ", ", each"),
    ],
)
def test_what_the_tools_can_do(cls: type, begin: str, end: str) -> None:
    told = re.findall(r"`(\w+)`", PAGE.partition(begin)[2].partition(end)[0])
    assert len(told) >= 8
    assert all(hasattr(cls, name) for name in told), told


def test_the_errors_are_those_of_the_code() -> None:
    told = {names(row[0])[0]: set(names(row[1])) - {"TaskqError"} for row in table("| Under | There are |")}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    tree: dict[str, set[str]] = {}
    for one in classes:
        for base in one.__bases__:
            if base in classes:
                tree.setdefault(base.__name__, set()).add(one.__name__)
    assert told == tree


def test_what_is_said_of_retries() -> None:
    strict = RetryPolicy(on=OSError, never=Exception)
    for error in (errors.TaskTimeout(), SystemExit()):
        assert decide(error, 0, strict, cancelled=False, random01=0.0).verb == "retry"
    assert decide(errors.Retry(), 3, RetryPolicy(), cancelled=False, random01=0.0).verb == "dead"
    assert decide(errors.Retry(count_attempt=False), 3, RetryPolicy(), cancelled=False, random01=0.0).verb == "retry"
    with pytest.raises(errors.InvalidOption, match="cannot travel"):
        TaskQ("shop").task(add).options(retry=RetryPolicy(on=OSError))
    assert math.isclose(RetryPolicy().cap, 3_600)


def test_what_is_not_there() -> None:
    app = TaskQ("shop")
    task = app.task(add)
    with memory(app) as q:
        first = task.options(then=task.options(id="next").call(7)).enqueue(1)
        q.run_until_idle()
        assert (first.result(), app.handle("next").result()) == (1, 7)  # the result of the first is not passed on
        assert not hasattr(first, "__await__")
        for held in (first, task.enqueue_many([(1,)])):
            with pytest.raises(TypeError, match="cannot pickle"):
                pickle.dumps(held)
        assert app.handle(first.id, first.queue) == first
        with pytest.raises(errors.ConfigError, match="in memory"):
            app.topic("orders").publish(1)
    with pytest.raises(errors.TaskqError, match="outside a running task"):
        taskq.current()


def test_it_can_look_and_raise_but_neither_swallow_nor_change() -> None:
    @taskq.around
    def change(request: Any) -> Any:
        try:
            yield
        except ZeroDivisionError:
            return

    stack = Middlewares()
    stack.add("execute", change)
    assert stack.wrap("execute", lambda request: 5)(None) == 5
    with pytest.raises(ZeroDivisionError):
        stack.wrap("execute", lambda request: 1 / 0)(None)


def test_its_links_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]+)#?([\w-]*)\)", PAGE):
        text = (ROOT / "docs" / target).read_text("utf-8")
        heads = [
            re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-")
            for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        ]
        assert not anchor or anchor in heads, (target, anchor)
