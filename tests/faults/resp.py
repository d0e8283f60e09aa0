"""RESP2, as far as the proxy needs it: where one value ends, and what a command says."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files

from taskq.tasks.transports import AROUND, OWN, around, own

CR_LF = b"\r\n"


def end_of(data: bytes | bytearray, at: int) -> int:
    """The position after the value that begins at `at`, or -1 if it is not there to its end."""
    stop = data.find(CR_LF, at)
    if stop < 0:
        return -1
    kind = data[at : at + 1]
    if kind in (b"+", b"-", b":"):
        return stop + 2
    count = int(data[at + 1 : stop])
    if kind == b"$":
        end = stop + 2 + (count + 2 if count >= 0 else 0)
        return end if end <= len(data) else -1
    if kind != b"*":
        raise ValueError(f"not RESP2: {bytes(data[at : at + 20])!r}")
    position = stop + 2
    for _ in range(count):
        position = end_of(data, position)
        if position < 0:
            return -1
    return position


class Frames:
    """Cuts a stream into whole values."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The values that are complete now, as their bytes."""
        self._data += data
        frames: list[bytes] = []
        at = 0
        while at < len(self._data):
            end = end_of(self._data, at)
            if end < 0:
                break
            frames.append(bytes(self._data[at:end]))
            at = end
        del self._data[:at]
        return frames

    @property
    def rest(self) -> bytes:
        """What has arrived of a value that is not complete."""
        return bytes(self._data)


def arguments(frame: bytes) -> list[bytes]:
    """The words of a command, which is an array of bulk strings."""
    stop = frame.find(CR_LF)
    words: list[bytes] = []
    at = stop + 2
    for _ in range(int(frame[1:stop])):
        stop = frame.find(CR_LF, at)
        size = int(frame[at + 1 : stop])
        words.append(frame[stop + 2 : stop + 2 + size])
        at = stop + 2 + size + 2
    return words


@cache
def scripts() -> list[tuple[str, str]]:
    """Name and text of all shipped task scripts, those of stream queues under the names of their verbs."""
    folder = files("taskq.store").joinpath("lua", "tasks")
    plain = [entry for entry in folder.iterdir() if entry.name.endswith(".lua")]
    found = [(entry.name.removesuffix(".lua"), entry.read_text("utf-8")) for entry in plain]
    return [*found, *((verb, around(verb).text) for verb in AROUND), *((verb, own(verb).text) for verb in OWN)]


@cache
def script_names() -> dict[str, str]:
    """The names of all shipped task scripts by their hash."""
    return {sha1(text.encode(), usedforsecurity=False).hexdigest(): name for name, text in scripts()}


def name_of(words: list[bytes]) -> str:
    """`lease` or `ack` for a call of that script, else the command in capitals."""
    command = words[0].decode("ascii", "replace").upper()
    if command == "EVALSHA":
        return script_names().get(words[1].decode("ascii", "replace"), "EVALSHA")
    if command == "EVAL":
        return script_names().get(sha1(words[1], usedforsecurity=False).hexdigest(), "EVAL")
    return command
