"""The app: what it is made of, what it refuses, what it registers, and where it connects."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import taskq
from taskq import AppOptions, RetryPolicy, TaskQ
from taskq.errors import AppImportError, ConfigError, DuplicateTask, InvalidName, InvalidOption
from taskq.message import id_bytes, id_text
from tests.unit.notepad import Notepad

NOWHERE = "redis://127.0.0.1:1"


def send(order: int) -> None: ...


def ship(order: int) -> None: ...


def test_the_public_names_are_few_and_exist() -> None:
    assert len(taskq.__all__) <= 48  # 32 for tasks, 16 for topics
    assert all(hasattr(taskq, name) for name in taskq.__all__)
    assert taskq.__version__ == "0.1.0"


def test_importing_taskq_does_not_import_redis() -> None:
    code = "import sys, taskq; taskq.TaskQ('shop', url='redis://h'); print('redis' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert told.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"namespace": "a b"}, InvalidName, "namespace name 'a b'"),
        ({"namespace": ""}, InvalidName, "namespace name ''"),
        ({"url": "reddis://h"}, ConfigError, "redis"),
        ({"url": "redis://h:x"}, ConfigError, "port"),
        ({"lease": 0}, InvalidOption, "lease=0"),
        ({"lease": 7_200}, InvalidOption, "lease=7200"),
        ({"lease": "10"}, InvalidOption, "lease='10'"),
        ({"enqueue_timeout": 0}, InvalidOption, "enqueue_timeout=0"),
        ({"enqueue_timeout": -1}, InvalidOption, "enqueue_timeout=-1"),
        ({"codec": "pickle"}, ConfigError, "no codec 'pickle'"),
        ({"defaults": {"prioritty": 1}}, InvalidOption, "did you mean 'priority'"),
        ({"defaults": {"id": "x"}}, InvalidOption, "id= is for one call"),
    ],
)
def test_an_app_that_cannot_be_meant_is_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        TaskQ(**(dict[str, Any](namespace="shop") | options))


def test_app_options_are_checked_and_become_the_limits_of_the_broker() -> None:
    app = TaskQ("shop", lease=timedelta(seconds=5), options=AppOptions(dead_ttl=60, max_results=5))
    assert (app.limits.lease, app.limits.dead_age, app.limits.results, app.lease) == (5_000, 60_000, 5, 5.0)
    with pytest.raises(InvalidOption, match="max_payload=0"):
        AppOptions(max_payload=0)
    with pytest.raises(InvalidOption, match="call_timeout=0"):
        AppOptions(call_timeout=0)


def test_the_defaults_of_the_app_hold_for_each_task_that_says_nothing_else() -> None:
    app = TaskQ(
        "shop", defaults={"queue": "mail", "retry": RetryPolicy(base=1, on=OSError), "headers": {"a": "1", "b": "1"}}
    )
    one = app.task(send)
    other = app.task(queue="slow", retry=2, headers={"b": "2"})(ship)
    assert (one.defaults.queue, one.defaults.retry.base) == ("mail", 1.0)
    assert (other.defaults.queue, other.defaults.headers) == ("slow", {"a": "1", "b": "2"})
    assert other.defaults.retry == RetryPolicy(max_attempts=2, base=1, on=OSError)
    assert app.task_queues() == ["mail", "slow"]


def test_a_task_is_refused_with_its_name_and_nothing_is_registered() -> None:
    app = TaskQ("shop")
    with pytest.raises(InvalidOption, match=r"task x: priority=9"):
        app.task(name="x", priority=9)(send)
    with pytest.raises(InvalidOption, match="task x: there is no option 'colour'"):
        app.task(name="x", colour="red")(send)  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="id= is for one call"):
        app.task(name="x", id="01a20fc7-1ba2-7b96-b429-be711eaacefc")(send)
    with pytest.raises(ConfigError, match="cannot be a task"):
        app.task(lambda: None)
    assert not app.tasks


def test_a_name_is_registered_once() -> None:
    app = TaskQ("shop")
    app.task(name="x", aliases="y")(send)
    with pytest.raises(DuplicateTask, match="'y' is registered twice"):
        app.task(name="y")(ship)
    assert app.task(name="x")(send) is app.tasks["x"], "the same function, as after a reload"


def test_a_task_can_be_enqueued_by_its_name() -> None:
    app = TaskQ("shop", url=NOWHERE)
    app.task(name="mail.send", queue="mail", aliases=["mail.old"])(send)
    with app.use_broker(pad := Notepad()):
        app.enqueue("mail.send", 1)
        app.enqueue("mail.old", order=2)
        app.enqueue("far.away", [1, 2], name="n")
        app.remote("far.away", queue="far", timeout=5).enqueue(3)
        with pytest.raises(taskq.InvalidArguments):
            app.enqueue("mail.send", "x")
        with pytest.raises(InvalidName, match="two words"):
            app.enqueue("two words")
    assert [(queue, message.task, message.args, message.kwargs) for queue, message in pad.messages()] == [
        ("mail", "mail.send", [1], {}),
        ("mail", "mail.send", [], {"order": 2}),
        ("default", "far.away", [[1, 2]], {"name": "n"}),
        ("far", "far.away", [3], {}),
    ]
    assert pad.messages()[3][1].options == {"t": 5.0}


def test_a_handle_is_made_from_an_id() -> None:
    app = TaskQ("shop", url=NOWHERE)
    handle = app.handle("01A20FC7-1BA2-7B96-B429-BE711EAACEFC", queue="mail")
    assert (handle.id, handle.queue, handle.task) == ("01a20fc7-1ba2-7b96-b429-be711eaacefc", "mail", "")
    assert app.handle("order-42") == app.handle(id_text(id_bytes("order-42")))
    with pytest.raises(InvalidOption, match="id=''"):
        app.handle("")
    with pytest.raises(InvalidName):
        app.handle(handle.id, queue="a:b")


def test_the_broker_is_chosen_when_it_is_needed_and_a_named_one_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASKQ_URL", raising=False)
    app = TaskQ("shop")
    with pytest.raises(ConfigError, match="Three ways out"):
        app.broker()
    broker = app.broker("redis://one:1")
    assert app.broker() is broker
    assert app.broker("redis://one:1") is broker
    assert broker.link.url.hosts == (("one", 1),)
    assert app.broker("redis://two:2") is not broker
    assert app.broker().link.url.hosts == (("two", 2),)


def test_the_environment_comes_before_the_url_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_URL", "redis://env:1")
    app = TaskQ("shop", url="redis://app:1")
    assert app.broker_url().url == "redis://env:1"
    assert app.broker_url("redis://line:1").url == "redis://line:1"


async def test_a_broker_is_swapped_for_a_while_and_closed_with_the_app() -> None:
    app = TaskQ("shop", url=NOWHERE)
    real, pad = app.broker(), Notepad()
    with app.use_broker(pad):
        assert app.broker() is pad  # type: ignore[comparison-overlap]
        assert await app.async_broker().lookup("q", [bytes(16)])
        async with app:
            pass
    assert pad.closed
    assert app.broker() is real


def test_hooks_are_kept_in_order() -> None:
    app = TaskQ("shop")

    @app.on_startup
    async def connect() -> None: ...

    @app.on_startup
    @app.on_shutdown
    def both(*incident: Any) -> None: ...

    app.on_failure(both)
    app.on_dead(both)
    assert app.hooks.startup == [connect, both]
    assert app.hooks.shutdown == app.hooks.failure == app.hooks.dead == [both]


def test_includes_are_imported_with_an_error_that_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "tq_inc"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mail.py").write_text("loaded = True\n")
    (package / "broken.py").write_text("import no_such_thing_here\n")
    TaskQ("shop", include="tq_inc.mail").load_includes()
    assert sys.modules["tq_inc.mail"].loaded
    with pytest.raises(AppImportError, match=r"no module 'tq_inc.mial' \(did you mean 'tq_inc.mail'\?\); searched in"):
        TaskQ("shop", include=["tq_inc.mial"]).load_includes()
    with pytest.raises(AppImportError, match=r"'tq_inc.broken' cannot be imported: ModuleNotFoundError"):
        TaskQ("shop", include=["tq_inc.broken"]).load_includes()


def test_an_app_shows_itself_without_its_password() -> None:
    assert repr(TaskQ("shop", url="redis://:secret@h:1/0")) == "TaskQ('shop' at redis://:***@h:1/0, 0 tasks)"
