"""What a proxy does to the traffic: faults that last, and rules that meet one call."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self

PATIENCE_S = 40.0
MOMENT_S = 1.0
_STEP_S = 0.02

Way = Literal["up", "down"]
Who = Callable[[int], bool]


class Reset(Exception):
    """Cut the connection now."""


@dataclass(eq=False)
class Call:
    """One command that arrived: from which process (0 over TCP), on which connection, and what became of it.

    `fate`: 'arrived', 'sent' (to the server), 'executed' (the server has answered), 'kept' (never sent).
    """

    number: int
    line: int
    pid: int
    name: str
    words: list[bytes]
    frame: bytes
    fate: str = "arrived"
    reply: bytes = b""
    delivered: bool = False

    @property
    def keys(self) -> list[bytes]:
        """The keys of a script call."""
        return self.words[3 : 3 + int(self.words[2])]

    @property
    def args(self) -> list[bytes]:
        """The arguments of a script call."""
        return self.words[3 + int(self.words[2]) :]


class Fault:
    """Something that was ordered, and has to happen: `fired` counts how often it did."""

    def __init__(self, what: str, loop: asyncio.AbstractEventLoop) -> None:
        self.what = what
        self.fired = 0
        self.calls: list[Call] = []
        self.over = False
        self._loop = loop
        self._happened = threading.Condition()
        self._open = asyncio.Event()
        self._deliver = True

    def __repr__(self) -> str:
        return f"<{self.what}: fired {self.fired} times>"

    def fire(self, call: Call | None = None) -> None:
        with self._happened:
            self.fired += 1
            if call is not None:
                self.calls.append(call)
            self._happened.notify_all()

    def wait(self, times: int = 1) -> Self:
        """Until it has happened so many times."""
        with self._happened:
            if not self._happened.wait_for(lambda: self.fired >= times, PATIENCE_S):
                raise AssertionError(f"waited {PATIENCE_S} s for {times} times {self}")
        return self

    def has_fired(self) -> bool:
        """Also if it is about to: what a script stored is seen at once, its reply is lost on the way a moment later."""
        with self._happened:
            return self._happened.wait_for(lambda: self.fired > 0, MOMENT_S)

    def end(self, *, deliver: bool = True) -> None:
        """No more of it. What it has kept back goes on its way, or its connections are cut."""
        self._deliver = deliver
        self.over = True
        self._loop.call_soon_threadsafe(self._open.set)

    async def hold(self) -> None:
        """Wait for the end of it."""
        await self._open.wait()
        if not self._deliver:
            raise Reset


@dataclass(eq=False)
class Weather:
    """What one kind of lasting trouble does to the bytes of one way, or of both."""

    fault: Fault
    ways: tuple[Way, ...]
    who: Who
    delay: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    piece: int = 0
    hole: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def pass_through(self, way: Way, pid: int) -> None:
        """Hold up what has arrived for as long as this trouble takes."""
        if self.fault.over or way not in self.ways or not self.who(pid):
            return
        self.fault.fire()
        if self.hole:
            await self.fault.hold()
        seconds = self.delay + self.chance.uniform(-self.jitter, self.jitter)
        if seconds > 0:
            await asyncio.sleep(seconds)

    def pace(self, way: Way, pid: int) -> tuple[int, float]:
        """In pieces of which size things are sent on, and the seconds that each takes; 0 if in one piece."""
        if self.fault.over or way not in self.ways or not self.who(pid):
            return 0, 0.0
        return (int(self.rate * _STEP_S) or 1, _STEP_S) if self.rate else (self.piece, 0.0)


class Rule(Fault):
    """From the `nth` call of a name on, for `times` calls (0: all of them); one method says what is done to them.

    Names are those of scripts (`ack`) or commands (`BLPOP`), or `*` for every script call.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, nth: int, times: int, where: Callable[[Call], bool]
    ) -> None:
        super().__init__(f"call {nth} of {name}", loop)
        self._name, self._first, self._times, self._where = name, nth, times, where
        self._met = 0
        self.action = ""
        self.at = 0
        self.text = b""
        self.act: Callable[[Call], object] = lambda _: None

    def meets(self, call: Call) -> bool:
        """Whether it is this call's turn; counts it."""
        wanted = call.name == self._name or (self._name == "*" and call.words[0] in (b"EVALSHA", b"EVAL"))
        if self.over or not self.action or not wanted or not self._where(call):
            return False
        self._met += 1
        return self._met >= self._first and (not self._times or self._met < self._first + self._times)

    def _do(self, action: str, at: int = 0, text: str = "", act: Callable[[Call], object] | None = None) -> Self:
        self.what += ", " + action.replace("_", " ")
        self.at, self.text = at, text.encode()
        self.act = act or self.act
        self.action = action
        return self

    def lose_request(self) -> Self:
        """Cut the connection; the server never sees the call."""
        return self._do("lose_request")

    def lose_reply(self) -> Self:
        """The server executes it, then the connection is cut."""
        return self._do("lose_reply")

    def mute_reply(self) -> Self:
        """The server executes it, and nothing is ever heard again on that connection."""
        return self._do("mute_reply")

    def hold_request(self) -> Self:
        """Keep the call until `end()`, even if the client has given up and gone; then the server gets it."""
        return self._do("hold_request")

    def hold_reply(self) -> Self:
        """The server executes it; its reply is kept until `end()`."""
        return self._do("hold_reply")

    def cut_reply(self, at: int) -> Self:
        """The first bytes of the reply arrive, then the connection is cut."""
        return self._do("cut_reply", at=at)

    def answer(self, error: str) -> Self:
        """The server never sees the call; the client reads this error reply."""
        return self._do("answer", text=f"-{error}\r\n")

    def before(self, act: Callable[[Call], object]) -> Self:
        """Do something when the call arrives; the server never sees it."""
        return self._do("act_before", act=act)

    def after(self, act: Callable[[Call], object]) -> Self:
        """Do something when the server has executed it; the client never hears of it."""
        return self._do("act_after", act=act)

    def kill(self, when: Literal["before", "after"], number: signal.Signals = signal.SIGKILL) -> Self:
        """End the process that called, before the server sees the call or after it has executed it."""

        def end(call: Call) -> None:
            assert call.pid, "only callers on the unix socket are known"
            os.kill(call.pid, number)

        return self.before(end) if when == "before" else self.after(end)
