"""What the commands share that look into a namespace or change it: which one is meant, and asking before they act."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn, TypeVar

import click

from taskq.desk import Desk as Desk  # the commands find it here, beside what they do with it
from taskq.desk import open_desk
from taskq.errors import InvalidName
from taskq.inspector import raw_id
from taskq.names import check_name
from taskq.settings import Settings
from taskq_workers import exits
from taskq_workers.commands.shared import broker_options, print_json
from taskq_workers.terminal import clean, encodable, table

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _namespace(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refused here, so that the error can say where it comes from."""
    try:
        return check_name(value, "namespace") if value else None
    except InvalidName as error:
        raise click.BadParameter(str(error), ctx, param) from error


def operator_options(command: F) -> F:
    """Open a desk for a command, as its first argument: `--url`, `--app` and `--namespace` say where."""

    @functools.wraps(command)
    def opened(url: str | None, app: str | None, namespace: str | None, **options: Any) -> Any:
        settings: Settings = click.get_current_context().obj
        with open_desk(settings, url, app, namespace, warn) as desk:
            return command(desk, **options)

    decorated: Any = broker_options(opened)
    return click.option(  # type: ignore[no-any-return]
        "--namespace",
        metavar="NAME",
        envvar=["TASKQ_NAMESPACE"],
        callback=_namespace,
        help="The namespace; else the app's, or namespace in [tool.taskq].",
    )(decorated)


# -- which messages ----------------------------------------------------------------------------------------------------


def located(desk: Desk, ids: Sequence[str], queue: str | None, states: str) -> tuple[dict[str, list[bytes]], list[str]]:
    """Ids by the queue in which they are in one of these states (letters), and those that are in none."""
    given = {raw_id(text): text for text in ids}
    found: dict[str, list[bytes]] = {}
    missing = list(given)
    for name in desk.queues(queue):
        seen = desk.broker.lookup(name, missing)
        here = [raw for raw, one in zip(missing, seen, strict=True) if one.state in states]
        if here:
            found[name] = here
            missing = [raw for raw in missing if raw not in set(here)]
        if not missing:
            break
    return found, [given[raw] for raw in missing]


# -- values on the command line ----------------------------------------------------------------------------------------


def duration(value: str) -> float:
    """Seconds, or a number with its unit: 90, 1.5s, 10m, 2h, 7d."""
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise click.BadParameter(f"{clean(value)!r} is no duration: give seconds, or a number with ms, s, m, h or d")
    return float(found[1]) * _UNITS[found[2]]


def lasting(value: str) -> float:
    """The same, of more than zero seconds."""
    found = duration(value)
    if not found:
        raise click.BadParameter(f"{clean(value)!r} is no time to wait: give more than zero")
    return found


# -- output ------------------------------------------------------------------------------------------------------------


def say(text: str = "") -> None:
    """A line on standard output."""
    click.echo(encodable(text))


def warn(text: str) -> None:
    """A line on standard error, from whatever source: cleaned."""
    click.echo(encodable(clean(text), sys.stderr), err=True)


def print_rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people; its cells may hold stored data."""
    for line in table(head, rows, sys.stdout):
        say(line)


def print_each(items: Iterable[Any]) -> None:
    """One JSON object per line; dataclasses become objects."""
    for item in items:
        print_json(asdict(item) if hasattr(item, "__dataclass_fields__") else item)


def agree(question: str, yes: bool) -> None:
    """Ask on a terminal; without one `--yes` must have been given. A no ends the command with exit code 1."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        fail(f"{question} Add --yes to do it without being asked, or --dry-run to see.", exits.USAGE)
    if not click.confirm(clean(question), err=True):
        warn("nothing was done")
        raise click.exceptions.Exit(exits.FAILED)


def progress_to(total: int, verb: str) -> Callable[[int], None] | None:
    """A line that counts up on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(done: int) -> None:
        click.echo(f"\r{clean(verb)} {done} of {total}", nl=done >= total, err=True)

    return show


def fail(text: str, code: int = exits.FAILED) -> NoReturn:
    """End with one line of error."""
    click.echo(encodable(f"error: {clean(text)}", sys.stderr), err=True)
    raise click.exceptions.Exit(code)


def counted(number: int, what: str) -> str:
    """A number with its noun.

    >>> counted(1, "dead letter"), counted(2, "dead letter")
    ('1 dead letter', '2 dead letters')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
