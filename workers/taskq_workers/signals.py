"""Signals and calls from other threads, brought to the main loop of the supervisor."""

from __future__ import annotations

import signal
import socket
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
QUIET = signal.SIGUSR1
STACKS = signal.SIGUSR2


class Inbox:
    """Wakes a loop that polls `fileno`: for a signal, for a dead child process, for a call from another thread."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._signals: deque[int] = deque()
        self._calls: deque[Callable[[], None]] = deque()

    def fileno(self) -> int:
        return self._ours.fileno()

    def ask(self, call: Callable[[], None]) -> None:
        """Have the loop make a call; from any thread."""
        self._calls.append(call)
        try:
            self._theirs.send(b"\0")
        except BlockingIOError:
            return  # it is full, so the loop wakes anyway

    def take(self) -> tuple[list[int], list[Callable[[], None]]]:
        """The signals and the calls since the last time, in order."""
        try:
            while self._ours.recv(4096):
                continue
        except BlockingIOError:
            pass
        signals = [self._signals.popleft() for _ in range(len(self._signals))]
        return signals, [self._calls.popleft() for _ in range(len(self._calls))]

    @contextmanager
    def installed(self) -> Generator[None]:
        """Catch the signals of a supervisor inside the block; main thread only."""

        def note(number: int, _: FrameType | None) -> None:
            self._signals.append(number)

        def child_ended(_: int, __: FrameType | None) -> None:
            return  # the byte that woke the loop was all

        # After nohup a hang-up is ignored, and must stay so.
        stops = [one for one in STOP if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
        handlers = dict.fromkeys((*stops, QUIET, STACKS), note) | {signal.SIGCHLD: child_ended}
        old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        old_fd = signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()
