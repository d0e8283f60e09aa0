"""What a listener to broadcasts has heard, and what it has missed: pure, the connection is elsewhere.

Each publisher numbers what it says on a channel. A number that is not the next one means that messages between were
missed; so does a connection that broke, though nobody knows how many until the publisher is heard again.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, Literal

from taskq.codec import Codec
from taskq.errors import DecodeError

VERSION: Final = 1
MOST_PUBLISHERS: Final = 10_000  # remembered; of one that was forgotten the next message is again the first

_HEAD = struct.Struct(">B8sQ")


@dataclass(frozen=True, slots=True)
class Heard:
    """One broadcast message."""

    channel: str
    value: Any


@dataclass(frozen=True, slots=True)
class Gap:
    """Something was missed: `missed` messages of one publisher, or an unknown number while the connection was away."""

    reason: Literal["numbers", "disconnected"]
    channel: str = ""
    missed: int | None = None


@dataclass(slots=True)
class Tally:
    """What a listener counts. `missed` is exact for publishers that were heard before and after."""

    heard: int = 0
    gaps: int = 0
    missed: int = 0
    unreadable: int = 0
    failed: int = 0  # the handler raised; a broadcast is not tried again


def packed(nonce: bytes, number: int, body: bytes) -> bytes:
    """A message as it is sent."""
    return _HEAD.pack(VERSION, nonce, number) + body


class Hearing:
    """From bytes to messages and gaps, for one listener."""

    def __init__(self, codec: Codec) -> None:
        self.tally = Tally()
        self._codec = codec
        self._last: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._was_lost = False

    def lost(self) -> None:
        """The connection broke."""
        self._was_lost = True

    def connected(self) -> Gap | None:
        """The channels are in force; a gap if they were before."""
        again, self._was_lost = self._was_lost, False
        if not again:
            return None
        self.tally.gaps += 1
        return Gap("disconnected")

    def message(self, channel: str, data: bytes) -> tuple[Heard | None, Gap | None]:
        """One message, and the gap before it if there is one. None for what cannot be read, which is counted."""
        try:
            number, nonce, body = _read(data)
            value = self._codec.loads(body)
        except Exception:  # noqa: BLE001 -- a codec may raise anything; one bad message must not end the listening
            self.tally.unreadable += 1
            return None, None
        gap = self._step(channel, nonce, number)
        self.tally.heard += 1
        return Heard(channel, value), gap

    def _step(self, channel: str, nonce: bytes, number: int) -> Gap | None:
        last = self._last.pop((channel, nonce), None)
        self._last[channel, nonce] = number
        if len(self._last) > MOST_PUBLISHERS:
            self._last.popitem(last=False)
        if last is None or number <= last + 1:
            return None
        self.tally.gaps += 1
        self.tally.missed += number - last - 1
        return Gap("numbers", channel, number - last - 1)


def _read(data: bytes) -> tuple[int, bytes, bytes]:
    if len(data) < _HEAD.size or data[0] != VERSION:
        raise DecodeError("this is no broadcast of taskq")
    _, nonce, number = _HEAD.unpack_from(data)
    return number, nonce, data[_HEAD.size :]
