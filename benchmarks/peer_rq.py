"""The same no-op for rq; run in an environment of its own that has it.

`python -m benchmarks.peer_rq N` queues N calls; `rq worker-pool` works them off.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

_BULK = 500
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None


def noop(slot: int) -> None:
    if _ledger is not None:
        _ledger.mark(slot)


def fill(count: int) -> None:
    rq: Any = importlib.import_module("rq")
    redis: Any = importlib.import_module("redis")
    queue = rq.Queue("default", connection=redis.Redis.from_url(os.environ["BENCH_URL"]))
    for start in range(0, count, _BULK):
        slots = range(start, min(start + _BULK, count))
        prepared = [queue.prepare_data("benchmarks.peer_rq.noop", args=(slot,), result_ttl=0) for slot in slots]
        queue.enqueue_many(prepared)


if __name__ == "__main__":
    fill(int(sys.argv[1]))
