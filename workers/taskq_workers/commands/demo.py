"""`taskq demo`: see it work."""

from __future__ import annotations

import signal

import click
from rich.console import Console

from taskq_workers import exits
from taskq_workers.commands.shared import Whole
from taskq_workers.demo.run import DemoOptions, run_demo
from taskq_workers.demo.screen import open_screen
from taskq_workers.demo.summary import last_line, show


@click.command()
@click.option("--files", type=Whole(1), metavar="N", help="Index only N files, spread over the library.")
@click.option("--children", type=Whole(1, 64), default=2, show_default=True, help="Child processes.")
@click.option("--keep", is_flag=True, help="Keep the ledger, the worker's log and the server's data.")
@click.pass_context
def demo(ctx: click.Context, files: int | None, children: int, keep: bool) -> None:
    """See it work: real tasks on a real server, and one worker process killed in the middle.

    Each source file of this Python's standard library is one task: parse it, count definitions and tokens, hash it.
    Files that are not valid Python are retried and end as dead letters. The tasks write what they did into a ledger; at
    the end it is compared with what the broker says. Exit code 0 only if nothing was lost.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl+C does, and cleans up
    console = Console()
    with open_screen(console) as screen:
        report = run_demo(DemoOptions(files, children, keep), screen)
    show(report, console)
    click.echo(last_line(report))
    ctx.exit(exits.OK if report.account.lost == 0 else exits.FAILED)
