"""`taskq run` as it is typed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq.message import id_text
from tests.runtime.operating import Operator, error_of, operating
from tests.servers import RealServer


@pytest.fixture
def operator(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


def test_a_task_is_enqueued_by_name_with_its_arguments_checked(operator: Operator) -> None:
    done = operator("run", "store.send", "7", "--json-args", "-k", "size=2", "--priority", "1")
    assert done.returncode == 0, done.stderr
    (message,) = operator.shop.hands.read("mail")
    assert (message.task, message.args, message.kwargs) == ("store.send", [7], {"size": 2})
    assert done.stdout == id_text(message.id) + "\n"
    (told,) = operator.objects("run", "store.text", "7")
    assert (told["task"], told["queue"], told["created"]) == ("store.text", "mail", True)
    assert operator.shop.hands.read("mail")[0].args == ["7"]


def test_delay_id_unique_and_queue_reach_the_message(operator: Operator) -> None:
    operator.ok("run", "store.text", "a", "--delay", "2h", "--queue", "later", "--id", "one", "--unique", "k")
    (told,) = operator.objects("message", "show", "one")
    assert (told["status"], told["queue"], told["unique"], told["explicit"]) == ("delayed", "later", True, True)
    again = operator("run", "store.text", "a", "--queue", "later", "--unique", "k")
    assert (again.returncode, again.stdout.strip()) == (0, told["id"])
    assert "not created" in again.stderr
    (at,) = operator.objects("run", "store.text", "b", "--at", "2090-01-01T12:00")
    (told,) = operator.objects("message", "show", at["id"])
    assert told["due"] > 3_700_000_000_000


TYPED = """
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

Size = Enum("Size", {"SMALL": 1.5, "LARGE": 2.5})

@dataclass
class Box:
    size: Size
    day: date
