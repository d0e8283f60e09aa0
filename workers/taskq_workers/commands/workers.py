"""`taskq workers ls`: who is there, by their own last word."""

from __future__ import annotations

import time
from typing import Any

import click

from taskq.inspector import WorkerInfo
from taskq_workers.commands.operating import Desk, operator_options, print_each, print_rows, warn
from taskq_workers.commands.shared import json_option
from taskq_workers.terminal import span

_HEAD = ("WORKER", "STATE", "QUEUES", "SLOTS", "RUNNING", "DONE", "FAILED", "UP", "LAST SEEN", "VERSION")


@click.group()
def workers() -> None:
    """List running workers."""


@workers.command("ls")
@click.option("--queue", metavar="NAME", help="Only those that serve this queue.")
@json_option
@operator_options
def list_workers(desk: Desk, queue: str | None, as_json: bool) -> None:
    """Show the workers of the last hour; one that is `gone` has not spoken for ten seconds."""
    found = desk.inspector.workers()
    chosen = [one for one in found.workers if queue is None or queue in _names(one.record.get("queues"))]
    if as_json:
        print_each(chosen)
    elif chosen:
        print_rows(_HEAD, [_row(one, time.time() * 1000) for one in chosen])
    else:
        warn("no worker is there" + ("" if queue is None else f" for queue {queue!r}"))
    if found.truncated:
        warn(f"only the {len(found.workers)} that spoke last are looked at")


def _row(one: WorkerInfo, now: float) -> list[Any]:
    record = one.record
    if not one.present:
        return [one.id, "gone", *["-"] * 6, span(_since(one.beat, now)), "-"]
    counters = record.get("counters")
    counters = counters if isinstance(counters, dict) else {}
    children = record.get("children")
    running = [child.get("running", 0) for child in children or () if isinstance(child, dict)]
    slots = _number(record.get("processes")) * _number(record.get("concurrency"))
    return [
        one.id,
        record.get("state", "?"),
        ",".join(_names(record.get("queues"))),
        slots,
        sum(_number(count) for count in running),
        _number(counters.get("done")),
        _number(counters.get("failed")),
        span(_since(_number(record.get("started")), now)),
        span(_since(one.beat, now)),
        record.get("version", "?"),
    ]


def _since(then: float, now: float) -> float:
    return max((now - then) / 1000, 0.0)


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) else 0
