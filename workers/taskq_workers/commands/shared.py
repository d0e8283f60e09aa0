"""What the subcommands share: the options that all of them take, and how they print JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from taskq.settings import URL_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])


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
