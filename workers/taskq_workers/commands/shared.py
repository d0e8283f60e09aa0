"""What the subcommands share: the options that all of them take, and how they print JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from taskq.settings import URL_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])
_PORT = re.compile("[0-9]{1,5}")


class Whole(click.IntRange):
    """A whole number within limits; what is none is told which."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            limits = f"from {self.min}" + ("" if self.max is None else f" to {self.max}")
            self.fail(f"{value!r}: give a whole number {limits}", param, ctx)


class Amount(click.FloatRange):
    """A number above a limit, or not below it; what is none is told which."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            limits = f"above {self.min:g}" if self.min_open else f"of at least {self.min:g}"
            self.fail(f"{value!r}: give a number {limits}", param, ctx)


def port_option(flag: str, help: str) -> Callable[[F], F]:
    """An option that is a port; not given is None."""
    return click.option(flag, type=click.UNPROCESSED, callback=_port, metavar="PORT", help=help)


def _port(ctx: click.Context, param: click.Parameter, value: Any) -> int | None:
    """The port that is meant, 0 for a free one.

    Kubernetes sets `TASKQ_METRICS_PORT=tcp://10.0.0.1:9464` for a service of that name, and likewise for others: that
    is no port, and the option counts as not given.
    """
    source = ctx.get_parameter_source(param.name or "")
    if value is None or (source is ParameterSource.ENVIRONMENT and str(value).startswith("tcp://")):
        return None
    if not _PORT.fullmatch(str(value)) or int(value) > 65_535:
        raise click.BadParameter(f"{value!r} is not a port, a whole number from 0 to 65535", ctx, param)
    return int(value)


def broker_options(command: F) -> F:
    """Add `--url` and `--app`, which together say which broker is meant."""
    command = click.option("--app", metavar="MODULE:APP", help="The app whose broker is meant.")(command)
    # No envvar here: TASKQ_URL is read where the order of all sources is known.
    return click.option("--url", metavar="URL", help=f"The broker; else {URL_VARIABLE}, the app, the project.")(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def print_json(value: Mapping[str, Any]) -> None:
    # All that a terminal could obey is escaped by JSON itself, but for DEL.
    click.echo(json.dumps(value).replace("\x7f", "\\u007f"))
