"""What a worker is told to do: its own settings, and those that it hands to each child."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

LogFormat = Literal["text", "json"]

CHILD_VARIABLE = "TASKQ_CHILD"
"""The environment variable in which a child finds its `ChildSettings`."""


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What the supervisor tells a child: one line of JSON in the environment.

    `url` is what the command line said, None leaves the choice to the app. `queues` are names and weights, none means
    every queue of the app's tasks. `worker` is the id of the supervisor, `index` the child's number in it, `parent` the
    supervisor's process. An `alone` child has one slot, takes only what must run alone, and ends when there is nothing
    of that. `drain_timeout` in seconds, `max_memory_mb` in MiB; a limit of 0 is none. The process inherits the three
    descriptors; its table has `concurrency` slots.
    """

    app: str
    worker: str
    index: int
    parent: int
    table_fd: int
    up_fd: int
    down_fd: int
    url: str | None = None
    queues: tuple[tuple[str, int], ...] = ()
    strict_order: bool = False
    concurrency: int = 8
    burst: bool = False
    alone: bool = False
    lease: float | None = None
    drain_timeout: float = 25.0
    max_tasks_per_child: int = 0
    max_memory_mb: int = 0
    log_format: LogFormat = "text"
    verbosity: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChildSettings:
        """The settings in the text that `to_json` made."""
        fields: dict[str, Any] = json.loads(text)
        fields["queues"] = tuple((name, weight) for name, weight in fields["queues"])
        return cls(**fields)
