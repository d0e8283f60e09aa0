"""The same no-op for dramatiq, the fastest Python peer; run in an environment of its own that has it.

`python -m benchmarks.peer_dramatiq N` queues N calls; `dramatiq benchmarks.peer_dramatiq` works them off.
"""

from __future__ import annotations

import importlib
import os
import sys
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

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        actor.send(number)
