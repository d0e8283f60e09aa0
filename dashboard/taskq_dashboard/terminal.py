"""The terminal while the dashboard has it: single keys, another screen, no cursor; and everything as it was afterwards.

Signals stay signals: Ctrl+C, Ctrl+Z and the rest reach `Signals`, which only notes them and wakes the loop.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self

# The other screen, no cursor, no wrapping at the right edge, pasted text marked as such; and the way back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[H\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
_LOCAL, _INPUT, _CONTROL = 3, 0, 6  # places in what termios tells


class Gone(Exception):
    """The terminal has hung up."""


class Screen:
    """A terminal that is drawn on. `enter` and `leave` may be called again and again; each call is whole."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self._writer = writer
        self._before: list[Any] | None = None
        self._shown: list[str] = []

    def enter(self) -> None:
        """Take the terminal as it is now, to be given back like this; what was drawn is forgotten."""
        if self._before is None:
            try:
                self._before = termios.tcgetattr(self.reader)
            except termios.error as error:
                raise Gone from error
        ours: list[Any] = [*self._before[:_CONTROL], [*self._before[_CONTROL]]]
        ours[_LOCAL] &= ~(termios.ECHO | termios.ICANON)  # ISIG stays: Ctrl+C is a signal
        ours[_INPUT] &= ~termios.IXON  # Ctrl+S would stop us in the middle of a write
        ours[_CONTROL][termios.VMIN], ours[_CONTROL][termios.VTIME] = 1, 0
        self._set(ours)
        self._write(_ENTER)
        self._shown = []

    def leave(self) -> None:
        """Give the terminal back as it was; a terminal that has gone needs nothing."""
        before, self._before = self._before, None
        if before is None:
            return
        try:
            self._write(_LEAVE)
            self._set(before)
        except Gone:
            return

    def forget(self) -> None:
        """Draw everything next time."""
        self._shown = []

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._writer)
        except OSError as error:
            raise Gone from error
        return (columns or 80), (lines or 24)

    def read(self) -> bytes:
        """The bytes that are there; raises Gone at the end of them."""
        try:
            data = os.read(self.reader, 4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines; only what differs from what is shown is written, in one go: so nothing flickers."""
        parts = [] if len(lines) == len(self._shown) else ["\x1b[2J"]
        old = self._shown if not parts else [""] * len(lines)
        for at, (line, shown) in enumerate(zip(lines, old, strict=True), 1):
            if line != shown:
                parts.append(f"\x1b[{at};1H\x1b[0m{line}")
        if parts:
            self._write("".join(parts))
        self._shown = list(lines)

    def _set(self, attributes: list[Any]) -> None:
        try:
            termios.tcsetattr(self.reader, termios.TCSADRAIN, attributes)
        except termios.error as error:
            raise Gone from error

    def _write(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            try:
                data = data[os.write(self._writer, data) :]
            except BlockingIOError:
                select.select([], [self._writer], [])
            except OSError as error:
                raise Gone from error

    def is_ours(self) -> bool:
        """Whether we are in front: who is in the background must not touch the terminal."""
        try:
            return os.tcgetpgrp(self.reader) == os.getpgrp()
        except OSError as error:
            raise Gone from error


class Signals:
    """Notes signals in their order and makes `wake` readable; a context, after which all is as before."""

    def __init__(self) -> None:
        self.wake, self._tell = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._tell, False)
        self.heard: deque[signal.Signals] = deque()
        self._before: dict[signal.Signals, Any] = {}
        self._woken = -1

    def __enter__(self) -> Self:
        for number in _HEARD:
            self._before[number] = signal.signal(number, self._note)
        self._woken = signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._woken)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(self.wake)
        os.close(self._tell)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.heard.append(signal.Signals(number))

    def ring(self) -> None:
        """Wake the loop, from any thread."""
        try:
            os.write(self._tell, b"\0")
        except (BlockingIOError, OSError):
            return  # it is full, so the loop wakes anyhow; or the loop has ended

    def drain(self) -> None:
        """Take what woke the loop."""
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            return

    def suspend(self) -> None:
        """Stop this process as Ctrl+Z would without us, and come back when it goes on."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note)
