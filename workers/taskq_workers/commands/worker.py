"""`taskq worker`: run the tasks of an app, and its handlers of records."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from taskq import __version__
from taskq.errors import BrokerRefused, ConfigError
from taskq.names import did_you_mean, shown
from taskq.settings import Settings
from taskq.store import keys, layout
from taskq.store.connection import SyncLink, check_server, server_facts
from taskq.store.url import masked
from taskq_workers import log
from taskq_workers.commands.serving import served
from taskq_workers.commands.shared import port_option
from taskq_workers.config import WorkerConfig, parse_queues
from taskq_workers.process import Hello
from taskq_workers.reload import Watcher
from taskq_workers.supervisor import Supervisor

logger = logging.getLogger("taskq.worker")
F = TypeVar("F", bound=Callable[..., Any])

_NAMES_SHOWN = 12
_PREFIX = "TASKQ_WORKER_"
# Kubernetes sets these where a service is called taskq-worker, or taskq-worker-metrics.
_OF_A_SERVICE = re.compile(r"(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|PORT|(\w+_)?PORT_\d+_\w+")


class _Queues(click.Option):
    """`-q` may be given again. From the environment and the project it comes as one text, or as a list."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        if isinstance(value, str):
            value = [value]
        elif source is ParameterSource.DEFAULT_MAP:
            if not isinstance(value, list):  # of a table the weights would be lost without a word
                raise ConfigError(f"queues={shown(value)}: give names with weights, as in 'high:3,default', or a list")
            return value, source  # an empty name in it is refused
        return ([] if value == [""] else value), source

    def value_from_envvar(self, ctx: click.Context) -> Any:
        return self.resolve_envvar_value(ctx)


def _queues(_: click.Context, __: click.Parameter, value: Any) -> tuple[tuple[str, int], ...]:
    return parse_queues(",".join(str(part) for part in value)) if value else ()


_OPTIONS = (
    click.option("--url", metavar="URL", help="The broker; else TASKQ_URL, the app's url=, the project's."),
    click.option("-p", "--processes", type=int, default=1, show_default=True, help="Child processes."),
    click.option("-c", "--concurrency", type=int, default=8, show_default=True, help="Tasks at a time in each child."),
    click.option(
        "-q",
        "--queues",
        cls=_Queues,
        multiple=True,
        type=click.UNPROCESSED,
        callback=_queues,
        metavar="NAME[:WEIGHT],...",
        help="Queues to serve, by weight (may be repeated); else every queue of the app's tasks.",
    ),
    click.option("--strict-order", is_flag=True, help="Serve queues in the order given, not by weight."),
    click.option("--no-events", is_flag=True, help="Run tasks only; handle no records of topics."),
    click.option("--events-only", is_flag=True, help="Handle records of topics only; run no tasks."),
    click.option("--drain-timeout", type=float, default=25.0, show_default=True, help="Seconds to finish at the end."),
    click.option(
        "--kill-grace",
        type=float,
        default=30.0,
        show_default=True,
        help="Seconds for tasks beside one that is past its hard limit.",
    ),
    click.option("--max-tasks-per-child", type=int, default=0, help="Replace a child after so many tasks."),
    click.option("--max-memory", type=int, default=0, metavar="MIB", help="Replace a child that uses more MiB."),
    port_option("--metrics-port", "Serve /metrics, /livez and /readyz there."),
    port_option("--health-port", "Serve /livez and /readyz there."),
    click.option("--http-host", default="127.0.0.1", show_default=True, help="Where these two listen."),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
    click.option(
        "-v",
        "--verbose",
        count=True,
        help="Tell of each success, tracebacks, and what others log at INFO; -vv tells everything.",
    ),
)


