"""Which script made Redis stand still, and for how long: read from its own slow log, told by the hash of the script."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from statistics import median
from typing import Any

from benchmarks.server import Server
from taskq.store.scripts import Script, load
from taskq.tasks.queues import Transport
from taskq.tasks.transports import land, stream_scripts

THRESHOLD_US = 1_000
_ENTRIES = 200_000
BARE, SHORTEST = "a bare XADD", "the shortest script"
_BARE, _TWICE_KEYS = "bare", ("bare-stream", "bare-bodies")
_TWICE = "redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) return redis.call('XADD', KEYS[1], '*', 'body', ARGV[2])"
_SMALL, _SMALLS, _FILLS = 300, 250, 40  # bytes of each, how many in a command, commands between two large bodies
_TINY = ("GET", "HLEN", "LLEN", "SET", "TIME", "TYPE", "ZCARD")  # whatever the size of the key: no rehash, no copy


def script_names(transport: Transport = "list") -> list[str]:
    """Every script that a queue of this transport runs, by verb."""
    return sorted(_scripts(transport))


def _scripts(transport: Transport) -> dict[str, Script]:
    folder = files("taskq.store").joinpath("lua", "tasks")
    names = [entry.name.removesuffix(".lua") for entry in folder.iterdir() if entry.name.endswith(".lua")]
    found = {name: load(f"tasks/{name}") for name in names} | {"fire": load("schedules/fire")}
    streamed = transport == "stream"
    return found | (stream_scripts() if streamed else {}) | {"land": land(streamed)}


def prepare(server: Server, transport: Transport = "list") -> dict[str, str]:
    """Load all scripts, so that each is called by hash only, and open the log; answers names by hash."""
    server.execute("CONFIG", "SET", "slowlog-log-slower-than", str(THRESHOLD_US))
    server.execute("CONFIG", "SET", "slowlog-max-len", str(_ENTRIES))
    names = {}
    for name, script in _scripts(transport).items():
        server.execute("SCRIPT", "LOAD", script.text)
        names[script.sha] = name
    server.execute("SLOWLOG", "RESET")
    return names


def bare(server: Server, size: int, count: int = 60) -> None:
    """What the server takes for large bodies by itself: an XADD without any script, and the shortest script that stores
    a body twice, as an enqueue of a stream queue must.

    They come as in a queue that grows: before each, small messages take what memory the last one has given back. So
    most copies need pages that the kernel has yet to give.
    """
    body, small = os.urandom(size), os.urandom(_SMALL)
    fill = [[part for at in range(_SMALLS) for part in (b"%d-%d" % (turn, at), small)] for turn in range(_FILLS)]
    for number in range(count):
        for command in (("XADD", _BARE, "*", "body", body), ("EVAL", _TWICE, 2, *_TWICE_KEYS, number, body)):
            for part in fill:
                server.execute("HSET", f"bare-small-{number}-{command[0]}", *part)
            server.execute(*command)
    server.execute("FLUSHALL", "ASYNC")


def by_name(entries: Sequence[Sequence[Any]], names: Mapping[str, str]) -> dict[str, list[float]]:
    """Milliseconds of all logged runs by script name, and of anything else by its command."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        words = [bytes(word).decode("utf-8", "replace") for word in entry[3][:2]]
        command = words[0].upper()
        name = names.get(words[1], "?") if command == "EVALSHA" and len(words) > 1 else command
        if command == "EVAL" or _BARE in words:
            name = SHORTEST if command == "EVAL" else BARE
        found.setdefault(name, []).append(entry[2] / 1000)
    return found


def read(server: Server, names: Mapping[str, str]) -> dict[str, list[float]]:
    """What has been logged since `prepare`."""
    return by_name(server.execute("SLOWLOG", "GET", str(_ENTRIES)), names)


def longest(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The longest run of each."""
    return {name: max(times) for name, times in found.items()}


def noise(found: Mapping[str, float]) -> float:
    """How long the machine itself stood still, in milliseconds: commands that take a microsecond are in the log too, as
    parts of scripts.

    >>> noise({"lease": 30.0, "LLEN": 25.0})
    25.0
    """
    return max((found.get(name, 0.0) for name in _TINY), default=0.0)


def recurring(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By script, how long it stood still in most runs: the median of its longest of each run.

    So a stall counts only if the same script had one in two of three runs: a shared machine shows 25 ms by itself.

    >>> recurring([{"ack": 20.0}, {"ack": 2.0}, {"lease": 3.0}])
    {'ack': 2.0, 'lease': 0.0}
    """
    names = sorted({name for run in runs for name in run})
    return {name: median([run.get(name, 0.0) for run in runs]) for name in names}
