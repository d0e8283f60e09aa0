"""`taskq health`: whether the broker answers and will do, for container and service probes."""

from __future__ import annotations

import time

import click

from taskq.desk import chosen_broker
from taskq.errors import BrokerError, BrokerRefused
from taskq.store.connection import SyncLink, check_server, server_facts
from taskq.store.url import parse_url
from taskq_workers import exits
from taskq_workers.commands.shared import Amount, broker_options, json_option, print_json


def has_answered(error: BrokerError) -> bool:
    """Whether the broker said this itself: an error reply has a code, a connection that failed has none."""
    return isinstance(error, BrokerRefused) or getattr(error.__cause__, "status_code", None) is not None


@click.command()
@broker_options
@click.option("--timeout", type=Amount(min=0.05), default=2.0, show_default=True, help="Seconds to wait.")
@json_option
@click.pass_context
def health(ctx: click.Context, url: str | None, app: str | None, timeout: float, as_json: bool) -> None:
    """Say whether the broker answers.

    Exit code 0 if it does, 3 if it cannot be reached, 6 if it answers but is not ready (loading its data, out of
    disk, refusing our password) or too old for taskq.
    """
    choice = chosen_broker(ctx.obj, url, app)
    link = SyncLink(choice.url, timeout=timeout, connect_timeout=timeout)
    problem, code, took = "", exits.OK, 0.0
    try:
        link.execute("PING")
        began = time.perf_counter()  # the first one also connected
        link.execute("PING")
        took = time.perf_counter() - began
        check_server(server_facts(link), parse_url(choice.url).masked)
    except BrokerError as error:
        problem, code = str(error), exits.UNHEALTHY if has_answered(error) else exits.UNREACHABLE
    finally:
        link.close()
    if as_json:
        shown = parse_url(choice.url).masked
        print_json({"ok": not problem, "broker": shown, "seconds": round(took, 6), "problem": problem or None})
    elif problem:
        click.echo(f"error: {problem}", err=True)
    else:
        click.echo(f"ok  {parse_url(choice.url).masked}  {took * 1000:.1f} ms")
    ctx.exit(code)
