"""The raw consume loop: the least that a Python process does to take work from Redis in batches and account for it.

One script pops 100 ids from a list into a sorted set of deadlines and answers the bodies from a hash; Python decodes
and calls; one script removes ids and bodies. No leases by token, no fencing, no retries, no heartbeat. Run as
`python -m benchmarks.raw_loop`, it waits for a word and drains until the list is empty.
"""

from __future__ import annotations

import os
import time
from typing import Any

import orjson
import redis

from benchmarks.ledger import Ledger

LIST, BODIES, RUNNING, GO = "raw:ids", "raw:bodies", "raw:running", "raw:go"
BATCH = 100

POP = """
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return {} end
local scores = {}
for i, id in ipairs(ids) do scores[2 * i - 1], scores[2 * i] = ARGV[2], id end
redis.call('ZADD', KEYS[3], unpack(scores))
return { ids, redis.call('HMGET', KEYS[2], unpack(ids)) }
"""
ACK = """
redis.call('ZREM', KEYS[3], unpack(ARGV))
return redis.call('HDEL', KEYS[2], unpack(ARGV))
"""


def fill(client: Any, count: int) -> None:
    """Queue `count` calls, by pipelines of one list push and one hash write per thousand."""
    for start in range(0, count, 1000):
        slots = range(start, min(start + 1000, count))
        ids = [os.urandom(8) + slot.to_bytes(8, "big") for slot in slots]
        bodies = [orjson.dumps(("noop", (slot,), {}, 1_700_000_000_000, None, None)) for slot in slots]
        pipe = client.pipeline(transaction=False)
        pipe.hset(BODIES, mapping=dict(zip(ids, bodies, strict=True)))
        pipe.rpush(LIST, *ids)
        pipe.execute()


def drain(client: Any, ledger: Ledger) -> int:
    """Take, run and remove until nothing is left; answers how many."""
    pop, ack = client.register_script(POP), client.register_script(ACK)
    keys = [LIST, BODIES, RUNNING]
    tasks = {"noop": ledger.mark}
    total = 0
    while taken := pop(keys, [BATCH, time.time() + 10]):
        ids, bodies = taken
        for body in bodies:
            name, args, kwargs = orjson.loads(body)[:3]
            tasks[name](*args, **kwargs)
        ack(keys, ids)
        total += len(ids)
    return total


def connect(url: str) -> Any:
    return redis.Redis.from_url(url, socket_timeout=60.0)


def main() -> None:
    client, ledger = connect(os.environ["BENCH_URL"]), Ledger.of_environment()
    client.blpop(GO)
    drain(client, ledger)


if __name__ == "__main__":
    main()
