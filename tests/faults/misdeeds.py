"""The app of `tests.runtime.guarded` with more tasks: effects that are checked, and more ways to misbehave."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from taskq import RetryPolicy, current
from tests.runtime import guarded
from tests.runtime.guarded import quick, say

app = guarded.app


def effect(word: str, tag: str) -> None:
    """`say`, and on the disk before anything else happens: a record that is missing means that it was not done."""
    say(word, tag)
    ledger = os.open(os.environ["GUARDED_LEDGER"], os.O_WRONLY)
    try:
        os.fdatasync(ledger)
    finally:
        os.close(ledger)


@app.task(queue="work", result_ttl=3600, retry=RetryPolicy(max_attempts=5, base=0.05, cap=0.5))
def effective(tag: str, seconds: float = 0.0, failures: int = 0) -> list[object]:
    """Writes what it does; fails so often first. Its result tells which run it is from."""
    effect("start", tag)
    if seconds:
        time.sleep(seconds)
    if current().attempt <= failures:
        raise ConnectionError(f"{tag} is meant to fail {failures} times")
    effect("end", tag)
    return [tag, current().fence]


@app.task(queue="work", result_ttl=3600)
async def aeffective(tag: str) -> list[object]:
    effect("start", tag)
    effect("end", tag)
    return [tag, current().fence]


@app.task(queue="work", result_ttl=3600, retry=RetryPolicy(max_attempts=5, base=0.05, cap=0.5))
def slow_again(tag: str, gate: str, failures: int = 0) -> list[object]:
    """The first delivery ends at once (or fails, if told), later ones wait for their gate."""
    effect("start", tag)
    if current().deliveries > 1:
        guarded.wait_for_file(gate)
    elif failures:
        raise ConnectionError(tag)
    effect("end", tag)
    return [tag, current().fence]


@app.task(queue="work", result_ttl=3600)
def sized(tag: str, data: str) -> int:
    """Comes with a large body."""
    effect("start", tag)
    effect("end", tag)
    return len(data)


# -- tasks that misbehave


class Unprintable(Exception):
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Own(BaseException):
    """No `Exception` on purpose."""


def misbehave(tag: str, how: str) -> None:
    """Raise what `how` names."""
    if how == "recursion":
        descend(0)
    kinds: dict[str, BaseException] = {
        "KeyboardInterrupt": KeyboardInterrupt(),
        "GeneratorExit": GeneratorExit(),
        "SystemExit": SystemExit(0),
        "SystemExit text": SystemExit("text"),
        "StopIteration": StopIteration(),
        "own": Own(tag),
        "unprintable": Unprintable(),
        "MemoryError": MemoryError(),
        "odd text": ValueError("\0\x1b[31m\ud800"),
        "huge": ValueError("x" * 10_000_000),
    }
    if how == "circular":
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one
    raise kinds[how]


def descend(depth: int) -> int:
    return descend(depth + 1) + 1


@app.task(queue="work", retry=False)
def raises(tag: str, how: str) -> None:
    say("start", tag)
    misbehave(tag, how)


@app.task(queue="work", retry=False)
async def araises(tag: str, how: str) -> None:
    say("start", tag)
    misbehave(tag, how)


@app.task(queue="work", retry=RetryPolicy(max_attempts=3, base=0.01))
def returns(tag: str, what: str) -> object:
    """Its effect has happened when its result turns out to be none that can be stored."""
    say("start", tag)

    async def coroutine() -> None:
        return None

    if what == "coroutine":
        made = coroutine()
        made.close()
        return made
    values: dict[str, object] = {
        "generator": (n for n in range(3)),
        "lambda": lambda: None,
        "set": {1, 2},
        "nan": float("nan"),
        "huge": "x" * 50_000_000,
        "circular": [],
    }
    value = values[what]
    if isinstance(value, list):
        value.append(value)
    return value


@app.task(queue="work", result_ttl=60, retry=RetryPolicy(max_attempts=2, base=0.01))
def mutates(tag: str, items: list[int]) -> list[int]:
    say("start", tag)
    items.append(1)
    if current().attempt == 1:
        raise ValueError(tag)
    say("end", tag)
    return items


@app.task(queue="work", result_ttl=60)
def prints(tag: str) -> int:
    say("start", tag)
    noise = bytes(range(256)) * 4096
    sent = os.write(1, noise) + os.write(2, noise)
    say("end", tag)
    return sent


@app.task(queue="work", result_ttl=60)
def forks(tag: str) -> int:
    """Two processes return from here."""
    say("start", tag)
    pid = os.fork()
    if pid:
        say("end", tag)
        say(f"forked-{pid}", tag)
    return pid


@app.task(queue="work", hard_timeout=0.5)
def leaves_a_daemon(tag: str, wait: bool) -> None:
    """A process that outlives its parent and keeps all its descriptors; then maybe hang."""
    say("start", tag)
    daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    say(f"daemon-{daemon.pid}", tag)
    if wait:
        pause_forever()
    say("end", tag)


def pause_forever() -> None:
    """A call into C that never returns and cannot be interrupted from Python."""
    libc = ctypes.CDLL(None)
    while True:
        libc.pause()


@app.task(queue="work", timeout=0.2, hard_timeout=0.5, retry=False)
def pauses(tag: str) -> None:
    say("start", tag)
    pause_forever()


@app.task(queue="work", result_ttl=60)
def closes_everything(tag: str) -> str:
    say("start", tag)
    os.closerange(3, 4096)
    say("end", tag)
    return tag


@app.task(queue="work", result_ttl=60)
def vandalises(tag: str) -> str:
    """Changes what belongs to the process."""
    say("start", tag)
    os.chdir("/")
    os.umask(0o777)
    os.environ["PATH"] = os.environ["TZ"] = "nowhere"
    time.tzset()
    socket.setdefaulttimeout(0.000_001)
    sys.setrecursionlimit(200)
    random.seed(0)
    logging.disable(logging.CRITICAL)
    say("end", tag)
    return tag


@app.task(queue="work", result_ttl=60)
def leaves_a_thread(tag: str, gate: str) -> str:
    say("start", tag)
    threading.Thread(target=guarded.wait_for_file, args=(gate,)).start()
    say("end", tag)
    return tag


@app.task(queue="work")
async def swallows(tag: str) -> None:
    """Does not let itself be cancelled."""
    say("start", tag)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("swallowed", tag)


@app.task(queue="work", result_ttl=60)
async def blocks_the_loop(tag: str, seconds: float) -> str:
    say("start", tag)
    time.sleep(seconds)
    say("end", tag)
    return tag


@app.task(queue="work", result_ttl=60, timeout=1.0, retry=False)
def waits_for_its_own_queue(tag: str) -> str:
    """With one slot, what it waits for can never start."""
    say("start", tag)
    handle = quick.enqueue(f"{tag}-inner")
    answer = handle.result(timeout=30)
    say("end", tag)
    return answer


@app.task(queue="work", retry=False)
def eats_memory(tag: str) -> None:
    """Up to a limit of its own address space."""
    say("start", tag)
    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 200_000_000, old[1]))
    try:
        hoard = []
        while True:
            hoard.append(bytearray(10_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


@app.task(queue="work", result_ttl=60)
def grows(tag: str, mebibytes: int) -> str:
    say("start", tag)
    _hoard.append(b"x" * (mebibytes * 1_048_576))
    say("end", tag)
    return tag


@app.task(queue="work", retry=False)
def eats_descriptors(tag: str) -> None:
    """Leaks files until the process has none left, and keeps them."""
    say("start", tag)
    while True:
        _files.append(os.open("/dev/null", os.O_RDONLY))


@app.task(queue="work", result_ttl=60)
def two_arguments(tag: str, one: int) -> int:
    say("start", tag)
    say("end", tag)
    return one


@app.task(queue="work", result_ttl=60)
def silent(tag: str) -> str:
    """Opens nothing, so it says nothing."""
    return tag


_hoard: list[bytes] = []
_files: list[int] = []


class Canary:
    """Tells if ever a pickle of it is loaded."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return guarded.tell, ("loaded", "canary")


@app.task(queue="work", result_ttl=60)
def echo(value: str) -> str:
    return value
