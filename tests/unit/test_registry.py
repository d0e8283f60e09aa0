"""Which functions become tasks, and under which names."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from taskq.errors import ConfigError, DuplicateTask, InvalidName, UnknownTask
from taskq.tasks import registry
from taskq.tasks.registry import Registry, main_name, task_function, task_name


def plain(a: int) -> int:
    return a


def other(a: int) -> int:
    return a


def counting() -> Iterator[int]:
    yield 1


async def streaming() -> Any:
    yield 1


class Shop:
    @staticmethod
    def helper(a: int) -> int:
        return a

    def method(self, a: int) -> int:
        return a

    @classmethod
    def maker(cls) -> None: ...


@dataclass(frozen=True)
class Entry:
    name: str
    function: Any = plain


def closure() -> Any:
    def inner() -> None: ...

    return inner


def test_a_function_is_named_after_its_module() -> None:
    assert task_name(task_function(plain)) == f"{__name__}.plain"
    assert task_name(plain, "mail.send") == "mail.send"


def test_a_static_method_is_a_function() -> None:
    assert task_name(task_function(Shop.helper)) == f"{__name__}.Shop.helper"
    assert task_function(staticmethod(plain)) is plain


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (closure(), "top level"),
        (Shop.method, "no object"),
        (Shop().method, "no object"),
        (Shop.maker, "no object"),
        (Shop.__dict__["maker"], "no object"),
        (Shop, "a task is a function"),
        (42, "a task is a function"),
        (len, "written in Python"),
        (functools.partial(plain, 1), "a task is a function"),
        (counting, "generator"),
        (streaming, "generator"),
        (lambda: None, "lambda"),
    ],
)
def test_what_a_worker_could_not_find_or_run_is_refused_with_the_reason(given: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        task_function(given)


def test_the_test_kit_may_lift_the_rule_for_closures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "allow_local", True)
    assert task_name(task_function(closure())) == f"{__name__}.closure.locals.inner"


def test_a_name_outside_the_rule_is_refused() -> None:
    with pytest.raises(InvalidName, match="two words"):
        task_name(plain, "two words")


def test_main_gets_the_name_under_which_others_import_it(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    as_module = SimpleNamespace(__spec__=SimpleNamespace(name="shop.mail"), __file__=str(package / "mail.py"))
    as_script = SimpleNamespace(__spec__=None, __file__=str(package / "mail.py"))
    relative = SimpleNamespace(__spec__=None, __file__="shop/mail.py")
    assert {main_name(main, tmp_path) for main in (as_module, as_script, relative)} == {"shop.mail"}
    assert main_name(as_script, package) == "mail"


@pytest.mark.parametrize("main", [ModuleType("__main__"), SimpleNamespace(__spec__=None, __file__="/elsewhere/x.py")])
def test_main_without_such_a_name_is_refused(main: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no worker could import it"):
        main_name(main, tmp_path)


def test_a_task_is_found_by_name_and_alias() -> None:
    tasks: Registry[Entry] = Registry()
    entry = Entry("mail.send")
    tasks.add(entry, ["mail.send_old"])
    assert tasks.find("mail.send") is tasks["mail.send_old"] is entry
    assert sorted(tasks) == ["mail.send", "mail.send_old"]
    with pytest.raises(UnknownTask, match=r"mail.sent.*did you mean 'mail.sen"):
        tasks.find("mail.sent")


def test_a_name_is_given_once_and_nothing_of_a_refused_task_stays() -> None:
    tasks: Registry[Entry] = Registry()
    tasks.add(Entry("a"))
    with pytest.raises(DuplicateTask, match=r"'a' is registered twice: plain in .*test_registry.py:\d+ and other in"):
        tasks.add(Entry("b", other), ["a"])
    assert list(tasks) == ["a"]


def test_a_reloaded_function_takes_the_place_of_its_former_self() -> None:
    tasks: Registry[Entry] = Registry()
    namespace: dict[str, Any] = {}
    source = compile("def again(): ...", "shop/mail.py", "exec")
    for _ in range(2):
        exec(source, namespace)
        tasks.add(Entry("again", namespace["again"]))
    assert tasks["again"].function is namespace["again"]
