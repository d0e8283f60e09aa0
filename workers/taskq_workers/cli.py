"""The `taskq` command: a static table of subcommands, each imported only when it runs, so that help stays quick.

Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 broker unreachable, 4 app import failed, 5 forced shutdown,
6 unhealthy, 130 interrupted. Every option can come from `TASKQ_<COMMAND>_<OPTION>` and from the table
`[tool.taskq.<command>]` of `pyproject.toml`; the command line wins, then the environment.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from taskq import __version__
from taskq.errors import ConfigError, TaskqError
from taskq.names import did_you_mean
from taskq.settings import Settings, read_settings
from taskq_workers import exits
from taskq_workers.streams import hold
from taskq_workers.terminal import clean, encodable

# name -> (module:attribute, help). A name is listed once its module exists.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("taskq_workers.commands.demo:demo", "See it work: a server, two workers and real tasks, in one command."),
    "dev": ("taskq_workers.commands.dev:dev", "Server, worker and reload in one terminal, for development."),
    "worker": ("taskq_workers.commands.worker:worker", "Run tasks."),
    "dashboard": ("taskq_dashboard.command:dashboard", "Watch queues, workers and dead letters live."),
    "run": ("taskq_workers.commands.run:run", "Enqueue a task by name."),
    "queue": ("taskq_workers.commands.queue:queue", "List, pause and purge queues; read and replay history."),
    "message": ("taskq_workers.commands.message:message", "Show and cancel messages."),
    "dead": ("taskq_workers.commands.dead:dead", "List, retry and remove dead letters."),
    "schedule": ("taskq_workers.commands.schedule:schedule", "List, run and pause schedules."),
    "topic": ("taskq_workers.commands.topic:topic", "List and read topics and their groups."),
    "workers": ("taskq_workers.commands.workers:workers", "List running workers."),
    "stats": ("taskq_workers.commands.stats:stats", "Counts and rates of every queue."),
    "metrics": ("taskq_workers.commands.metrics:metrics", "Serve the figures of a namespace to Prometheus."),
    "health": ("taskq_workers.commands.health:health", "Say whether the broker answers, for probes."),
    "doctor": ("taskq_workers.commands.doctor:doctor", "Examine the broker and say what to do about it."),
    "server": ("taskq_workers.commands.server:server", "Start, stop and show the project's embedded server."),
}
# What may stand directly in [tool.taskq], besides one table per command.
PROJECT_SETTINGS = ("app", "url", "namespace")


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are run, and listed without being imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (target, _) in COMMANDS.items() if _exists(target)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS or not _exists(COMMANDS[cmd_name][0]):
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}{_nearest(args[0], known)}")
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and isinstance(ctx.obj, Settings):
            _check_table(ctx.obj.source, f"tool.taskq.{name}", command, ctx.obj.values.get(name, {}))
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        # Only here, so that `taskq --help` works beside a pyproject.toml that cannot be read.
        settings = read_settings()
        _check(settings, self.list_commands(ctx))
        ctx.obj = settings
        ctx.default_map = _default_map(settings.values)
        return super().invoke(ctx)


def _exists(target: str) -> bool:
    try:
        return importlib.util.find_spec(target.partition(":")[0]) is not None
    except ModuleNotFoundError:  # its package is not there
        return False


def _check(settings: Settings, commands: Iterable[str]) -> None:
    known = [*PROJECT_SETTINGS, *commands]
    for name in settings.values:
        if name not in known:
            raise ConfigError(f"{settings.source}: unknown setting {name!r} in [tool.taskq]{_nearest(name, known)}")
        if name not in PROJECT_SETTINGS and not isinstance(settings.values[name], dict):
            raise ConfigError(f"{settings.source}: [tool.taskq] {name} is a table: write [tool.taskq.{name}]")


def _check_table(source: Path | None, path: str, command: click.Command, table: Mapping[str, Any]) -> None:
    """Refuse what is no option of a command, and no command of a group: click would not look at it."""
    inner = command.commands if isinstance(command, click.Group) else {}
    options = [(param.name or "").replace("_", "-") for param in command.params if isinstance(param, click.Option)]
    for name, value in table.items():
        if name in inner:
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: [{path}] {name} is a table: write [{path}.{name}]")
            _check_table(source, f"{path}.{name}", inner[name], value)
        elif name.replace("_", "-") not in options:
            known = [*options, *inner]
            raise ConfigError(f"{source}: unknown setting {name!r} in [{path}]{did_you_mean(name, known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _default_map(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.replace("-", "_"): _default_map(value) if isinstance(value, dict) else value
        for name, value in table.items()
    }


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"taskq {__version__}")
        ctx.exit()


@click.command(cls=LazyGroup, context_settings={"auto_envvar_prefix": "TASKQ", "help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
def taskq() -> None:
    """Tasks and events on Redis or Valkey."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors of taskq become one line on stderr."""
    try:
        result = taskq.main(
            args=list(arguments) if arguments is not None else None, prog_name="taskq", standalone_mode=False
        )
    except TaskqError as error:
        return _say(str(error), exits.code_for(error))
    except click.ClickException as error:
        if isinstance(error, click.BadParameter):
            error.param_hint = _given_by(error) or error.param_hint
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", exits.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing must be written to it on the way out either.
        sys.stdout = None
        return exits.FAILED
    except OSError as error:
        sys.stdout = None  # it may be what failed, a full disk say
        return _say(str(error), exits.FAILED)
    return result if isinstance(result, int) else exits.OK


def _given_by(error: click.BadParameter) -> str:
    """The variable, or the file and its key, that a value comes from; empty if it was typed here."""
    ctx, param = error.ctx, error.param
    if ctx is None or param is None or param.name is None:
        return ""
    source = ctx.get_parameter_source(param.name)
    if source is ParameterSource.ENVIRONMENT:
        named = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())
        names = [*named, f"{ctx.auto_envvar_prefix}_{param.name.upper()}"]
        return next((name for name in names if os.environ.get(name)), "")
    if source is ParameterSource.DEFAULT_MAP:
        settings: Settings = ctx.find_root().obj
        table = ".".join(["tool", *ctx.command_path.split()])
        return f"{param.name.replace('_', '-')} in [{table}] of {settings.source}"
    return ""


def _say(text: str, code: int) -> int:
    click.echo(encodable(f"error: {clean(' '.join(text.split()))}", sys.stderr), err=True)
    return code


def main() -> NoReturn:
    """The console script."""
    try:
        hold()
        code = run()
    except KeyboardInterrupt:  # a second one, or one that came before the command did
        code = _say("interrupted", exits.INTERRUPTED)
    sys.exit(code)