def worker_options(command: F) -> F:
    """Add the options that `taskq worker` and `taskq dev` share."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("app", required=False, metavar="[MODULE:APP]", envvar=["TASKQ_WORKER_APP", "TASKQ_APP"])
@worker_options
@click.option("--burst", is_flag=True, help="End when nothing is ready to run.")
@click.option("--reload", is_flag=True, help="Restart the children when a Python file here changes.")
@click.option("--allow-eviction", is_flag=True, help="Run on a broker that evicts keys, and may lose messages.")
@click.pass_context
def worker(ctx: click.Context, /, app: str | None, **options: Any) -> None:
    """Run tasks of an app, and its handlers of records.

    TERM or INT once: finish what runs. Twice: give it back now (exit code 5). USR1: start nothing new. USR2: show the
    stacks of all threads. Without MODULE:APP the app in [tool.taskq] is meant.
    """
    settings: Settings = ctx.obj
    config = worker_config(settings, app, options, "worker")
    log.configure(config.log_format, config.verbosity, "worker")
    _hint_at_variables(os.environ, [param.name or "" for param in ctx.command.params])
    ctx.exit(run_worker(config, settings.project_root))


def _hint_at_variables(env: Iterable[str], options: Sequence[str]) -> None:
    """Warn of variables that look like options of this command, and are none."""
    known = [name.upper() for name in options]
    for variable in sorted(env):
        name = variable.removeprefix(_PREFIX)
        if name != variable and name not in known and not _OF_A_SERVICE.fullmatch(name):
            near = get_close_matches(name, known, n=1)
            hint = f" (did you mean {_PREFIX}{near[0]}?)" if near else ""
            logger.warning("%s is set, and no option of taskq worker has that name%s", variable, hint)


def worker_config(settings: Settings, app: str | None, options: Mapping[str, Any], table: str) -> WorkerConfig:
    """The checked settings of a worker; options come merged from command line, environment and project."""
    unknown = [name for name in settings.values.get(table, {}) if name.replace("-", "_") not in options]
    if unknown:
        known = [name.replace("_", "-") for name in options]
        hint = did_you_mean(unknown[0], known)
        raise ConfigError(f"{settings.source}: unknown setting {unknown[0]!r} in [tool.taskq.{table}]{hint}")
    renamed = {"verbose": "verbosity", "max_memory": "max_memory_mb"}
    return WorkerConfig(
        app=app or settings.app or "", **{renamed.get(name, name): value for name, value in options.items()}
    )


def run_worker(
    config: WorkerConfig,
    folder: Path,
    source: str = "",
    watch: Callable[[], None] | None = None,
    way_out: str = "set it to noeviction, or run with --allow-eviction",
) -> int:
    """Run a supervisor to its end; answers its exit code.

    `source` says where the URL is from, if not the options; for `watch` see `Supervisor`. `way_out` is what can be done
    about a broker that evicts keys.
    """

    def ready(hello: Hello, link: SyncLink) -> None:
        _check_broker(config, hello, link, way_out)
        pages.connect(hello, supervisor.worker)
        _hint_at_queues(hello, link)
        _show(config, hello, supervisor.worker, f"({server_facts(link).name}), from {source or hello.source}")

    supervisor = Supervisor(config, ready, watch=watch)
    log.configure(config.log_format, config.verbosity, "worker", supervisor.worker)
    watcher = Watcher(folder, supervisor.request_reload) if config.reload else None
    with served(config, supervisor) as pages, watching(watcher):
        return supervisor.run()


@contextlib.contextmanager
def watching(watcher: Watcher | None) -> Generator[None]:
    """Files are watched inside the block, if at all."""
    if watcher is None:
        yield
        return
    watcher.start()
    try:
        yield
    finally:
        watcher.stop()


def _check_broker(config: WorkerConfig, hello: Hello, link: SyncLink, way_out: str) -> None:
    """Refuse a server on which messages would get lost without anybody noticing, and data that we cannot read."""
    link.execute("PING")  # a wrong password shows here; the facts would only be empty
    facts = server_facts(link)
    check_server(facts, masked(hello.url))
    policy = facts.maxmemory_policy or ""
    if policy.startswith("allkeys") and not config.allow_eviction:
        raise BrokerRefused(
            f"the broker at {masked(hello.url)} evicts keys when it is full (maxmemory-policy {policy}), and with them "
            f"messages; {way_out}"
        )
    layout.check(link, hello.namespace)


def _hint_at_queues(hello: Hello, link: SyncLink) -> None:
    """Warn of queues that look like a slip: no task here uses them, and nothing was ever enqueued there."""
    odd = [name for name in hello.queues if name not in hello.task_queues]
    seen = {
        str(name, "utf-8", "replace")
        for name in (link.execute("SMEMBERS", keys.queues(hello.namespace)) if odd else ())
    }
    for name in odd:
        if name not in seen:
            hint = did_you_mean(name, [*hello.task_queues, *seen])
            logger.warning(
                "no task of this app uses queue %r, and nothing is in it%s; it is served all the same", name, hint
            )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _show(config: WorkerConfig, hello: Hello, worker_id: str, about: str) -> None:
    """What was chosen, and from where: on stderr, before the first log line of a task."""
    weights = dict(config.queues)
    queues = ", ".join(f"{name}:{weights[name]}" if weights.get(name, 1) > 1 else name for name in hello.queues)
    tasks, events = _some(hello.tasks), _some(hello.consumes)
    none = "none: does the app import their modules?" if not (config.events_only or events) else "none"
    slots = (
        f"{config.concurrency} in one child"
        if config.processes == 1
        else (f"{config.concurrency} in each of {config.processes} children")
    )
    lines = (
        ("taskq", f"{__version__}, Python {platform.python_version()}, worker {worker_id}"),
        ("app", f"{hello.app}, namespace {hello.namespace}"),
        ("broker", f"{masked(hello.url)} {about}"),
        ("tasks", tasks or none),
        ("queues", queues or "none"),
        *([("events", events)] if events else []),
        ("slots", f"{slots}; Ctrl+C to drain"),
    )
    if config.log_format == "json":
        return
    with contextlib.suppress(OSError):  # a full disk or a pipe without a reader takes the words, not the work
        click.echo("\n".join(f"  {name:<7} {text}" for name, text in lines), err=True)
