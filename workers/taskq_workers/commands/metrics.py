"""`taskq metrics`: serve the figures of a namespace to Prometheus, from a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import threading

import click

from taskq.exporter import OWN_RANK, Exporter, looking
from taskq.exposition import library
from taskq_workers.commands.operating import Desk, operator_options
from taskq_workers.commands.serving import page_answer, probe_answer
from taskq_workers.commands.shared import port_option
from taskq_workers.config import LogFormat
from taskq_workers.listener import Listener
from taskq_workers.log import configure

PORT = 9464


@click.command()
@port_option("--port", "Where to serve; 0 takes a free one.  [default: 9464]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 is everywhere.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@operator_options
def metrics(desk: Desk, port: int | None, host: str, log_format: LogFormat) -> None:
    """Serve the figures of a namespace to Prometheus, at /metrics.

    Runs until TERM or INT. While it is scraped, workers with --metrics-port serve only what is their own.
    """
    configure(log_format, 0, "metrics")
    library()
    name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
    link = desk.broker.link
    exporter = Exporter(link, desk.namespace, looking(link, desk.namespace), name, OWN_RANK)
    ended = threading.Event()
    listener = Listener(
        host,
        PORT if port is None else port,
        {
            "/metrics": lambda accept: page_answer(exporter.page(), accept),
            "/livez": lambda _: probe_answer(None),
            "/readyz": lambda _: probe_answer(None),
        },
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    listener.start()
    click.echo(f"serving namespace {desk.namespace} at http://{listener.address}/metrics", err=True)
    try:
        ended.wait()
    finally:
        listener.close()
        exporter.close()
