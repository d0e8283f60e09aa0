"""The same no-op for huey; run in an environment of its own that has it.

`python -m benchmarks.peer_huey N` queues N calls; `huey_consumer benchmarks.peer_huey.huey` works them off. With two
more numbers it pauses as `peer_dramatiq` does. With `BENCH_RESULTS` results are kept and told at once, and
`python -m benchmarks.peer_huey N trips` asks for those of N calls, one after the other, and prints how long each took,
in milliseconds.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import time
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

_RESULTS = "BENCH_RESULTS" in os.environ
_PATIENCE_S = 30.0

module: Any = importlib.import_module("huey")

huey = module.RedisHuey("bench", url=os.environ["BENCH_URL"], results=_RESULTS, notify_result=_RESULTS)
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None


def noop(slot: int) -> int | None:
    if _ledger is not None:
        _ledger.mark(slot)
    return slot if _RESULTS else None


# Named for this module also where it is run as a program: the consumer knows it by that name.
noop.__module__ = "benchmarks.peer_huey"
task = huey.task()(noop)


def fill(count: int, *pauses: float) -> None:
    for number in range(count):
        if pauses:
            time.sleep(random.uniform(*pauses))
            noop(count + number)
        task(number)


def trips(count: int) -> None:
    took: list[float] = []
    for number in range(count):
        begin = time.perf_counter()
        got = task(number).get(blocking=True, timeout=_PATIENCE_S)
        took.append((time.perf_counter() - begin) * 1e3)
        if got != number:
            raise SystemExit(f"call {number} was answered with {got!r}")
    print(*took)


if __name__ == "__main__":
    calls = int(sys.argv[1])
    if sys.argv[2:] == ["trips"]:
        trips(calls)
    else:
        fill(calls, *map(float, sys.argv[2:4]))
