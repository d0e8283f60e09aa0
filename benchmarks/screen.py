"""The dashboard at a terminal that nobody looks at, until it is ended: `python -m benchmarks.screen URL NAMESPACE`."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios

_SIZE = (48, 160)  # rows, columns
_INTERVAL_S = "0.5"


def main() -> None:
    url, namespace = sys.argv[1:]
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    command = [sys.executable, "-m", "taskq_workers", "dashboard", "--url", url, "--namespace", namespace]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*command, "--interval", _INTERVAL_S, "--read-only"], stdin=its, stdout=its, stderr=its, env=environment
    )
    os.close(its)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while os.read(ours, 65_536):
            pass
    except OSError:  # the other side is closed
        pass
    sys.exit(process.wait())


if __name__ == "__main__":
    main()
