"""Functions given to decorators and options: refused where they are given, if they cannot take what they will get."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from taskq import TaskQ, around
from taskq.errors import ConfigError, InvalidOption

NOWHERE = "redis://127.0.0.1:1"


def none() -> Any: ...


def one(given: Any) -> Any: ...


def two(given: Any, more: Any) -> Any: ...


def task(a: int) -> int:
    return a


@pytest.fixture
def app() -> Any:
    return TaskQ("bad", url=NOWHERE)


@pytest.mark.parametrize(
    ("seam", "text"),
    [
        (one, "middleware(<function one at 0x"),
        ("nope", "middleware('nope'): there is no such seam; write"),
        ("execut", "middleware('execut'): there is no such seam (did you mean 'execute'?); write"),
        (None, "middleware(None): there is no such seam"),
        (["enqueue"], "middleware(['enqueue']): there is no such seam"),
    ],
)
def test_a_middleware_says_its_seam(seam: Any, text: str, app: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        app.middleware(seam)
    assert str(caught.value).startswith(text)
    way = 'write @app.middleware("enqueue"), @app.middleware("enqueue_many") or @app.middleware("execute")'
    assert str(caught.value).endswith(way)


PLACES: dict[str, tuple[Callable[[Any, Any], Any], str, str]] = {
    "middleware": (lambda app, f: app.middleware("execute")(f), "middleware", "handler"),
    "around": (lambda _, f: around(f), "@around", "request"),
    "failure": (lambda app, f: app.on_failure(f), "on_failure hook", "incident"),
    "dead": (lambda app, f: app.on_dead(f), "on_dead hook", "incident"),
    "of a task": (lambda app, f: app.task(name="t")(task).on_dead(f), "on_dead hook", "incident"),
    "ordered": (lambda app, f: app.subscribe("t", group="g")(f), "handler", "record"),
    "batch": (lambda app, f: app.subscribe("t", group="g", batch=5)(f), "handler", "records"),
    "shared": (lambda app, f: app.subscribe("t", group="g", mode="shared")(f), "handler", "record"),
    "broadcast": (lambda app, f: app.subscribe("t", mode="broadcast")(f), "handler", "message"),
    "listening": (lambda app, f: app.events.broadcast("t").subscribe(f), "handler", "message"),
    "reading": (lambda app, f: app.topic("t").subscribe(f, group="g", mode="shared"), "handler", "record"),
    "filter": (lambda app, f: app.subscribe("t", group="g", mode="shared", filter=f), "filter", "record"),
    "looping": (lambda app, f: app.topic("t").subscribe(group="g", mode="shared", filter=f), "filter", "record"),
    "gap": (lambda app, f: app.subscribe("t", mode="broadcast", on_gap=f), "on_gap", "gap"),
    "lost": (lambda app, f: app.subscribe("t", group="g", on_lost=f), "on_lost", "partitions"),
    "bridge": (lambda app, f: app.bridge("t", group="g", call=f), "call", "record"),
    "results": (lambda app, f: app.publish_results(app.task(name="t")(task), "t", key=f), "key", "result"),
}


@pytest.mark.parametrize(("give", "what", "given"), PLACES.values(), ids=PLACES)
def test_a_function_takes_what_it_will_get(give: Callable[[Any, Any], Any], what: str, given: str, app: Any) -> None:
    for function, shown in ((none, "none()"), (two, "two(given, more)")):
        with pytest.raises(ConfigError) as caught:
            give(app, function)
        name = function.__name__
        assert str(caught.value) == f"{what} {shown} is called as {name}({given}): give it these parameters"
    assert not app.hooks.dead
    assert not app.has_events or not app.events.parts()
    give(app, one)


@pytest.mark.parametrize(("give", "what", "given"), [PLACES["broadcast"], PLACES["shared"], PLACES["ordered"]])
def test_what_is_no_function_handles_nothing(give: Callable[[Any, Any], Any], what: str, given: str, app: Any) -> None:
    with pytest.raises(InvalidOption, match="42"):
        give(app, 42)
    assert not app.events.parts()


def test_a_handler_that_is_to_run_exactly_once_takes_a_transaction_too(app: Any) -> None:
    subscribe = functools.partial(app.subscribe, "t", group="g", delivery="exactly_once")
    with pytest.raises(ConfigError, match=r"handler one\(given\) is called as one\(record, transaction\)"):
        subscribe()(one)
    subscribe()(two)


def test_subscribe_without_its_topic_says_how_to_write_it(app: Any) -> None:
    with pytest.raises(InvalidOption, match=r"write @app\.subscribe\('orders', group='billing'\)"):
        app.subscribe(one)


@pytest.mark.parametrize("hook", ["on_startup", "on_shutdown"])
def test_hooks_of_a_process_take_nothing(hook: str, app: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(app, hook)(one)
    assert str(caught.value) == f"{hook} hook one(given) is called as one(): give it no parameters"
    getattr(app, hook)(none)


def test_parameters_that_may_be_left_out_and_functions_that_tell_nothing_are_taken(app: Any) -> None:
    def usual(incident: Any, more: int = 0) -> None: ...

    @functools.wraps(two)
    def fewer(incident: Any) -> None: ...

    fitting: list[Any] = [usual, fewer, print, [].append, dict, max, functools.partial(two, 1), lambda *given: None]
    for function in fitting:
        assert app.on_dead(function) is function
    with pytest.raises(ConfigError, match="named"):
        app.on_dead(named)


def named(incident: Any, *, more: int) -> None: ...
