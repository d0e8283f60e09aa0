"""Standard output and error of a worker, whose reader may leave: a task that prints is not to fail for that."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from typing import Any

log = logging.getLogger("taskq.worker")

_GONE = (errno.EPIPE, errno.EIO)  # of a pipe without a reader, of a terminal that hung up


_gone: list[str] = []


def tell() -> None:
    """Say which stream has lost its reader, if one has since the last time; called now and then."""
    while _gone:
        if _gone.pop() == "stdout":
            log.warning("nobody reads the standard output of this process any more: what tasks print is dropped")


class _Raw(io.FileIO):
    """A descriptor that leads to nowhere from the moment at which nobody reads it any more."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, "wb", closefd=False)
        self._what = name

    def write(self, data: Any, /) -> int:  # or None: a full pipe that does not block
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # for programs that tasks start, too
        os.close(nowhere)
        # Said later, by `tell`: this thread holds the lock of the stream, and a log handler may wait for that.
        _gone.append(self._what)
        return super().write(data)


def hold() -> None:
    """Open what is closed of the three standard descriptors, lest a pipe of ours gets such a number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def guard() -> None:
    """Put streams in place that outlive their reader; before logging is set up.

    Each line is written as soon as it is whole, to a pipe or a file as well: a child may be killed at any time, and
    what its tasks had printed is what people look for then.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        if not isinstance(old, io.TextIOWrapper):
            continue  # closed from the start: nothing is printed there, and nothing fails
        old.flush()
        made = io.TextIOWrapper(
            io.BufferedWriter(_Raw(number, name)),
            encoding=old.encoding,
            errors=old.errors,
            line_buffering=True,
            write_through=old.write_through,
        )
        old.detach()
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