"""


@pytest.mark.parametrize(
    ("annotation", "typed", "stored"),
    [
        ("date", "2026-01-01", "2026-01-01"),
        ("date | None", "null", None),
        ("datetime", "2026-01-01T10:00", "2026-01-01T10:00:00"),
        ("timedelta", "90", "PT90S"),
        ("Decimal", "1.10", "1.10"),
        ("UUID", "6f3cdb5a-4a52-4c9a-a12c-7ee0ad9d3b11", "6f3cdb5a-4a52-4c9a-a12c-7ee0ad9d3b11"),
        ("Size", "LARGE", "LARGE"),
        ("Path", "a/b", "a/b"),
        ("bytes", "YQ==", "YQ=="),
        ("float", "5", 5.0),
        ("int", "-3", -3),
        ("bool", "true", True),
        ("str", "7", "7"),
    ],
)
def test_a_typed_argument_is_rebuilt_from_a_word_and_from_json(
    operator: Operator, annotation: str, typed: str, stored: Any
) -> None:
    with (operator.folder / "store.py").open("a") as file:
        file.write(f"{TYPED}\n@app.task(queue='mail')\ndef typed(value: {annotation}, *more: date) -> None: ...\n")
    operator.ok("run", "store.typed", "--", typed, "2026-02-03")
    operator.ok("run", "store.typed", "--json-args", "-k", f"value={json.dumps(stored)}")
    first, second = operator.shop.hands.read("mail")
    assert (first.args, second.kwargs) == ([stored, "2026-02-03"], {"value": stored})


def test_what_has_parts_is_rebuilt_from_json(operator: Operator) -> None:
    with (operator.folder / "store.py").open("a") as file:
        file.write(
            f"{TYPED}\n@app.task(queue='mail')\n"
            "def typed(box: Box, pair: tuple[int, Decimal], days: dict[int, date]) -> None: ...\n"
        )
    values = ['{"size": "SMALL", "day": "2026-01-01"}', '[1, "2.50"]', '{"7": "2026-01-02"}']
    operator.ok("run", "store.typed", "--json-args", *values)
    (message,) = operator.shop.hands.read("mail")
    assert list(message.args) == [json.loads(value) for value in values]
    text = error_of(operator("run", "store.typed", "--json-args", '{"size": "TINY"}', *values[1:]), 2)
    assert "does not fit" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send"], "no task 'send' is registered in the app (did you mean 'store.send'?)"),
        (["store.sned"], "no task 'store.sned' is registered in the app (did you mean 'store.send'?)"),
        (
            ["store.send", "seven"],
            "'seven' (str) does not fit int; arguments are single words unless --json-args is given",
        ),
        (["store.send", "[7]"], "single words unless --json-args is given"),
        (["store.send", '"7"', "--json-args"], "'7' (str) does not fit int"),
        (["store.send"], "order"),
        (["store.send", "{", "--json-args"], "'{' is no JSON"),
        (["store.text", "a", "-k", "nonsense"], "'nonsense' is not NAME=VALUE"),
        (["store.text", "a", "--delay", "-5"], "no duration"),
        (["store.text", "a", "--at", "tomorrow"], "no moment"),
        (["store.text", "a", "--priority", "9"], "priority=9"),
        (["store.text", "a", "--delay", "5", "--at", "2090-01-01"], "delay= and at="),
        (["store.text", "a", "--queue", "a b"], "queue name 'a b' is not valid"),
        (["store.text", "a", "--wait", "soon"], "no duration"),
        (["store.text", "a", "--namespace", "other", "--app", "store:app"], "is not that of the app"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_stored(
    operator: Operator, arguments: list[str], said: str
) -> None:
    assert said in error_of(operator("run", *arguments), 2)
    assert operator.shop.inspector.queue_names() == ([], False)


def test_with_a_namespace_alone_nothing_is_imported_or_checked(operator: Operator, server: RealServer) -> None:
    (operator.folder / "pyproject.toml").write_text("[tool.taskq]\n")
    (operator.folder / "store.py").write_text("raise SystemExit('imported')")
    space = operator.shop.app.namespace
    operator.ok("run", "elsewhere.work", "x", "--queue", "far", "--namespace", space, "--url", server.url)
    (message,) = operator.shop.hands.read("far")
    assert (message.task, message.args) == ("elsewhere.work", ["x"])


def finish_the_next(operator: Operator, settle: Callable[[Any], None]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        operator.command("run", "store.text", "a", "--wait", "60"),
        cwd=operator.folder,
        env=operator.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    settle(operator.shop.hands.take_one("mail", 60))
    return process


def test_it_waits_for_the_result(operator: Operator) -> None:
    out, _ = finish_the_next(operator, lambda item: operator.shop.hands.finish(item, {"a": [1]})).communicate(
        timeout=60
    )
    assert json.loads(out) == {"a": [1]}
    process = finish_the_next(operator, operator.shop.hands.bury)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "error: shop.OutOfStock: no more tea" in err
    assert "Traceback: line 1" in err


def test_a_wait_that_is_too_short_says_where_the_message_is(operator: Operator) -> None:
    done = operator("run", "store.text", "a", "--delay", "1h", "--json", "--wait=0.2")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["status"], told["result"]) == ("delayed", None)
    assert (
        f"message {told['id']} of store.text in queue 'mail' was not finished within 0.2 s; it is delayed"
        in told["error"]
    )


def test_in_a_subfolder_the_app_of_the_project_is_found(operator: Operator) -> None:
    below = operator.folder / "scripts"
    below.mkdir()
    inside = Operator(below, operator.env, operator.shop)
    inside.ok("run", "store.text", "a")
    worker = subprocess.run(
        inside.command("worker", "--burst"), cwd=below, env=operator.env, capture_output=True, text=True, check=False
    )
    assert worker.returncode == 0, worker.stderr
    assert [one["leased"] + one["ready"] for one in inside.objects("queue", "ls", "mail")] == [0]
