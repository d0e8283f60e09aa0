"""The same no-op for celery; run in an environment of its own that has it.

`python -m benchmarks.peer_celery N` queues N calls; `celery -A benchmarks.peer_celery worker` works them off.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from benchmarks.ledger import VARIABLE, Ledger

celery: Any = importlib.import_module("celery")

app = celery.Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.task_ignore_result = True
app.conf.worker_prefetch_multiplier = int(os.environ.get("BENCH_PREFETCH", "4"))
app.conf.broker_connection_retry_on_startup = True
_ledger = Ledger.of_environment() if VARIABLE in os.environ else None


def noop(slot: int) -> None:
    if _ledger is not None:
        _ledger.mark(slot)


task = app.task(name="noop")(noop)

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        task.delay(number)
