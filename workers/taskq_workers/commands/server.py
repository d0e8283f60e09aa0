"""`taskq server start|stop|status`: the project's embedded server, shared by every terminal of the project."""

from __future__ import annotations

import click

from taskq.settings import Settings
from taskq.store import embedded
from taskq.store.connection import SyncLink, server_facts
from taskq_workers import exits
from taskq_workers.commands.shared import json_option, print_json


@click.group()
def server() -> None:
    """Start, stop and show the project's embedded server.

    It is a real Redis or Valkey on a private unix socket, with its data in .taskq/ of the project. It outlives the
    terminal that started it.
    """


@server.command()
@json_option
@click.pass_obj
def start(settings: Settings, as_json: bool) -> None:
    """Start it, unless it runs already."""
    _show(embedded.start(settings.project_root), as_json)


@server.command()
@json_option
@click.pass_obj
def stop(settings: Settings, as_json: bool) -> None:
    """Stop it; its data stay in .taskq/."""
    stopped = embedded.stop(settings.project_root)
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo("stopped" if stopped else f"no server was running for {settings.project_root}")


@server.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show whether it runs and where; exit code 3 if it does not."""
    found = embedded.status(ctx.obj.project_root)
    _show(found, as_json)
    if not found.running:
        ctx.exit(exits.UNREACHABLE)


def _show(found: embedded.ServerStatus, as_json: bool) -> None:
    name = ""
    if found.running:
        link = SyncLink(found.url)
        name = server_facts(link).name
        link.close()
    if as_json:
        print_json({**found.as_dict(), "server": name or None})
    elif found.running:
        click.echo(f"running  {name}, pid {found.pid}\nurl      {found.url}\ndata     {found.data}")
    else:
        click.echo(f"not running; its data would be in {found.data}")
