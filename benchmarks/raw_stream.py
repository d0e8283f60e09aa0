"""The raw stream loop: the least that a Python process does to work a Redis stream with a consumer group.

XREADGROUP of 100, decode and call, then XACK and XDEL in one round trip. No leases by token, no fencing, no retries.
Run as `python -m benchmarks.raw_stream`, it waits for a word and drains until the stream is empty.
"""

from __future__ import annotations

import os
from typing import Any

import orjson

from benchmarks.ledger import Ledger
from benchmarks.raw_loop import BATCH, GO, connect

STREAM, GROUP = "raw:stream", "raw"


def fill(client: Any, count: int) -> None:
    """Queue `count` calls, a thousand XADD in a pipeline."""
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    for start in range(0, count, 1000):
        pipe = client.pipeline(transaction=False)
        for slot in range(start, min(start + 1000, count)):
            body = orjson.dumps(("noop", (slot,), {}, 1_700_000_000_000, None, None))
            pipe.xadd(STREAM, {"id": os.urandom(16), "body": body})
        pipe.execute()


def drain(client: Any, ledger: Ledger, consumer: str) -> int:
    """Take, run, acknowledge and delete until nothing is left; answers how many."""
    tasks = {"noop": ledger.mark}
    total = 0
    while taken := client.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=BATCH):
        entries = next(iter(taken.values()))[0] if isinstance(taken, dict) else taken[0][1]
        for _, fields in entries:
            name, args, kwargs = orjson.loads(fields[b"body"])[:3]
            tasks[name](*args, **kwargs)
        ids = [entry for entry, _ in entries]
        pipe = client.pipeline(transaction=False)
        pipe.xack(STREAM, GROUP, *ids)
        pipe.xdel(STREAM, *ids)
        pipe.execute()
        total += len(ids)
    return total


def main() -> None:
    client, ledger = connect(os.environ["BENCH_URL"]), Ledger.of_environment()
    client.blpop(GO)
    drain(client, ledger, str(os.getpid()))


if __name__ == "__main__":
    main()
