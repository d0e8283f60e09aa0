"""One connection through the proxy: requests up, replies down, each matched to its call, and faults in between."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Protocol

from tests.faults.resp import Frames, arguments, name_of
from tests.faults.rules import Call, Fault, Reset, Rule, Way, Weather

_CHUNK = 65536
_PUSHING = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"}
_AFTERWARDS = {"lose_reply", "mute_reply", "hold_reply", "cut_reply", "act_after"}
_Answered = tuple[Call, Rule | None, bytes]


class Book(Protocol):
    """What a relay asks of its proxy."""

    weather: list[Weather]
    half_open: Fault | None

    def enter(self, line: int, pid: int, name: str, words: list[bytes], frame: bytes) -> Call: ...
    def rule_for(self, call: Call) -> Rule | None: ...


class Relay:
    """Life: `run`, until both ends are gone."""

    def __init__(self, book: Book, number: int, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._book = book
        self.number = number
        self._from_client, self._to_client = client
        self.pid = _peer(self._to_client)
        self._pending: deque[_Answered] = deque()
        self._pushing = False
        self._muted = False

    async def run(self, path: str) -> None:
        """Connect to the server and carry both ways."""
        try:
            self._from_server, self._to_server = await asyncio.open_unix_connection(path)
        except OSError:
            self._cut(self._to_client)
            return
        ways = [asyncio.ensure_future(self._up()), asyncio.ensure_future(self._down())]
        try:
            # Also when the client is gone: what it has sent is still executed, and the log should know.
            await asyncio.gather(*ways)
        except (Reset, OSError):
            pass
        finally:
            for way in ways:
                way.cancel()
            self._cut(self._to_client)
            self._cut(self._to_server)

    # -- up ---------------------------------------------------------------------------------------------------------

    async def _up(self) -> None:
        requests = Frames()
        while data := await self._read(self._from_client):
            await self._weather("up")
            for frame in requests.feed(data):
                await self._request(frame)
        await self._end("up")
        self._to_server.write_eof()

    async def _request(self, frame: bytes) -> None:
        words = arguments(frame)
        call = self._book.enter(self.number, self.pid, name_of(words), words, frame)
        self._pushing = self._pushing or call.name in _PUSHING
        rule = self._book.rule_for(call)
        if rule is not None and rule.action not in _AFTERWARDS:
            call.fate = "kept"
            rule.fire(call)
            if rule.action == "answer":
                self._pending.append((call, None, rule.text))
                if len(self._pending) == 1:
                    await self._deliver(self._own_answers())
                return
            if rule.action == "hold_request":
                await rule.hold()
            else:
                rule.act(call)
                raise Reset
        self._pending.append((call, rule, b""))
        call.fate = "sent"
        await self._write("up", self._to_server, frame)

    # -- down -------------------------------------------------------------------------------------------------------

    async def _down(self) -> None:
        replies = Frames()
        while data := await self._read(self._from_server):
            if self._pushing:
                await self._weather("down")
                await self._write("down", self._to_client, data)
                continue
            answered: list[_Answered] = []
            for frame in replies.feed(data):
                if not self._pending:  # what a server says to one whom it does not let in
                    await self._write("down", self._to_client, frame)
                    continue
                call, rule, _ = self._pending.popleft()
                call.fate, call.reply = "executed", frame
                answered += [(call, rule, frame), *self._own_answers()]
            await self._weather("down")
            await self._deliver(answered)
        await self._end("down")
        raise Reset

    def _own_answers(self) -> list[_Answered]:
        """The answers of our own whose turn it is."""
        own: list[_Answered] = []
        while self._pending and self._pending[0][2]:
            own.append(self._pending.popleft())
        return own

    async def _deliver(self, answered: list[_Answered]) -> None:
        for call, rule, frame in answered:
            if rule is not None:
                await self._meet(rule, call, frame)
            if not self._muted:
                await self._write("down", self._to_client, frame)
                call.delivered = True

    async def _meet(self, rule: Rule, call: Call, frame: bytes) -> None:
        if rule.action == "hold_reply":
            rule.fire(call)
            await rule.hold()
        elif rule.action == "mute_reply":
            self._muted = True
            rule.fire(call)
        elif rule.action in ("lose_reply", "act_after", "cut_reply"):
            rule.act(call)
            if rule.action == "cut_reply":
                await self._write("down", self._to_client, frame[: rule.at])
            rule.fire(call)
            raise Reset

    async def _end(self, way: Way) -> None:
        """One end has closed; the other hears of it when the weather lets it through."""
        await self._weather(way)
        half = self._book.half_open
        if half is not None and not half.over:
            half.fire()
            await half.hold()

    # -- bytes ------------------------------------------------------------------------------------------------------

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(_CHUNK)
        except ConnectionError:
            return b""

    async def _write(self, way: Way, writer: asyncio.StreamWriter, data: bytes) -> None:
        size, seconds = self._pace(way)
        try:
            for at in range(0, len(data), size or len(data) or 1):
                writer.write(data[at : at + (size or len(data))])
                await writer.drain()
                if size:
                    await asyncio.sleep(seconds)  # the reader gets them one by one
        except ConnectionError:
            half = self._book.half_open
            if way == "up" and (half is None or half.over):
                raise Reset from None  # a client that has gone does not keep the log from the rest

    def _pace(self, way: Way) -> tuple[int, float]:
        paces = [weather.pace(way, self.pid) for weather in self._book.weather]
        return next((pace for pace in paces if pace[0]), (0, 0.0))

    async def _weather(self, way: Way) -> None:
        for weather in list(self._book.weather):
            await weather.pass_through(way, self.pid)

    def reset(self) -> None:
        """Cut both ends at once."""
        self._cut(self._to_client)
        if hasattr(self, "_to_server"):
            self._cut(self._to_server)

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        end: socket.socket | None = writer.get_extra_info("socket")
        if end is not None and end.family != socket.AF_UNIX and end.fileno() >= 0:
            # With this the kernel sends RST, not FIN.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The process at the other end of a unix socket, else 0."""
    end = writer.get_extra_info("socket")
    if end is None or end.family != socket.AF_UNIX:
        return 0
    return int(struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
