"""`taskq run TASK`: enqueue one call by name, and wait for it if asked."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime
from typing import Any

import click

from taskq.errors import (
    InvalidArguments,
    ResultTimeout,
    SerializationError,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    UnknownTask,
)
from taskq.names import did_you_mean
from taskq.signature import Signature
from taskq.tasks.app import TaskQ
from taskq.tasks.handle import Handle
from taskq.tasks.task import Sender
from taskq_workers import exits
from taskq_workers.commands.operating import Desk, duration, operator_options, say, warn
from taskq_workers.commands.shared import json_option, print_json
from taskq_workers.terminal import clean, clean_lines, moment

_FOREVER = "forever"


def _wait(_: click.Context, __: click.Parameter, value: Any) -> float | None:
    """None: do not wait; infinity: as long as it takes."""
    if value is None:
        return None
    return float("inf") if value == _FOREVER else duration(value)


def _at(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{clean(value)!r} is no moment: write it like 2026-11-24T18:30 or with +01:00"
        ) from None
    return at if at.tzinfo is not None else at.astimezone()  # typed at a terminal: the time of its place


@click.command()
@click.argument("task", metavar="TASK")
@click.argument("args", metavar="[ARG]...", nargs=-1)
@click.option(
    "--json-args", is_flag=True, help="Arguments are JSON: 42, true, '[1, 2]', '\"text\"'; else single words."
)
@click.option(
    "-k", "--kwarg", "kwargs", multiple=True, metavar="NAME=VALUE", help="An argument by name; may be repeated."
)
@click.option("--delay", type=duration, metavar="DURATION", help="Run it after so long, like 10, 90s or 2h.")
@click.option("--at", callback=_at, metavar="TIME", help="Run it at this moment (ISO 8601; local without a zone).")
@click.option("--id", metavar="ID", help="A UUID, or any text, that is accepted once.")
@click.option("--unique", metavar="KEY", help="Refuse it while another message holds this key.")
@click.option("--queue", metavar="NAME", help="Another queue than the task's.")
@click.option("--priority", type=int, metavar="N", help="From -2 to 2; larger runs sooner.")
@click.option(
    "--wait",
    is_flag=False,
    flag_value=_FOREVER,
    callback=_wait,
    metavar="[DURATION]",
    help="Wait for the result, at most so long; put it last, or write --wait=30.",
)
@json_option
@operator_options
def run(
    desk: Desk,
    task: str,
    args: tuple[str, ...],
    json_args: bool,
    kwargs: tuple[str, ...],
    wait: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Enqueue a call of TASK, named as the worker prints it.

    With an app (--app or [tool.taskq]) the task must be registered there, and its arguments are rebuilt as it annotates
    them: 7, 2026-05-01, a UUID. With a namespace alone nothing is checked, and without --json-args all are texts. Exit
    code 1 if it is waited for and does not succeed.
    """
    with closing(_app_of(desk)) as app:
        if desk.app is not None and task not in app.tasks:
            raise UnknownTask(f"no task {task!r} is registered in the app{did_you_mean(task, app.tasks)}")
        sender = app.remote(task, **{name: value for name, value in options.items() if value is not None})
        signature = app.tasks[task].signature if task in app.tasks else None
        handle = _enqueued(sender, signature, *_arguments(args, kwargs, json_args), json_args)
        facts: dict[str, Any] = {"id": handle.id, "task": task, "queue": handle.queue, "created": handle.created}
        if wait is not None:
            outcome = _outcome(handle.untyped(), None if wait == float("inf") else wait)
            raise click.exceptions.Exit(_tell_outcome(facts, outcome, as_json))
    if as_json:
        print_json(facts)
        return
    say(handle.id)
    at: datetime | None = options["at"]
    when = "" if at is None else f", to run at {moment(at.timestamp() * 1000)}"
    warn(f"enqueued in {handle.queue}{when}" if handle.created else "not created: this message was there before")


def _enqueued(
    sender: Sender[..., Any], signature: Signature | None, args: list[Any], kwargs: dict[str, Any], as_json: bool
) -> Handle[Any]:
    try:
        if signature is not None:
            args, kwargs = signature.typed(args, kwargs, texts=not as_json)
        return sender.enqueue(*args, **kwargs)
    except (InvalidArguments, SerializationError) as error:
        hint = "" if as_json else "; arguments are single words unless --json-args is given"
        raise InvalidArguments(f"{error}{hint}") from error


def _tell_outcome(facts: dict[str, Any], outcome: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(facts | outcome)
    elif outcome["status"] == "done":
        say(json.dumps(outcome["result"]))
    else:
        for line in clean_lines(f"error: {outcome['error']}"):
            warn(line)
    return exits.OK if outcome["status"] == "done" else exits.FAILED


def _app_of(desk: Desk) -> TaskQ:
    """The app that was named, its tasks imported, or one that knows nothing but the namespace."""
    if desk.app is None:
        return TaskQ(desk.namespace, url=desk.url)
    if desk.app.namespace != desk.namespace:
        raise click.UsageError(f"--namespace {desk.namespace} is not that of the app, {desk.app.namespace}")
    desk.app.load_includes()
    desk.app.broker(desk.url)
    return desk.app


def _arguments(args: tuple[str, ...], kwargs: tuple[str, ...], as_json: bool) -> tuple[list[Any], dict[str, Any]]:
    read = _json if as_json else str
    named = {}
    for pair in kwargs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{clean(pair)!r} is not NAME=VALUE", param_hint="--kwarg")
        named[name] = read(value)
    return [read(value) for value in args], named


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{clean(text)!r} is no JSON: {error}", param_hint="ARG") from None


def _outcome(handle: Handle[Any], timeout: float | None) -> dict[str, Any]:
    """How it ended, as far as the wait saw."""
    try:
        return {"status": "done", "result": handle.result(timeout=timeout), "error": None}
    except TaskFailed as error:
        return {"status": "dead", "result": None, "error": str(error)}
    except TaskCancelled as error:
        return {"status": "cancelled", "result": None, "error": str(error)}
    except TaskExpired as error:
        return {"status": "expired", "result": None, "error": str(error)}
    except ResultTimeout as error:
        return {"status": handle.status(), "result": None, "error": str(error)}
