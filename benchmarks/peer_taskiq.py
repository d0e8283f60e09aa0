"""The same no-op for taskiq on a Redis list; run in an environment of its own that has it.

`python -m benchmarks.peer_taskiq N` queues N calls; `taskiq worker benchmarks.peer_taskiq:broker` works them off.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

taskiq_redis: Any = importlib.import_module("taskiq_redis")
serializers: Any = importlib.import_module("taskiq.serializers")

broker = taskiq_redis.ListQueueBroker(url=os.environ["BENCH_URL"]).with_serializer(serializers.ORJSONSerializer())
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None
_IN_FLIGHT = 50


async def noop(slot: int) -> None:
    if _ledger is not None:
        _ledger.mark(slot)


task = broker.task(task_name="noop")(noop)


async def fill(count: int) -> None:
    await broker.startup()
    for start in range(0, count, _IN_FLIGHT):
        await asyncio.gather(*(task.kiq(slot) for slot in range(start, min(start + _IN_FLIGHT, count))))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
