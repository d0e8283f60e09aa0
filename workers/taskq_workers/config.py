"""What a worker is told to do: its own settings, and those that it hands to each child."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from taskq import checks
from taskq.errors import ConfigError, TaskqError
from taskq.names import check_name, shown

LogFormat = Literal["text", "json"]

CHILD_VARIABLE = "TASKQ_CHILD"
"""The environment variable in which a child finds its `ChildSettings`."""


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What the supervisor tells a child: one line of JSON in the environment.

    `url` is what the command line said, None leaves the choice to the app. `queues` are names and weights, none means
    every queue of the app's tasks. `worker` is the id of the supervisor, `index` the child's number in it, `parent` the
    supervisor's process. An `alone` child has one slot, takes only what must run alone, and ends when there is nothing
    of that. With `no_events` it handles no records, with `events_only` it runs no tasks; its worker has `processes` of
    its kind. If `measured`, it tells how long handlers of records take. `drain_timeout` in seconds, `max_memory_mb` in
    MiB; a limit of 0 is none. The process inherits the three descriptors; its table has `concurrency` slots.
    """

    app: str
    worker: str
    index: int
    parent: int
    table_fd: int = -1
    up_fd: int = -1
    down_fd: int = -1
    url: str | None = None
    queues: tuple[tuple[str, int], ...] = ()
    strict_order: bool = False
    concurrency: int = 8
    burst: bool = False
    alone: bool = False
    no_events: bool = False
    events_only: bool = False
    processes: int = 1
    lease: float | None = None
    drain_timeout: float = 25.0
    max_tasks_per_child: int = 0
    max_memory_mb: int = 0
    log_format: LogFormat = "text"
    verbosity: int = 0
    measured: bool = False

    def with_descriptors(self, table: int, up: int, down: int) -> ChildSettings:
        return replace(self, table_fd=table, up_fd=up, down_fd=down)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChildSettings:
        """The settings in the text that `to_json` made."""
        fields: dict[str, Any] = json.loads(text)
        fields["queues"] = tuple((name, weight) for name, weight in fields["queues"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What `taskq worker` is told, checked: one `ConfigError` for the first value that cannot be meant.

    `kill_grace` is how long the neighbours of a task past its hard limit may go on, in seconds. Metrics and probes are
    served at `http_host` on the ports that are not None; port 0 takes one that is free. Other fields as in
    `ChildSettings`.
    """

    app: str
    url: str | None = None
    queues: tuple[tuple[str, int], ...] = ()
    processes: int = 1
    concurrency: int = 8
    strict_order: bool = False
    burst: bool = False
    reload: bool = False
    allow_eviction: bool = False
    no_events: bool = False
    events_only: bool = False
    drain_timeout: float = 25.0
    kill_grace: float = 30.0
    max_tasks_per_child: int = 0
    max_memory_mb: int = 0
    log_format: LogFormat = "text"
    verbosity: int = 0
    metrics_port: int | None = None
    health_port: int | None = None
    http_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if not self.app:
            raise ConfigError('no app is named: write taskq worker module:app, or app = "module:app" in [tool.taskq]')
        for name, least, most in _WHOLE:
            checks.whole(getattr(self, name), name.replace("_", "-").removesuffix("-mb"), least, most)
        for name in ("drain_timeout", "kill_grace"):
            checks.seconds(getattr(self, name), name.replace("_", "-"))
        for name in ("metrics_port", "health_port"):
            if getattr(self, name) is not None:
                checks.whole(getattr(self, name), name.replace("_", "-"), 0, 65_535)
        if self.burst and self.reload:
            raise ConfigError("burst ends when the queues are empty, reload waits for changes: choose one of them")
        if self.events_only and (self.no_events or self.burst or self.queues):
            other = "no-events" if self.no_events else "burst" if self.burst else "queues"
            raise ConfigError(f"events-only runs no tasks, so it does not go with {other}: choose one of them")

    def child(self, worker: str, index: int, *, alone: bool = False) -> ChildSettings:
        """The settings of one child, still without its descriptors."""
        return ChildSettings(
            app=self.app,
            worker=worker,
            index=index,
            parent=os.getpid(),
            url=self.url,
            queues=self.queues,
            strict_order=self.strict_order,
            concurrency=1 if alone else self.concurrency,
            burst=self.burst or alone,  # it ends when nothing is left for it
            alone=alone,
            no_events=self.no_events or self.burst or alone,  # these end by themselves, and topics do not
            events_only=self.events_only,
            processes=self.processes,
            drain_timeout=self.drain_timeout,
            max_tasks_per_child=self.max_tasks_per_child,
            max_memory_mb=self.max_memory_mb,
            log_format=self.log_format,
            verbosity=self.verbosity,
            measured=self.metrics_port is not None,
        )


_WHOLE = (
    ("processes", 1, 256),
    ("concurrency", 1, 4096),
    ("max_tasks_per_child", 0, 2**31),
    ("max_memory_mb", 0, 2**31),
    ("verbosity", 0, 9),
)
_MOST_WEIGHT = 1000


def parse_queues(given: str | Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Queue names with their weights, from `high:3,default` or from a list of such parts.

    >>> parse_queues("high:3, default")
    (('high', 3), ('default', 1))
    """
    parts = given.split(",") if isinstance(given, str) else [str(part) for part in given]
    queues: dict[str, int] = {}
    for part in parts:
        name, colon, weight = part.strip().partition(":")
        try:
            check_name(name)
        except TaskqError as error:
            raise ConfigError(f"queues={shown(given)}: {error}") from error
        if name in queues:
            raise ConfigError(f"queues={shown(given)}: {name!r} is named twice")
        # Its length first: Python refuses to read an int of more than 4,300 digits.
        if colon and not (
            len(weight) < 10 and weight.isascii() and weight.isdigit() and 1 <= int(weight) <= _MOST_WEIGHT
        ):
            raise ConfigError(
                f"queues={shown(given)}: the weight of {name!r} is a whole number from 1 to {_MOST_WEIGHT}"
            )
        queues[name] = int(weight) if colon else 1
    return tuple(queues.items())
