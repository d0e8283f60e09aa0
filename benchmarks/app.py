"""The app that the measured workers run. Results are off: what is measured is leasing, running and settling."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.ledger import VARIABLE, Ledger
from taskq import Queue, TaskQ
from taskq.codec import JSON, Compressed, register

DRAIN, HOLD, NAP, AUDIT, KEEP = "drain", "hold", "nap", "audit", "keep"
NAMESPACE = "bench"
NAP_S = 0.002
_LOOK_S = 0.005

SMALLER = Compressed(JSON)
SMALLER.name = "bench+zlib"  # who imports this for a measurement may have one of the usual name
register(SMALLER)

app = TaskQ(
    NAMESPACE,
    url=os.environ.get("BENCH_URL"),
    lease=float(os.environ.get("BENCH_LEASE", "10")),
    queues=[Queue(AUDIT, transport="stream")],
)

_ledger: Ledger | None = Ledger(Path(os.environ[VARIABLE])) if VARIABLE in os.environ else None


def ledger() -> Ledger:
    """The ledger of this process; only a process that runs tasks has one."""
    if _ledger is None:
        raise RuntimeError(f"{VARIABLE} names no ledger")
    return _ledger


mark = _ledger.mark if _ledger is not None else lambda slot: None


@app.task(queue=DRAIN, result_ttl=0)
def noop(slot: int) -> None:
    mark(slot)


@app.task(queue=DRAIN, result_ttl=0)
async def anoop(slot: int) -> None:
    mark(slot)


@app.task(queue=DRAIN, result_ttl=0)
def weigh(slot: int, text: str) -> None:
    mark(slot)


@app.task(queue=DRAIN, result_ttl=0, codec=SMALLER.name)
def squeezed(slot: int, text: str) -> None:
    mark(slot)


@app.task(queue=KEEP)
def kept(slot: int) -> int:
    mark(slot)
    return slot


@app.task(queue=AUDIT, result_ttl=0)
def snoop(slot: int) -> None:
    mark(slot)


@app.task(queue=HOLD, result_ttl=0)
def quick(slot: int) -> None:
    mark(slot)


@app.task(queue=HOLD, result_ttl=0)
def hold(slot: int, gate: int) -> None:
    """Run until the gate is opened as far as this."""
    mark(slot)
    while ledger().gate < gate:
        time.sleep(_LOOK_S)


@app.task(queue=NAP, result_ttl=0)
def nap(slot: int) -> None:
    mark(slot)
    time.sleep(NAP_S)
