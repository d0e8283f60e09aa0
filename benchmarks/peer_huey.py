"""The same no-op for huey; run in an environment of its own that has it.

`python -m benchmarks.peer_huey N` queues N calls; `huey_consumer benchmarks.peer_huey.huey` works them off.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

module: Any = importlib.import_module("huey")

huey = module.RedisHuey("bench", url=os.environ["BENCH_URL"], results=False)
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None


def noop(slot: int) -> None:
    if _ledger is not None:
        _ledger.mark(slot)


# Named for this module also where it is run as a program: the consumer knows it by that name.
noop.__module__ = "benchmarks.peer_huey"
task = huey.task()(noop)

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        task(number)
