"""A way to a server that counts round trips: what a client sends in pieces goes on as one, and counts as one.

For clients that send again only when they have been answered, at a low rate: each request is 5 ms late.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Self

GATHER_S = 0.005
_BYTES = 1 << 16


class Gathering:
    """Listens on a free port of the loopback address and leads to another one; `trips` counts requests."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.trips = 0
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:  # closed
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for start in (self._up, self._down):
                threading.Thread(target=start, args=(near, far), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := near.recv(_BYTES):
                time.sleep(GATHER_S)
                while select.select([near], [], [], 0)[0] and (more := near.recv(_BYTES)):
                    data += more
                with self._lock:
                    self.trips += 1
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):  # one side has gone, or was closed here
            return

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := far.recv(_BYTES):
                near.sendall(data)
            near.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        for one in (self._listening, *self._open):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
