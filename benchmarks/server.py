"""A server for one measurement: a real Redis from PATH, else what taskq itself starts; ends with the benchmark."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from taskq.store.binaries import ServerBinary, find_server, identify
from taskq.store.connection import SyncLink
from taskq.store.spawn import spawn, wait_until_ready

_STOP_S = 10.0
_TIMEOUT_S = 60.0  # a benchmark would rather wait than fail: a million messages take their time


def choose() -> ServerBinary:
    """The program to start. Redis before Valkey: the budgets were read on Redis 7."""
    chosen = None if os.environ.get("TASKQ_SERVER_BINARY") else shutil.which("redis-server")
    return (identify(Path(chosen), "path") if chosen else None) or find_server()


class Server:
    """Listens on a free port of the loopback address. Without `durable` it writes nothing to disk."""

    def __init__(self, *, durable: bool = False, **more: str) -> None:
        self.binary = choose()
        self.folder = Path(tempfile.mkdtemp(prefix="taskq-bench-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.folder / "s"),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **more,
        }
        self.link = SyncLink(self.url, timeout=_TIMEOUT_S)
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        log = self.folder / "server.log"
        process = spawn([str(self.binary.path)], self._settings, log=log, dies_with_us=True)
        wait_until_ready(process, self.folder / "s", log)
        return process

    # -- what it costs

    def cpu(self) -> float:
        """CPU seconds that the server has used so far."""
        info = self.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def memory(self) -> int:
        """Bytes that its data take."""
        return int(self.info("memory")["used_memory"])

    def info(self, section: str) -> dict[str, str]:
        text: bytes = self.link.execute("INFO", section)
        return parse_info(text.decode("utf-8", "replace"))

    def commands(self) -> dict[str, dict[str, float]]:
        """Calls and microseconds per command since the last CONFIG RESETSTAT."""
        return {
            name.removeprefix("cmdstat_"): {key: float(value) for key, value in parse_pairs(text).items()}
            for name, text in self.info("commandstats").items()
        }

    # -- what happens to it

    def execute(self, *args: Any) -> Any:
        return self.link.execute(*args)

    def kill(self) -> None:
        """As a crash would: without a word, and without a last write."""
        self._process.kill()
        self._process.wait(_STOP_S)

    def start_again(self) -> None:
        """On the same port and the same data; returns as soon as it answers."""
        self._process = self._spawn()

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.link.close()
        if self._process.poll() is None:
            self._process.kill()  # there is nothing to save
            self._process.wait(_STOP_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_info(text: str) -> dict[str, str]:
    """The fields of an INFO reply.

    >>> parse_info("# CPU\\r\\nused_cpu_user:1.5\\r\\n")
    {'used_cpu_user': '1.5'}
    """
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return {name: value.strip() for name, value in pairs}


def parse_pairs(text: str) -> dict[str, str]:
    """`calls=1,usec=20` as a dict."""
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def free_port() -> int:
    """A port of the loopback address that was free a moment ago."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
        return port
