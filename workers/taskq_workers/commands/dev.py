"""`taskq dev`: a server, a worker and reload in one terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from taskq.settings import Settings
from taskq.store import embedded
from taskq_workers.commands.worker import run_worker, worker_config, worker_options
from taskq_workers.reload import can_reload


@click.command()
@click.argument("app", required=False, metavar="[MODULE:APP]", envvar=["TASKQ_DEV_APP", "TASKQ_APP"])
@worker_options
@click.option("--reload/--no-reload", default=True, show_default=True, help="Restart the children on changes.")
@click.pass_context
def dev(ctx: click.Context, /, app: str | None, **options: Any) -> None:
    """Run a server and a worker for one project, for development.

    The server is the project's own, with its data in .taskq/: other terminals of the project find it while this one
    runs. Both end together. With --url no server is started.
    """
    settings: Settings = ctx.obj
    config_options = dict(options)
    if options["reload"] and not can_reload():
        click.echo("  reload   off: install taskq-redis[reload] to restart on changes", err=True)
        config_options["reload"] = False
    if options["url"]:
        ctx.exit(run_worker(worker_config(settings, app, config_options, "dev"), settings.project_root))
    config = worker_config(settings, app, config_options, "dev")  # before a server is started for nothing
    with embedded.own(settings.project_root) as server:
        shared = "already running, it goes on" if server.shared else "ends with this command"
        click.echo(f"  server   {server.url} ({shared})", err=True)
        ctx.exit(run_worker(replace(config, url=server.url), settings.project_root, "taskq dev"))
