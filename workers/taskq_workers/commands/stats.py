"""`taskq stats`: what every queue, or every task, has done so far, and how fast."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from taskq.buckets import Histogram
from taskq.inspector import QueueInfo
from taskq.snapshot import Snapshot, TaskStats
from taskq.watching import Watch
from taskq_workers.commands.operating import Desk, lasting, operator_options, print_rows, warn
from taskq_workers.commands.queue import queues_of
from taskq_workers.commands.shared import json_option, print_json
from taskq_workers.terminal import span

_COUNTERS = ("enqueued", "done", "failed", "retried", "dead", "cancelled", "expired")
_HEAD = ("QUEUE", "WAITING", "LEASED", *(name.upper() for name in _COUNTERS))
_OF_TASKS = ("done", "failed", "retried", "dead", "cancelled", "expired")
_SHOWN = _OF_TASKS[:4]
_SHARES = (50, 95, 99)
_TASKS_HEAD = (
    *("QUEUE", "TASK", *(name.upper() for name in _SHOWN)),
    *(f"{what} p{share}" for what in ("RUN", "WAIT") for share in _SHARES),
)


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@click.option(
    *("--over", "--for", "over"),
    type=lasting,
    metavar="DURATION",
    help="Look twice, so far apart, and show rates per second.",
)
@click.option("--tasks", "by_task", is_flag=True, help="A line for each task: counts, and how long it runs and waits.")
@json_option
@operator_options
def stats(desk: Desk, names: tuple[str, ...], over: float | None, by_task: bool, as_json: bool) -> None:
    """Counts and rates of every queue, and of all together; or of every task.

    The counters grow as long as the queue is there. WAITING is ready and delayed; FAILED counts attempts; DEAD counts
    every burial, also of letters that were retried since. RUN and WAIT are what 50, 95 and 99 of 100 attempts did not
    exceed, to about a quarter.
    """
    if by_task:
        _tasks(desk, names, over, as_json)
        return
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
        print_rows(_HEAD, [*rows, _total(rows, truncated)] if len(rows) > 1 and not rates else rows)
    else:
        warn(f"namespace {desk.namespace!r} has no queues yet")
    if truncated:
        warn(f"only the first {len(infos)} queues are shown; name others")


def _row(info: QueueInfo, rates: dict[str, float] | None) -> list[Any]:
    waiting = info.ready + info.delayed
    if rates is None:
        return [info.name, waiting, info.leased, *(info.counters.get(name, 0) for name in _COUNTERS)]
    return [info.name, waiting, info.leased, *(f"{rates.get(name, 0.0):.1f}/s" for name in _COUNTERS)]


def _total(rows: list[list[Any]], truncated: bool) -> list[Any]:
    return ["shown" if truncated else "all", *(sum(row[at] for row in rows) for at in range(1, len(_HEAD)))]


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


# -- by task -----------------------------------------------------------------------------------------------------------


def _tasks(desk: Desk, names: tuple[str, ...], over: float | None, as_json: bool) -> None:
    for name in names:
        desk.inspector.need_queue(name)
    watch = Watch(desk.inspector.link, desk.namespace, failures=0)
    seen, seconds = watch.look(samples=False), 0.0
    tasks = [one for one in seen.tasks if not names or one.queue in names]
    if over is not None:
        time.sleep(over)
        later = watch.look(samples=False, every=True)
        tasks, seconds = _since(seen, later, names), max((later.now - seen.now) / 1000, 0.001)
        seen = later
    if as_json:
        for one in tasks:
            print_json(_as_json(one, seconds))
    elif tasks:
        print_rows(_TASKS_HEAD, [_task_row(one, seconds) for one in tasks])
    else:
        warn(f"nothing is counted of any task {'there' if names else f'in namespace {desk.namespace!r}'} yet")
    if seen.truncated:
        warn(f"not all could be read: {', '.join(seen.truncated[:10])}")


def _since(before: Snapshot, after: Snapshot, names: tuple[str, ...]) -> list[TaskStats]:
    """What each task did between two looks; one that was not there before counts from nothing."""
    first = {(one.queue, one.task): one for one in before.tasks}
    found = []
    for one in after.tasks:
        if names and one.queue not in names:
            continue
        old = first.get((one.queue, one.task), TaskStats(one.queue, one.task))
        counts = {name: max(getattr(one, name) - getattr(old, name), 0) for name in _OF_TASKS}
        found.append(
            TaskStats(one.queue, one.task, **counts, run=one.run.minus(old.run), wait=one.wait.minus(old.wait))
        )
    return found


def _task_row(one: TaskStats, seconds: float) -> list[Any]:
    counts = [getattr(one, name) for name in _SHOWN]
    spans = [_short(of.quantile(share / 100)) for of in (one.run, one.wait) for share in _SHARES]
    return [one.queue, one.task, *(f"{count / seconds:.1f}/s" if seconds else count for count in counts), *spans]


def _as_json(one: TaskStats, seconds: float) -> dict[str, Any]:
    def spread(of: Histogram) -> dict[str, Any]:
        return {"count": of.total} | {f"p{share}": of.quantile(share / 100) for share in _SHARES}

    counts = {name: getattr(one, name) for name in _OF_TASKS}
    rates = {name: count / seconds for name, count in counts.items()} if seconds else None
    spreads = {"run": spread(one.run), "wait": spread(one.wait)}
    return {"queue": one.queue, "task": one.task} | counts | spreads | {"rates": rates}


def _short(seconds: float | None) -> str:
    """A duration as two or three digits with a unit.

    >>> _short(0.000012), _short(0.0123), _short(4.2), _short(90), _short(None)
    ('12 us', '12 ms', '4.2 s', '1 m 30 s', '-')
    """
    if seconds is None or seconds >= 1:
        return span(seconds)
    value, unit = (seconds * 1e3, "ms") if seconds >= 0.001 else (seconds * 1e6, "us")
    return f"{value:.{1 if value < 10 else 0}f} {unit}"
