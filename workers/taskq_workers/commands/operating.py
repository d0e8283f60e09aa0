"""What the commands share that look into a namespace or change it: which one is meant, and asking before they act."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, TypeVar

import click

from taskq.control import Control
from taskq.errors import ConfigError
from taskq.inspector import Inspector, raw_id
from taskq.settings import Settings
from taskq.store.connection import SyncLink
from taskq.tasks.app import TaskQ
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import Limits
from taskq_workers import exits
from taskq_workers.commands.shared import broker_options, chosen_broker, print_json
from taskq_workers.loading import load_app
from taskq_workers.terminal import clean, encodable, table

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True)
class Desk:
    """One namespace on one broker, open. `app` is there if it was named, and then it is imported."""

    broker: ListBroker
    inspector: Inspector
    control: Control
    app: TaskQ | None
    url: str

    @property
    def namespace(self) -> str:
        return self.broker.namespace

    def queues(self, queue: str | None) -> list[str]:
        """The one queue that was named, or all; raises UnknownQueue."""
        if queue is None:
            names, truncated = self.inspector.queue_names()
            if truncated:
                warn(f"only {len(names)} queues are looked at, and there are more; name one with --queue")
            return names
        self.inspector.need_queue(queue)
        return [queue]


def operator_options(command: F) -> F:
    """Open a desk for a command, as its first argument: `--url`, `--app` and `--namespace` say where."""

    @functools.wraps(command)
    def opened(url: str | None, app: str | None, namespace: str | None, **options: Any) -> Any:
        settings: Settings = click.get_current_context().obj
        with open_desk(settings, url, app, namespace) as desk:
            return command(desk, **options)

    decorated: Any = broker_options(opened)
    return click.option(  # type: ignore[no-any-return]
        "--namespace",
        metavar="NAME",
        envvar=["TASKQ_NAMESPACE"],
        help="The namespace; else the app's, or namespace in [tool.taskq].",
    )(decorated)


@contextmanager
def open_desk(settings: Settings, url: str | None, app: str | None, namespace: str | None) -> Generator[Desk]:
    """The namespace that is meant: `--namespace`, else that of `--app`, of [tool.taskq], of the app named there.

    The app is imported only if it has to say something. Raises ConfigError if nobody names a namespace.
    """
    known = settings.values.get("namespace")
    named = app or (None if namespace or known else settings.app)
    loaded: TaskQ | None = load_app(named) if named else None
    space = namespace or (loaded.namespace if loaded is not None else known)
    if not space:
        raise ConfigError(
            "no namespace is set. Three ways out: give --namespace NAME, or --app module:app; write namespace or app "
            "into [tool.taskq] of pyproject.toml; or set TASKQ_NAMESPACE"
        )
    choice = chosen_broker(settings, url, app)
    if choice.url.startswith("memory:"):
        raise ConfigError("a memory:// broker lives inside its own process; nothing outside can look into it")
    link = SyncLink(choice.url)
    try:
        broker = ListBroker(link, space, loaded.limits if loaded is not None else Limits())
        yield Desk(broker, Inspector(link, space), Control(broker), loaded, choice.url)
    finally:
        link.close()


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
