"""Apps, tasks and addresses that cannot be meant: one clear error each, naming what was given."""

from __future__ import annotations

import functools
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskq import TaskQ
from taskq.errors import ConfigError, DuplicateTask, InvalidOption, TaskqError
from taskq.settings import Settings, broker_url

app = TaskQ("bad")


@app.task
def add(a: int, b: int = 2) -> int:
    return a + b


def plain(a: int) -> int:
    return a


def refused(call: Callable[[], Any], error: type[TaskqError], text: str) -> None:
    """The one error says it, in one line, and no task was registered."""
    known = set(app.tasks)
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(app.tasks) == known


# -- the app and its tasks ---------------------------------------------------------------------------------------------

APPS: dict[str, tuple[dict[str, Any], type[TaskqError], str]] = {
    "lease": ({"lease": 0}, InvalidOption, "lease=0: give 0.1 to 3600 seconds"),
    "nan lease": ({"lease": math.nan}, InvalidOption, "lease=nan is not a number of seconds"),
    "no time": ({"enqueue_timeout": 0}, InvalidOption, "enqueue_timeout=0 leaves no time"),
    "url": ({"url": 5}, ConfigError, "broker URL 5: it is no text"),
    "empty url": ({"url": ""}, ConfigError, "it is empty or holds blanks"),
    "include": ({"include": 5}, InvalidOption, "include=5: give names of modules, one text or a list of them"),
    "includes": ({"include": ["a", 5]}, InvalidOption, "give names of modules"),
    "defaults": ({"defaults": 5}, InvalidOption, "defaults=5: give a dict of options"),
    "default": ({"defaults": {"timout": 5}}, InvalidOption, "(did you mean 'timeout'?)"),
}


@pytest.mark.parametrize(("given", "error", "text"), APPS.values(), ids=APPS)
def test_apps_that_cannot_be(given: dict[str, Any], error: type[TaskqError], text: str) -> None:
    refused(lambda: TaskQ("other", **given), error, text)


def generating() -> Iterator[int]:
    yield 1


async def streaming() -> Any:
    yield 1


class Shop:
    def method(self) -> None: ...

    @classmethod
    def maker(cls) -> None: ...

    def __call__(self) -> None: ...


FUNCTIONS: dict[str, tuple[Any, str]] = {
    "lambda": (lambda: 1, "a lambda has no name that a worker could know; use def"),
    "method": (Shop.method, "a method has no object to run on in a worker"),
    "bound method": (Shop().method, "a method has no object to run on in a worker"),
    "class method": (Shop.maker, "a method has no object to run on in a worker"),
    "class": (Shop, "a task is a function; write one that calls this"),
    "object": (Shop(), "a task is a function; write one that calls this"),
    "partial": (functools.partial(plain, 1), "a task is a function; write one that calls this"),
    "built in": (len, "a task is a function written in Python"),
    "generator": (generating, "a generator function only makes a generator when it is called; return a list"),
    "async generator": (streaming, "a generator function only makes a generator when it is called; return a list"),
    "task": (add, "a task is a function; write one that calls this"),
    "nothing": (None, "None cannot be a task"),
}


