"""A server that says it is of another version, as far as `taskq health` and `taskq doctor` ask it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager


class _Line(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while head := self.rfile.readline():
            words: list[bytes] = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            self.wfile.write(self.answer(words[0].upper()))

    def answer(self, word: bytes) -> bytes:
        if word == b"PING":
            return b"+PONG\r\n"
        if word == b"INFO":
            text = f"# Server\r\n{self.server.info}\r\n".encode()  # type: ignore[attr-defined]
            return b"$%d\r\n%b\r\n" % (len(text), text)
        return b"-ERR unknown command\r\n"


@contextmanager
def server_that_says(info: str) -> Generator[str]:
    """The URL of a server whose INFO is this."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Line) as server:
        server.daemon_threads = True
        server.info = info  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
