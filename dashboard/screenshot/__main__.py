"""Make the picture of the dashboard from a real run: `python -m screenshot FILE [SECONDS]`.

A server of its own, two workers and some load, so long that the graphs have something to tell; then one screen.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from screenshot import workshop
from taskq.control import Control
from taskq.store import embedded

APP = "screenshot.workshop:app"
SECONDS = 120.0
WIDTH = 160


def main(file: Path, seconds: float) -> None:
    """Run the shop for a while, then write its screen."""
    with tempfile.TemporaryDirectory() as folder, embedded.own(Path(folder)) as server:
        os.environ["TASKQ_URL"] = server.url
        with _worker("-c", "6", "-q", "images,reports,default"), _worker("-p", "2", "-c", "4", "-q", "mail,search"):
            over = threading.Event()
            load = threading.Thread(target=_load, args=(over, seconds))
            load.start()
            time.sleep(seconds)
            _taskq("dashboard", "--app", APP, "--svg", str(file.resolve()), "--interval", "2")
            over.set()
            load.join()
    print(f"wrote {file}")


def _load(over: threading.Event, seconds: float) -> None:
    """Messages in waves, until it is over; near the end a queue is paused."""
    chance = random.Random(3)  # noqa: S311 - load, no secret
    began, order = time.monotonic(), 0
    workshop.report.enqueue("today")
    workshop.send_receipt.options(delay=3_600).enqueue_many([(number,) for number in range(1, 121)])
    while not over.wait(0.5):
        passed = time.monotonic() - began
        wave = 1 + math.sin(passed / 7)
        count = int(25 + 40 * wave + chance.randrange(20))
        workshop.send_receipt.enqueue_many([(order + number,) for number in range(count)])
        workshop.index.enqueue_many([(order + number,) for number in range(count // 4)])
        workshop.resize.enqueue_many([(f"/photos/{order + number}.jpg",) for number in range(chance.randrange(3))])
        order += count
        if passed > seconds * 0.9:
            Control(workshop.app.broker()).pause("reports")


@contextmanager
def _worker(*options: str) -> Generator[None]:
    process = subprocess.Popen(_command("worker", APP, *options), stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _taskq(*arguments: str) -> None:
    subprocess.run(_command(*arguments), env=os.environ | {"COLUMNS": str(WIDTH)}, check=True)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "taskq_workers", *arguments]


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS)
