"""`taskq stats`: what every queue has done so far, and how fast."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from taskq.inspector import QueueInfo
from taskq_workers.commands.operating import Desk, duration, operator_options, print_rows, warn
from taskq_workers.commands.queue import queues_of
from taskq_workers.commands.shared import json_option, print_json

_COUNTERS = ("enqueued", "done", "retried", "dead", "cancelled", "expired")
_HEAD = ("QUEUE", "WAITING", "LEASED", *(name.upper() for name in _COUNTERS))


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@click.option("--over", type=duration, metavar="DURATION", help="Look twice, so far apart, and show rates per second.")
@json_option
@operator_options
def stats(desk: Desk, names: tuple[str, ...], over: float | None, as_json: bool) -> None:
    """Counts and rates of every queue, and of all together.

    The counters grow as long as the queue is there. WAITING is ready and delayed; DEAD counts every burial, also of
    letters that were retried since.
    """
    infos, truncated = queues_of(desk, names)
    rates: dict[str, dict[str, float]] = {}
    if over is not None:
        time.sleep(over)
        later, truncated = queues_of(desk, names)
        rates, infos = _rates(infos, later), later
    if as_json:
        for info in infos:
            print_json(asdict(info) | {"rates": rates.get(info.name)})
    elif infos:
        rows = [_row(info, rates.get(info.name)) for info in infos]
        print_rows(_HEAD, [*rows, _total(rows)] if len(rows) > 1 and not rates else rows)
    else:
        warn(f"namespace {desk.namespace!r} has no queues yet")
    if truncated:
        warn(f"only the first {len(infos)} queues are shown; name others")


def _row(info: QueueInfo, rates: dict[str, float] | None) -> list[Any]:
    waiting = info.ready + info.delayed
    if rates is None:
        return [info.name, waiting, info.leased, *(info.counters.get(name, 0) for name in _COUNTERS)]
    return [info.name, waiting, info.leased, *(f"{rates.get(name, 0.0):.1f}/s" for name in _COUNTERS)]


def _total(rows: list[list[Any]]) -> list[Any]:
    return ["all", *(sum(row[at] for row in rows) for at in range(1, len(_HEAD)))]


def _rates(before: list[QueueInfo], after: list[QueueInfo]) -> dict[str, dict[str, float]]:
    """Per second, by the server's clock; a queue that was not there before counts from nothing."""
    first = {info.name: info for info in before}
    rates = {}
    for info in after:
        old = first.get(info.name)
        seconds = max((info.now - old.now) / 1000, 0.001) if old else 0.0
        counted = {name: value - (old.counters.get(name, 0) if old else 0) for name, value in info.counters.items()}
        rates[info.name] = {name: value / seconds if seconds else 0.0 for name, value in counted.items()}
    return rates