@pytest.mark.parametrize(("function", "text"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_what_cannot_be_a_task(function: Any, text: str) -> None:
    refused(lambda: app.task(function), ConfigError, text)


def test_a_closure_cannot_be_a_task() -> None:
    def inner() -> None: ...

    with pytest.raises(ConfigError, match="a function inside another one cannot be found by a worker"):
        app.task(inner)


TASKS: dict[str, tuple[dict[str, Any], str]] = {
    "typo": ({"timout": 5}, "there is no option 'timout' (did you mean 'timeout'?)"),
    "a word of others": ({"bind": True}, "there is no option 'bind': the running task asks taskq.current()"),
    "typo of name": ({"nam": "x"}, "(did you mean 'name'?)"),
    "typo of aliases": ({"alias": "x"}, "(did you mean 'aliases'?)"),
    "aliases": ({"aliases": 5}, "aliases=5: give names that the task had"),
    "id": ({"id": "x"}, "id= is for one call: task.options(id=...).enqueue(...)"),
    "then": ({"then": add.call(1)}, "then= is for one call"),
}


@pytest.mark.parametrize(("options", "text"), TASKS.values(), ids=TASKS)
def test_options_that_a_task_cannot_have(options: dict[str, Any], text: str) -> None:
    refused(lambda: app.task(**options)(plain), InvalidOption, text)


def test_a_decorator_that_was_given_a_name_or_two_functions() -> None:
    decorate: Any = app.task
    refused(lambda: decorate("mail.send"), InvalidOption, "write @app.task above one function")
    refused(lambda: decorate(plain, plain), InvalidOption, "write @app.task above one function")


MODULE = """
from taskq import TaskQ
app = TaskQ("twice")

@app.task
def send(a: int) -> int:
    return a
"""


def load(folder: Path, name: str, text: str) -> ModuleType:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_a_second_function_of_the_same_name_further_down_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    again = MODULE + "\n@app.task\ndef send(a: int) -> int:\n    return -a\n"
    with pytest.raises(DuplicateTask, match=r"'twice_here\.send' is registered twice: send in .*twice_here\.py:5 and"):
        load(tmp_path, "twice_here", again)
    assert "twice_here" not in sys.modules


def test_a_reload_may_move_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    shared = TaskQ("shared")
    monkeypatch.setitem(sys.modules, "shared_app", ModuleType("shared_app"))
    sys.modules["shared_app"].app = shared  # type: ignore[attr-defined]
    text = "from shared_app import app\n@app.task\ndef moved() -> int:\n    return 1\n"
    module = load(tmp_path, "moved_here", text)
    (tmp_path / "moved_here.py").write_text("# a line more than there was\n" + text)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.reload(module)
    assert shared.tasks["moved_here.moved"].function.__code__.co_firstlineno == 3
    monkeypatch.delitem(sys.modules, "moved_here")


# -- the broker's address ----------------------------------------------------------------------------------------------

URLS = {
    "scheme": ("http://x", "unknown scheme 'http'; known are redis://"),
    "typo": ("redsi://h", "unknown scheme 'redsi'; did you mean redis://?"),
    "no scheme": ("localhost:6379", "it has no scheme; write it like redis://"),
    "no host": ("redis://", "it names no host"),
    "port": ("redis://h:99999", "its port is not a number from 0 to 65535"),
    "port 0": ("redis://h:0", "port 0 cannot be connected to"),
    "word as port": ("redis://h:abc", "its port is not a number"),
    "db": ("redis://h/x", "its database is not a number"),
    "path": ("redis://h/0/1", "after the host comes only the number of the database"),
    "option": ("redis://h?foo=1", "unknown option 'foo'"),
    "IPv6": ("redis://::1:6379", "put an IPv6 address in brackets"),
    "hosts": ("redis://a,b", "use redis+cluster:// or redis+sentinel://"),
    "service": ("redis+sentinel://h", "name the service"),
    "cluster db": ("redis+cluster://h/3", "a cluster has only database 0"),
    "socket": ("unix://", "it names no socket"),
    "blank": (" redis://h", "it is empty or holds blanks"),
    "memory": ("memory://x", "it takes no host"),
}


@pytest.mark.parametrize(("url", "text"), URLS.values(), ids=URLS)
def test_addresses_that_cannot_be_meant(url: str, text: str) -> None:
    refused(lambda: TaskQ("bad", url=url), ConfigError, text)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h:port",
        "redis://u:hunter2/w?rd@h:6379/0",
        "redis://:hunter2#x@h",
        "redis://:hunter2/6379",
        "redis://user:hunter2:h:6379",
        "redis://h/0?password=hunter2&x=1",
        "redis://h:hunter2",
        "redsi://:hunter2@h",
        "redis://hunter2@h",
    ],
)
def test_passwords_are_masked_in_whatever_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TaskQ("bad", url=url)
    assert "hunter2" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_password_is_in_no_repr() -> None:
    assert repr(TaskQ("bad", url="redis://u:p%40ss@h/0")) == "TaskQ('bad' at redis://u:***@h/0, 0 tasks)"


@pytest.mark.parametrize("name", ["TASKQ_ULR", "TASQK_URL", "TASKQ_URI", "TASKQURL"])
def test_a_variable_that_is_almost_right_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_url(None, {name: "redis://:hunter2@h", "PATH": "/bin"}, None, Settings(tmp_path))
    assert f"({name} is set; did you mean TASKQ_URL?)" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_setting_that_is_almost_right_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[tool\.taskq\] has 'ulr'; did you mean 'url'\?"):
        broker_url(None, {}, None, Settings(tmp_path, values={"ulr": "redis://h"}))
