"""Starting a server program and waiting until it answers; nothing here knows what the server is for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from taskq.errors import BrokerUnavailable

START_TIMEOUT_S = 20.0
LOADING_TIMEOUT_S = 900.0  # a big append-only file takes its time; the server says so meanwhile
STOP_TIMEOUT_S = 10.0
PING_TIMEOUT_S = 1.0
_FIRST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.05
_PR_SET_PDEATHSIG = 1


def spawn(
    program: Sequence[str],
    settings: Mapping[str, str],
    *,
    log: Path,
    dies_with_us: bool,
    keep_open: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own; its log goes to a file, not into a pipe that fills up.

    `dies_with_us` kills the server when the thread that calls this ends, so call it from the main thread. Linux only:
    elsewhere the server stays until it is stopped.
    """
    command = list(program)
    for name, value in settings.items():
        command += [f"--{name}", value]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=keep_open,
            preexec_fn=die_with_parent() if dies_with_us else None,
        )


def die_with_parent() -> Callable[[], None] | None:
    """What a new process runs before its program so that the kernel ends it with ours; None where there is no way."""
    if sys.platform != "linux":
        return None
    # Everything is looked up before the fork: between fork and exec only the two calls happen.
    prctl, getppid, exit_now, parent = ctypes.CDLL(None).prctl, os.getppid, os._exit, os.getpid()

    def after_fork() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if getppid() != parent:  # it died before the signal was asked for
            exit_now(1)

    return after_fork


def wait_until_ready(process: subprocess.Popen[bytes], socket_path: Path, log: Path) -> None:
    """Return as soon as the server answers; raise `BrokerUnavailable` with the end of its log if it never does."""
    waited, pause = 0.0, _FIRST_WAIT_S
    while (state := probe(socket_path)) != "ready":
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=pause)  # wakes at once if the server dies
            raise BrokerUnavailable(f"the server ended at once with code {process.returncode}: {_tail(log)}")
        waited, pause = waited + pause, min(_LONGEST_WAIT_S, pause * 1.5)
        limit = LOADING_TIMEOUT_S if state == "loading" else START_TIMEOUT_S
        if waited > limit:
            process.kill()
            process.wait(timeout=STOP_TIMEOUT_S)
            raise BrokerUnavailable(f"the server did not answer within {limit:g} s: {_tail(log)}")


def probe(socket_path: Path) -> Literal["ready", "loading", "silent"]:
    """Send a PING to the server behind a socket; one that asks for a password counts as ready."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(PING_TIMEOUT_S)
            line.connect(str(socket_path))
            line.sendall(b"PING\r\n")
            reply = line.recv(64)
    except OSError:
        return "silent"
    if reply.startswith(b"-LOADING"):
        return "loading"
    return "ready" if reply.startswith((b"+PONG", b"-NOAUTH")) else "silent"


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return f"no log at {log}"
    return " | ".join(line.strip() for line in lines[-3:]) or f"nothing in {log}"
