"""What a running task can know of itself: `taskq.current()`."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Protocol

from taskq.errors import TaskCancelled, TaskqError
from taskq.message import id_text


class Running(Protocol):
    """What the runtime keeps of one attempt; a context reads it when it is asked."""

    @property
    def id(self) -> bytes: ...
    @property
    def task_name(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def attempt_number(self) -> int: ...
    @property
    def deliveries(self) -> int: ...
    @property
    def crashes(self) -> int: ...
    @property
    def fence(self) -> int: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def cancel_requested(self) -> bool: ...
    @property
    def lease_lost(self) -> bool: ...
    def report_progress(self, done: float, total: float | None, note: str) -> None: ...


running: ContextVar[Running] = ContextVar("taskq_running")
"""Set by the runtime around each attempt; read through `current`."""


class Context:
    """One attempt as its task sees it.

    `fence` grows across the whole queue: a later attempt always has a larger one, so a row that keeps the largest fence
    it has seen can refuse a stale writer.
    """

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    @property
    def id(self) -> str:
        """The id of the message."""
        return id_text(self._running.id)

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._running.task_name

    @property
    def queue(self) -> str:
        """The queue that the message came from."""
        return self._running.queue

    @property
    def attempt(self) -> int:
        """Which attempt this is, counted from 1."""
        return self._running.attempt_number

    @property
    def deliveries(self) -> int:
        """How often the message was handed to a worker, this time included."""
        return self._running.deliveries

    @property
    def crashes(self) -> int:
        """How many worker processes died while they ran this message."""
        return self._running.crashes

    @property
    def fence(self) -> int:
        """A number that is larger for every later lease of the queue."""
        return self._running.fence

    @property
    def headers(self) -> dict[str, str]:
        """What the producer put beside the arguments."""
        return self._running.headers

    @property
    def remaining(self) -> float | None:
        """Seconds until the soft time limit, or None without one."""
        deadline = self._running.deadline
        return None if deadline is None else max(deadline - time.monotonic(), 0.0)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel this message."""
        return self._running.cancel_requested

    @property
    def lease_lost(self) -> bool:
        """Whether the lease is gone: another worker may run this message, and this run's outcome will not be stored."""
        return self._running.lease_lost

    def check(self) -> None:
        """Raise TaskCancelled if the message was cancelled; for long loops in plain functions."""
        if self._running.cancel_requested:
            raise TaskCancelled(f"message {self.id} was cancelled")

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far this attempt is; the newest word is what others see, at most once a second.

        Nothing is stored once the lease is lost: what others see is then the word of whoever has the message now.
        """
        self._running.report_progress(done, total, note)

    def __repr__(self) -> str:
        return f"Context({self.task} {self.id} attempt={self.attempt} fence={self.fence})"


def current() -> Context:
    """The context of the attempt that is running here; raises TaskqError outside a task."""
    try:
        return Context(running.get())
    except LookupError:
        raise TaskqError("taskq.current() was called outside a running task") from None
