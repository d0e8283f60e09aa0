"""What work costs, as counts that no clock and no neighbour on the machine can change."""

from __future__ import annotations

import gc
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tests.servers import RealServer

MARGIN = 1.15
"""A limit stands this far above what was read when it was set: enough for a small repair, too little for a loop."""

_OWN = ("cmdstat_info", "cmdstat_config", "cmdstat_client", "cmdstat_hello", "cmdstat_ping")


def instructions(work: Callable[[], object]) -> int:
    """How many bytecode instructions this thread runs in `work`, the calls of C functions counting as one each."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        elif event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return trace

    before, collecting = sys.gettrace(), gc.isenabled()
    gc.disable()  # finalizers and callbacks of others are no part of it
    sys._getframe().f_trace_opcodes = True  # Python 3.12 asks this once, when tracing begins
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        if collecting:
            gc.enable()
    return count


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a server saw: commands, those inside scripts too; runs of scripts; bytes."""

    commands: int
    scripts: int
    received: int
    sent: int
    names: dict[str, int]


def traffic(server: RealServer, work: Callable[[], object]) -> Traffic:
    """What `work` asks of a server that nobody else uses."""
    with server.client() as client:
        first = _told(client, lambda: None)
        return _less(_told(client, work), first)


def _told(client: Any, work: Callable[[], object]) -> Traffic:
    client.config_resetstat()
    work()
    stats, commands = client.info("stats"), client.info("commandstats")
    names = {
        name.removeprefix("cmdstat_"): told["calls"]
        for name, told in commands.items()
        if not name.startswith(_OWN) and told["calls"]
    }
    scripts = names.get("evalsha", 0) + names.get("eval", 0)
    received, sent = stats["total_net_input_bytes"], stats["total_net_output_bytes"]
    return Traffic(sum(names.values()), scripts, received, sent, names)


def _less(whole: Traffic, part: Traffic) -> Traffic:
    return Traffic(
        whole.commands - part.commands,
        whole.scripts - part.scripts,
        whole.received - part.received,
        whole.sent - part.sent,
        whole.names,
    )


_BY_BATCH = ("hincrby", "hmget", "hget", "hdel", "zadd", "zrem")


@dataclass(slots=True)
class Watched:
    """Every command that a server ran: what clients asked for by name, and of each script how many commands a run took.

    What a script does by lease call or by outcome is left out of the latter: it depends on what comes together.
    """

    asked: Counter[str] = field(default_factory=Counter[str])
    scripts: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    _run: list[int] = field(default_factory=list[int])

    def add(self, line: str) -> None:
        """A line of MONITOR: `+1700000000.123456 [0 lua] "HGET" "key" "field"`."""
        head, _, rest = line.partition("] ")
        name, first, *_ = [*rest.split('"', 4)[1::2], ""]
        if head.endswith(" lua"):
            self._run[-1] += name.lower() not in _BY_BATCH
        elif name.lower() in ("eval", "evalsha"):
            self._run = self.scripts.setdefault(first, [])
            self._run.append(0)
        else:
            self.asked[name.lower()] += 1


_LAST = "that-is-all"


def watched(server: RealServer, work: Callable[[], object]) -> Watched:
    """What a server runs during `work`, command by command."""
    seen, failed = Watched(), list[Exception]()
    with socket.socket(socket.AF_UNIX) as line, server.client() as other:
        line.connect(str(server.socket))
        line.sendall(b"MONITOR\r\n")
        lines = line.makefile("r", encoding="ascii", newline="\r\n")
        assert lines.readline() == "+OK\r\n"

        def listen() -> None:
            try:
                while _LAST not in (text := lines.readline()):
                    seen.add(text)
            except Exception as error:
                failed.append(error)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        work()
        other.echo(_LAST)
        listener.join()
    assert not failed, failed
    return seen
