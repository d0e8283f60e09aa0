"""A proxy before one server, over TCP and a unix socket, that knows RESP2 and breaks what it is told to break.

It runs on a thread of its own in the test's process. `calls` is the log: each command in the order of arrival, with
what became of it, so a test knows what the server really executed. Every fault that is ordered must fire, or
`must_have_fired` fails the test.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tests.faults.relay import Relay
from tests.faults.resp import scripts
from tests.faults.rules import PATIENCE_S, Call, Fault, Rule, Way, Weather, Who
from tests.servers import RealServer

T = TypeVar("T")
BOTH: tuple[Way, ...] = ("up", "down")


def everybody(_: int) -> bool:
    return True


def every_call(_: Call) -> bool:
    return True


class Proxy:
    """`url` (unix; callers are known by their pid) and `tcp_url` lead to the server through this proxy."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._dir = Path(tempfile.mkdtemp(prefix="tqp-"))
        self.port = 0
        self.calls: list[Call] = []
        self.weather: list[Weather] = []
        self.half_open: Fault | None = None
        self._refusal: Fault | None = None
        self._silence: Fault | None = None
        self.rules: list[Rule] = []
        self._faults: list[Fault] = []
        self._relays: set[Relay] = set()
        self._waiting: set[asyncio.StreamWriter] = set()
        self._lines = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._listeners = self._do(self._listen())
        # So that the first call of a script is a call of that script, and not a NOSCRIPT.
        load_scripts(server)

    @property
    def url(self) -> str:
        return f"unix://{self._dir / 's'}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    # -- rules for single calls -------------------------------------------------------------------------------------

    def on(self, name: str, nth: int = 1, times: int = 1, where: Callable[[Call], bool] = every_call) -> Rule:
        """Meet a call: `proxy.on("ack", 2).lose_reply()`. Counting starts now; `times=0` means every one from then."""
        rule = Rule(self._loop, name, nth, times, where)
        self._faults.append(rule)
        self.rules.append(rule)
        return rule

    def executed(self, name: str) -> list[Call]:
        """The calls of a script or command that the server has answered."""
        return [call for call in list(self.calls) if call.name == name and call.fate == "executed"]

    # -- lasting trouble --------------------------------------------------------------------------------------------

    def latency(self, delay: float, jitter: float = 0.0, who: Who = everybody) -> Fault:
        """Seconds that each request and each reply takes longer."""
        return self._trouble(f"latency {delay} s", Weather(self._fault(), BOTH, who, delay=delay, jitter=jitter))

    def bandwidth(self, rate: float, who: Who = everybody) -> Fault:
        """Bytes per second, each way."""
        return self._trouble(f"{rate} bytes/s", Weather(self._fault(), BOTH, who, rate=rate))

    def slicer(self, piece: int) -> Fault:
        """Everything arrives in pieces of so many bytes."""
        return self._trouble(f"pieces of {piece}", Weather(self._fault(), BOTH, everybody, piece=piece))

    def black_hole(self, *ways: Way, who: Who = everybody) -> Fault:
        """Nothing arrives any more on these ways (both if none is named), and nobody is told. What was sent meanwhile
        arrives at the end, as with TCP, or with `end(deliver=False)` its connection is cut.
        """
        ways = ways or BOTH
        return self._trouble(f"black hole {ways}", Weather(self._fault(), ways, who, hole=True))

    def drop_ends(self) -> Fault:
        """Half-open connections: neither end hears that the other has closed."""
        self.half_open = self._named("half-open")
        return self.half_open

    def refuse(self) -> Fault:
        """New connections are cut at once."""
        self._refusal = self._named("connections refused")
        return self._refusal

    def silence(self) -> Fault:
        """New connections are accepted, and nothing ever answers on them."""
        self._silence = self._named("silence after accepting")
        return self._silence

    def reset_all(self) -> None:
        """Cut every connection there is."""
        self._do(self._reset_all())

    # -- the end ----------------------------------------------------------------------------------------------------

    def must_have_fired(self) -> None:
        """Fail if something that was ordered has not happened."""
        idle = [fault for fault in self._faults if not fault.has_fired()]
        assert not idle, f"these faults did not fire, so the test proves nothing: {idle}"

    def close(self) -> None:
        for fault in self._faults:
            fault.end(deliver=False)
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        shutil.rmtree(self._dir, ignore_errors=True)

    # -- for the relays ---------------------------------------------------------------------------------------------

    def enter(self, line: int, pid: int, name: str, words: list[bytes], frame: bytes) -> Call:
        call = Call(len(self.calls), line, pid, name, words, frame)
        self.calls.append(call)
        return call

    def rule_for(self, call: Call) -> Rule | None:
        """All rules count the call; the first one whose turn it is has it."""
        met = [rule for rule in list(self.rules) if rule.meets(call)]
        return met[0] if met else None

    # -- inside -----------------------------------------------------------------------------------------------------

    def _fault(self) -> Fault:
        return Fault("", self._loop)

    def _named(self, what: str) -> Fault:
        fault = Fault(what, self._loop)
        self._faults.append(fault)
        return fault

    def _trouble(self, what: str, weather: Weather) -> Fault:
        weather.fault.what = what
        self._faults.append(weather.fault)
        self.weather.append(weather)
        return weather.fault

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _listen(self) -> list[asyncio.Server]:
        unix = await asyncio.start_unix_server(self._accept, self._dir / "s", backlog=1024)
        tcp = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = tcp.sockets[0].getsockname()[1]
        return [unix, tcp]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusal is not None and not self._refusal.over:
            self._refusal.fire()
            writer.transport.abort()
            return
        if self._silence is not None and not self._silence.over:
            self._silence.fire()
            self._waiting.add(writer)
            return
        self._lines += 1
        relay = Relay(self, self._lines, (reader, writer))
        self._relays.add(relay)
        try:
            await relay.run(str(self._server.socket))
        finally:
            self._relays.discard(relay)

    async def _reset_all(self) -> None:
        for relay in list(self._relays):
            relay.reset()

    async def _shut(self) -> None:
        for listener in self._listeners:
            listener.close()
        await self._reset_all()
        for writer in self._waiting:
            writer.transport.abort()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def load_scripts(server: RealServer) -> None:
    """Teach the server all task scripts."""
    with server.client() as client:
        for _, text in scripts():
            client.script_load(text)
