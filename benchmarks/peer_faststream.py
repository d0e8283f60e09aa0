"""The same events for FastStream on a Redis stream; run in an environment of its own that has it.

`python -m benchmarks.peer_faststream publish N` publishes N; `read N` queues N and reads them as one consumer of a
group. Each prints events per second.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
from typing import Any

STREAM, GROUP = "peer:events", "peer"

redis_side: Any = importlib.import_module("faststream.redis")


def value(at: int) -> dict[str, Any]:
    """The event of `raw_events.values`."""
    customer = f"customer-{at % 1_000}"
    return {"order": at, "customer": customer, "total": 1999, "currency": "EUR", "state": "accepted"}


async def publish(broker: Any, count: int) -> float:
    async with broker:
        begin = time.perf_counter()
        for at in range(count):
            await broker.publish(value(at), stream=STREAM)
        return count / (time.perf_counter() - begin)


async def read(broker: Any, count: int) -> float:
    seen, begin, done = 0, 0.0, asyncio.Event()

    async def handle(message: dict[str, Any]) -> None:
        nonlocal seen, begin
        begin = begin or time.perf_counter()
        seen += 1
        if seen == count:
            done.set()

    where = redis_side.StreamSub(STREAM, group=GROUP, consumer="one", max_records=500)
    broker.subscriber(stream=where)(handle)
    async with broker:
        client = await broker.connect()
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        for at in range(count):
            await broker.publish(value(at), stream=STREAM)
        await broker.start()
        await asyncio.wait_for(done.wait(), 250)
        return count / (time.perf_counter() - begin)


def main() -> None:
    import logging

    broker = redis_side.RedisBroker(os.environ["BENCH_URL"], log_level=logging.CRITICAL)
    print(asyncio.run((publish if sys.argv[1] == "publish" else read)(broker, int(sys.argv[2]))))


if __name__ == "__main__":
    main()
