"""Other processes: which one listens on a socket, and ending it in order. Process ids are never taken from a file."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Generator
from pathlib import Path

_CONNECT_TIMEOUT_S = 1.0
_POLL_S = 0.02
_DARWIN_SOL_LOCAL, _DARWIN_PEERPID = 0, 0x002


def listening_pid(socket_path: Path) -> int | None:
    """Return the id of the process that listens on a unix socket, or None; it need not be able to answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_CONNECT_TIMEOUT_S)
            line.connect(str(socket_path))
            if sys.platform == "darwin":
                return int(line.getsockopt(_DARWIN_SOL_LOCAL, _DARWIN_PEERPID))
            packed = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid: int = struct.unpack("3i", packed)[0]
            return pid
    except OSError:
        return None


def end(pid: int, patience_s: float) -> bool:
    """Ask a process to end; kill it after `patience_s`. Returns whether it is gone."""
    with _watched(pid) as watch:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return True
            if watch.gone(patience_s):
                return True
    return False


class _Watch:
    """Waits for the end of a process that need not be our child."""

    def __init__(self, pid: int, handle: int | None) -> None:
        self._pid = pid
        self._handle = handle

    def gone(self, patience_s: float) -> bool:
        if self._handle is not None:
            return bool(select.select([self._handle], [], [], patience_s)[0])
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                os.kill(self._pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(_POLL_S)  # without a handle there is nothing to wait on
        return False


@contextlib.contextmanager
def _watched(pid: int) -> Generator[_Watch]:
    handle = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
    try:
        yield _Watch(pid, handle)
    finally:
        if handle is not None:
            os.close(handle)
