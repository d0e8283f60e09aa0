"""A terminal that tests look at: a process on a pseudo-terminal, and an emulator that draws what it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyte

from tests.runtime.supervising import PATIENCE_S, ROOT

ROOTS = os.pathsep.join(str(ROOT / name) for name in (".", "workers", "dashboard"))
PIECES, PIECES_S = 50, 0.02
OTHER_SCREEN = 1049 << 5  # as the emulator notes the private mode

KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "pgup": "\x1b[5~",
    "pgdn": "\x1b[6~",
    "enter": "\r",
    "esc": "\x1b",
    "tab": "\t",
    "backtab": "\x1b[Z",
    "space": " ",
    "ctrl-c": "\x03",
    "ctrl-z": "\x1a",
}


class Glass:
    """A process that believes it sits at a terminal of so many columns and lines."""

    def __init__(
        self,
        command: Sequence[str],
        size: tuple[int, int] = (80, 24),
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._changed = threading.Condition()
        self._master, self.slave = pty.openpty()
        self._set_size(*size)
        self.before = termios.tcgetattr(self.slave)
        wanted = {"PYTHONPATH": ROOTS, "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            list(command),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            cwd=cwd,
            env=kept | wanted | dict(env or {}),
            start_new_session=True,
            preexec_fn=self._control,
        )
        self._closing = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _control(self) -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # a session of its own, whose terminal this is: so ^C and ^Z are signals

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._closing[0]], [], [])
            if self._closing[0] in ready:
                return
            data = os.read(self._master, 65536)
            # What is drawn in one go comes in pieces of 4 KiB: they are looked at once all are here.
            for _ in range(PIECES):
                if not select.select([self._master], [], [], PIECES_S)[0]:
                    break
                data += os.read(self._master, 65536)
            with self._changed:
                self.raw += data
                self._stream.feed(data)
                self._changed.notify_all()

    def close(self) -> None:
        """End the process, if it has not ended, and the terminal."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(PATIENCE_S)
        self.hang_up()
        for number in self._closing:
            os.close(number)

    def hang_up(self) -> None:
        """Nobody looks at the terminal any more, as when its window is closed."""
        if self._master < 0:
            return
        os.write(self._closing[1], b"x")
        self._reader.join(PATIENCE_S)
        os.close(self.slave)
        os.close(self._master)
        self._master = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- hands

    def press(self, *keys: str) -> None:
        """Keys by name, or texts as they are typed."""
        for key in keys:
            self.write(KEYS.get(key, key).encode())

    def write(self, data: bytes) -> None:
        """Bytes as a terminal sends them."""
        os.write(self._master, data)

    def resize(self, columns: int, lines: int) -> None:
        """The window gets another size, and the process the signal for it."""
        with self._changed:
            self.screen.resize(lines, columns)
        self._set_size(columns, lines)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    # -- eyes

    def wait(self, done: Callable[[], Any], what: str) -> None:
        """Until something is true of the screen; it is asked whenever the screen has changed."""
        with self._changed:
            if not self._changed.wait_for(done, PATIENCE_S):
                raise AssertionError(f"never seen: {what}\n" + "\n".join(self.screen.display))

    def see(self, *texts: str) -> str:
        """Until all these texts are on the screen together; answers the whole of it."""
        self.wait(lambda: all(text in self._text() for text in texts), f"{texts}")
        return self.text()

    def gone(self, text: str) -> None:
        """Until this text is no longer there."""
        self.wait(lambda: text not in self._text(), f"{text!r} gone")

    def match(self, pattern: str) -> re.Match[str]:
        """Until a pattern is on the screen."""
        self.wait(lambda: re.search(pattern, self._text()), pattern)
        with self._changed:
            found = re.search(pattern, self._text())
        assert found is not None
        return found

    def _text(self) -> str:
        return "\n".join(self.screen.display)

    def text(self) -> str:
        """What is seen."""
        with self._changed:
            return self._text()

    def row(self, text: str) -> str:
        """The first line with this text, once it is there."""
        self.see(text)
        return next(line for line in self.text().splitlines() if text in line)

    def here(self) -> str:
        """The selected line: it stands in reverse."""
        with self._changed:
            return self._here()

    def select(self, text: str) -> None:
        """Until the selected line has this text."""
        self.wait(lambda: text in self._here(), f"selected: {text!r}")

    def _here(self) -> str:
        for number in range(self.screen.lines):
            line = self.screen.buffer[number]
            if sum(line[column].reverse for column in range(self.screen.columns)) > self.screen.columns // 2:
                return str(self.screen.display[number])
        return ""

    # -- the end

    def end(self) -> int:
        """The exit code, once the process has ended."""
        return self.process.wait(PATIENCE_S)

    def check_whole(self) -> None:
        """The terminal is as it was: its attributes, its first screen, its cursor."""
        self.wait(lambda: OTHER_SCREEN not in self.screen.mode, "the first screen again")
        self.wait(lambda: not self.screen.cursor.hidden, "the cursor")
        assert termios.tcgetattr(self.slave) == self.before
