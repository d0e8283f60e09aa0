"""The same no-op for dramatiq, the fastest Python peer; run in an environment of its own that has it.

`python -m benchmarks.peer_dramatiq N` queues N calls; `dramatiq benchmarks.peer_dramatiq` works them off. With two more
numbers it pauses between any two calls for a time between them, in seconds, and marks slot N + i when it is about to
send call i.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import time
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

dramatiq: Any = importlib.import_module("dramatiq")
brokers: Any = importlib.import_module("dramatiq.brokers.redis")

broker = brokers.RedisBroker(url=os.environ["BENCH_URL"])
dramatiq.set_broker(broker)
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None


def noop(slot: int) -> None:
    if _ledger is not None:
        _ledger.mark(slot)


actor = dramatiq.actor(noop)


def main(count: int, *pauses: float) -> None:
    for number in range(count):
        if pauses:
            time.sleep(random.uniform(*pauses))
            noop(count + number)
        actor.send(number)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:4]))
