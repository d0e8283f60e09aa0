"""The same no-op for arq; run in an environment of its own that has it.

`python -m benchmarks.peer_arq N` queues N calls; `arq benchmarks.peer_arq.Settings` works them off.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

arq: Any = importlib.import_module("arq")
connections: Any = importlib.import_module("arq.connections")

_address = connections.RedisSettings.from_dsn(os.environ["BENCH_URL"])
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None
_IN_FLIGHT = 50


async def noop(_: dict[Any, Any], slot: int) -> None:
    if _ledger is not None:
        _ledger.mark(slot)


class Settings:
    """What `arq` reads."""

    functions = (noop,)
    redis_settings = _address
    keep_result = 0
    max_jobs = int(os.environ.get("BENCH_MAX_JOBS", "10"))
    poll_delay = float(os.environ.get("BENCH_POLL_DELAY", "0.5"))
    queue_read_limit = int(os.environ.get("BENCH_READ_LIMIT", "100"))

    @staticmethod
    async def on_startup(_: dict[Any, Any]) -> None:
        logging.getLogger("arq").setLevel(logging.WARNING)


async def fill(count: int) -> None:
    pool = await arq.create_pool(_address)
    for start in range(0, count, _IN_FLIGHT):
        slots = range(start, min(start + _IN_FLIGHT, count))
        await asyncio.gather(*(pool.enqueue_job("noop", slot) for slot in slots))
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
