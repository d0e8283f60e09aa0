"""`taskq dev`: a server, a worker and reload in one terminal."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from taskq.errors import BrokerUnavailable
from taskq.settings import Settings
from taskq.store import embedded
from taskq_workers.commands.worker import run_worker, worker_config, worker_options
from taskq_workers.process import how_it_died
from taskq_workers.reload import can_reload

log = logging.getLogger("taskq.worker")

_NO_EVICTION = "set it to noeviction, or leave --url out for a server of the project's own"
QUICK_S = 30.0
"""A server that dies again so soon after it was started anew is not started a third time."""


class DevServer:
    """The server of `taskq dev`. One that dies is started again on its data; one that was stopped stays so."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = embedded.own(folder)
        self._renewed = float("-inf")

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def shared(self) -> bool:
        return self._server.shared

    def look(self) -> None:
        """See whether it is still there; main thread only, for a server ends with the thread that started it."""
        code = self._server.ended()
        if code is None:
            return
        self._server.close()
        how, where = how_it_died(code), embedded.status(self._folder).log
        if code == 0:
            raise BrokerUnavailable("the server of this `taskq dev` was stopped, so the worker ends as well")
        if time.monotonic() - self._renewed < QUICK_S:
            raise BrokerUnavailable(f"the server of this `taskq dev` died again ({how}); see {where}")
        log.error("the server died: %s; it is started again on its data (see %s)", how, where)
        self._server = embedded.own(self._folder)
        self._renewed = time.monotonic()
        log.warning("the server is back")

    def close(self) -> None:
        self._server.close()


@click.command()
@click.argument("app", required=False, metavar="[MODULE:APP]", envvar=["TASKQ_DEV_APP", "TASKQ_APP"])
@worker_options
@click.option("--reload/--no-reload", default=True, show_default=True, help="Restart the children on changes.")
@click.pass_context
def dev(ctx: click.Context, /, app: str | None, **options: Any) -> None:
    """Run a server and a worker for one project, for development.

    The server is the project's own, with its data in .taskq/: other terminals of the project find it while this one
    runs. Both end together. A server that dies is started again, once; if it was stopped, or dies again at once, all
    ends with exit code 3. With --url no server is started.
    """
    settings: Settings = ctx.obj
    config_options = dict(options)
    if options["reload"] and not can_reload():
        click.echo("  reload   off: install taskq-redis[reload] to restart on changes", err=True)
        config_options["reload"] = False
    if options["url"]:
        config = worker_config(settings, app, config_options, "dev")
        ctx.exit(run_worker(config, settings.project_root, way_out=_NO_EVICTION))
    config = worker_config(settings, app, config_options, "dev")  # before a server is started for nothing
    server = DevServer(settings.project_root)
    try:
        shared = "already running, it goes on" if server.shared else "ends with this command"
        click.echo(f"  server   {server.url} ({shared})", err=True)
        ctx.exit(run_worker(replace(config, url=server.url), settings.project_root, "taskq dev", server.look))
    finally:
        server.close()
