"""The app that the worker tests run: tasks that say what they do, outside Redis, and tasks that misbehave."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from taskq import Queue, RetryPolicy, TaskQ, current

app = TaskQ(
    os.environ.get("GUARDED_NAMESPACE", "guarded"),
    url=os.environ.get("GUARDED_URL"),
    lease=float(os.environ.get("GUARDED_LEASE", "10")),
    queues=[Queue("work", transport="stream")] if os.environ.get("GUARDED_TRANSPORT") == "stream" else [],
)

_lock = threading.Lock()
_gates: dict[str, threading.Event] = {}


def say(word: str, tag: str) -> None:
    """Tell the test what a task does, with its fence and its attempt."""
    tell(word, tag, current().fence, current().attempt)


def tell(word: str, tag: str, fence: int = 0, attempt: int = 0) -> None:
    """One datagram to the test, and one line in its ledger: the file outlives this process, the datagram wakes."""
    # Its own ends: a process that is killed while it writes leaves a part of a line.
    line = f"\n{word} {tag.translate({10: '_', 32: '_'})} {os.getpid()} {fence} {attempt} ."
    with _lock:
        ledger = os.open(os.environ["GUARDED_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(ledger, line.encode() + b"\n")
        os.close(ledger)
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.setblocking(False)
    try:
        bell.connect(os.environ["GUARDED_BELL"])
        bell.send(b"!")
    except OSError:
        pass  # nobody listens, or there is enough to wake up for; the ledger has it
    finally:
        bell.close()


def wait_for_file(path: str) -> None:
    """Until the test makes a file; bounded, so that a test that died leaves nothing behind."""
    until = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < until:  # noqa: PTH110 - no Path: this loop may hold the GIL
        time.sleep(0.01)


@app.task(queue="work", result_ttl=60)
def quick(tag: str) -> str:
    say("start", tag)
    say("end", tag)
    return tag


@app.task(queue="work", result_ttl=60)
async def aquick(tag: str) -> str:
    say("start", tag)
    await asyncio.sleep(0)
    say("end", tag)
    return tag


@app.task(queue="work", retry=RetryPolicy(max_attempts=2, base=0.05))
def gated(tag: str, gate: str) -> str:
    """Runs until the test opens its gate (makes a file)."""
    say("start", tag)
    wait_for_file(gate)
    say("end", tag)
    return f"{tag} by {os.getpid()}"


@app.task(queue="work", retry=False)
def prints(tag: str) -> None:
    print(tag, flush=True)
    print(tag, file=sys.stderr, flush=True)
    subprocess.run(["echo", tag], check=True)
    say("end", tag)


@app.task(queue="work")
def prints_and_waits(tag: str, gate: str) -> None:
    print(tag)
    say("printed", tag)
    wait_for_file(gate)


@app.task(queue="work")
def die(tag: str, how: str) -> None:
    say("start", tag)
    if how == "exit":
        os._exit(0)
    elif how == "segv":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(queue="work", timeout=0.2, hard_timeout=0.4)
def never(tag: str) -> None:
    """Ignores its soft limit and never returns."""
    say("start", tag)
    while True:
        try:
            while True:
                time.sleep(0.05)
        except Exception as error:
            say(type(error).__name__, tag)


@app.task(queue="work", delivery="at_most_once")
def once(tag: str) -> None:
    say("start", tag)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(queue="work")
def hold_interpreter(tag: str, seconds: float) -> None:
    """Sleeps in C without letting go of the interpreter: no other thread of this process runs."""
    say("start", tag)
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    say("end", tag)


@app.task(queue="work", retry=RetryPolicy(max_attempts=3, base=0.01, cap=0.01))
def fails(tag: str) -> None:
    say("start", tag)
    raise ValueError(f"no {tag}")


@app.task(queue="work")
async def sleeps(tag: str) -> None:
    say("start", tag)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        say("cancelled", tag)
        raise


@app.task(queue="work", timeout=0.2, retry=False)
async def asleeps_too_long(tag: str) -> None:
    say("start", tag)
    await asyncio.sleep(60)


@app.task(queue="work", retry=False)
def loops(tag: str) -> None:
    """A plain function that can be interrupted between two steps."""
    say("start", tag)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.01)


@app.task(queue="work", retry=False, timeout=0.1)
def logs_all_the_time(tag: str) -> None:
    say("start", tag)
    logger = logging.getLogger(__name__)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        logger.error("%s goes on", tag)
        if time.monotonic() % 1 < 0.5:
            time.sleep(0.0005)


@app.task(queue="work", result_ttl=0)
def first(tag: str) -> None:
    say("start", tag)
