"""A small HTTP server for scrapers and probes, on threads of its own: whatever its clients do, the worker goes on.

It answers GET and HEAD of a few fixed paths, one request for each connection. Of more than `MOST` connections the
oldest is closed, so that clients who never end their request keep no probe out; none lasts longer than `LONGEST_S`.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from taskq.errors import ConfigError

log = logging.getLogger("taskq.http")

MOST = 16
SILENCE_S = 3.0
LONGEST_S = 15.0
_PLAIN = "text/plain; charset=utf-8"
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path says: status, body, and its type."""

    status: int
    body: bytes
    kind: str = _PLAIN


Route = Callable[[str], Answer]
"""Makes the answer; is given the `Accept` header."""


class Listener:
    """Life: made with its port open, `start`, `close`. Raises ConfigError if the port cannot be had."""

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        if not host:
            raise ConfigError("an empty host would listen everywhere; if that is meant, write 0.0.0.0")
        try:
            self._server = _Server(host, port, routes)
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigError(f"cannot listen on {host} port {port}: {error}") from error
        self._thread = threading.Thread(target=self._run, name="taskq-http", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens, as it stands in a URL."""
        host, port = self._server.server_address[:2]
        name = str(host)
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Take no more requests; those in progress are cut off."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._server.cut_off(0.0)

    def _run(self) -> None:
        try:
            self._server.serve_forever(poll_interval=0.5)
        except Exception:  # the worker does not hang on this thread, and its probes will say that it has ended
            log.exception("the HTTP server ended by an error of its own")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not that of HTTPServer, which asks the name service for our name, and may wait for it.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_S)  # no descriptor is left, say; the connection still waits, and would wake us at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = time.monotonic()
            oldest = next(iter(self._open)) if len(self._open) > MOST else None
            if oldest is not None:
                del self._open[oldest]
                _end(oldest)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads can be started
            self.shutdown_request(request)

    def service_actions(self) -> None:
        self.cut_off(LONGEST_S)

    def cut_off(self, age: float) -> None:
        """End connections that are older."""
        with self._lock:
            for request in [one for one, since in self._open.items() if time.monotonic() - since >= age]:
                del self._open[request]
                _end(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request from %s failed: %r", client_address, sys.exception())


def _end(request: socket.socket) -> None:
    """Its thread meets the end of the connection, and closes it."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    server_version = "taskq"
    sys_version = ""
    timeout = SILENCE_S

    def do_GET(self) -> None:
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        self._answer(whole=False)

    def _answer(self, *, whole: bool) -> None:
        path, routes = self.path.partition("?")[0], cast("_Server", self.server).routes
        route = routes.get(path)
        if route is None:
            answer = Answer(404, f"there is {', '.join(routes)} here\n".encode())
        else:
            try:
                answer = route(self.headers.get("Accept", ""))
            except Exception:
                log.exception("%s could not be answered", path)
                answer = Answer(500, b"see the log of this process\n")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if whole:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s", self.client_address)
