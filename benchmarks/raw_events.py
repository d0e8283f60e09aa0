"""The raw event loops: the least that a Python process does to append to a Redis stream and to read it in order.

A script of 1,000 XADD; XREAD of 500, decode, and one script that checks an owner and stores the position. No numbers,
no ids of publishers, no members, no leases, no retention. The packed ones hold 100 records in an entry.
"""

from __future__ import annotations

import time
from typing import Any

import orjson

from benchmarks.raw_loop import connect
from benchmarks.server import Server

BATCH = 1_000
_READ, _PACK = 500, 100
_STREAM, _PACKED, _PLACE = "raw:events", "raw:packed", "raw:place"

_APPEND = """
local id
for i = 1, #ARGV do id = redis.call('XADD', KEYS[1], '*', 'v', ARGV[i]) end
return id
"""
_COMMIT = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'at', ARGV[2])
return 1
"""


def values(start: int, count: int) -> list[dict[str, Any]]:
    """Events whose entries take some 130 bytes, as those of the budget."""
    return [
        {"order": at, "customer": f"customer-{at % 1_000}", "total": 1999, "currency": "EUR", "state": "accepted"}
        for at in range(start, start + count)
    ]


def publish(server: Server, count: int) -> float:
    """Events a second."""
    with connect(server.url) as client:
        append = client.register_script(_APPEND)
        begin = time.perf_counter()
        for start in range(0, count, BATCH):
            append([_STREAM], [orjson.dumps(value) for value in values(start, BATCH)])
        return count / (time.perf_counter() - begin)


def publish_packed(server: Server, count: int) -> float:
    """Events a second."""
    with connect(server.url) as client:
        begin = time.perf_counter()
        for start in range(0, count, BATCH):
            made, pipe = values(start, BATCH), client.pipeline(transaction=False)
            for at in range(0, BATCH, _PACK):
                pipe.xadd(_PACKED, {"v": orjson.dumps(made[at : at + _PACK])})
            pipe.execute()
        return count / (time.perf_counter() - begin)


def consume(server: Server, count: int) -> float:
    """Records a second."""
    return _consume(server, count, _STREAM, _READ)


def consume_packed(server: Server, count: int) -> float:
    """Records a second."""
    return _consume(server, count, _PACKED, 10)


def _consume(server: Server, count: int, stream: str, entries: int) -> float:
    with connect(server.url) as client:
        client.hset(_PLACE, "owner", "1")
        commit, at, seen = client.register_script(_COMMIT), b"0", 0
        begin = time.perf_counter()
        while seen < count:
            taken = client.xread({stream: at}, count=entries)
            found = next(iter(taken.values()))[0] if isinstance(taken, dict) else taken[0][1]
            for _, fields in found:
                value = orjson.loads(fields[b"v"])
                seen += len(value) if isinstance(value, list) else 1
            at = found[-1][0]
            commit([_PLACE], ["1", at])
        return count / (time.perf_counter() - begin)
