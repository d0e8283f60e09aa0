"""A stream queue whose scripts are run one at a time, and what its stream, its group and its tables say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskq import Queue as Declared
from taskq import Retain
from taskq.store.connection import SyncLink
from taskq.store.keys import queue_keys
from taskq.tasks import stream_calls
from taskq.tasks.calls import Limits
from taskq.tasks.stream_calls import Watched
from tests.lua.kit import Queue, number_of

GROUP = b"taskq"
WIDE, NONE = 26, b"-" * 26
CALLS = 500  # pages of watching or repairing after which a test gives up


@dataclass(frozen=True)
class Entry:
    """An entry of a stream: its id as the server writes it, and the number of its message."""

    id: str
    number: int


class StreamQueue(Queue):
    """One declared stream queue on a real server."""

    def __init__(self, link: SyncLink, namespace: str, limits: Limits | None = None) -> None:
        super().__init__(link, namespace, limits)
        self.namespace = namespace
        self.keys = queue_keys(namespace, "q", True)
        self.declare()

    def declare(self, retain: Retain | None = None, transport: Any = "stream") -> None:
        self.run(stream_calls.declare(self.namespace, Declared("q", transport=transport, retain=retain)))

    def watch(self) -> Watched:
        return self.run(stream_calls.watch(self.keys, "", self.at))

    def watch_all(self) -> Watched:
        for _ in range(CALLS):
            if not (watched := self.watch()).more:
                return watched
        raise AssertionError("watching does not come to an end")

    def repair(self) -> int:
        """All pages; answers how many messages were appended."""
        total = 0
        for _ in range(CALLS):
            found, left = self.run(stream_calls.repair(self.keys))
            total += found
            if not left:
                return total
        raise AssertionError("repairing does not come to an end")

    # -- looking from outside

    def stream(self) -> list[Entry]:
        """All entries that are ours, the oldest first."""
        found = self.link.execute("XRANGE", self.keys.stream, "-", "+")
        return [Entry(str(one, "ascii"), number_of(fields[1])) for one, fields in found if fields[0] == b"id"]

    def pending(self) -> list[int]:
        """The messages of the group's pending list, by its own consumer."""
        found = self.link.execute("XPENDING", self.keys.stream, GROUP, "-", "+", 10_000)
        assert {one[1] for one in found} <= {GROUP}
        numbers = {entry.id: entry.number for entry in self.stream()}
        return [numbers.get(str(one[0], "ascii"), -1) for one in found]

    def by_token(self) -> dict[bytes, list[str]]:
        """The entries of each batch that is held, as the table has them."""
        return {field: _entries(value) for field, value in self._entries().items() if len(field) == 20}

    def given_back(self) -> list[int]:
        """The messages whose entries are kept by id."""
        return sorted(number_of(field) for field in self._entries() if len(field) == 16)

    def tally(self, name: str) -> int:
        return int(self.link.execute("HGET", self.keys.tally, name) or 0)

    @property
    def unread(self) -> int:
        return self.tally("appended") - self.tally("read")

    def check(self) -> None:
        """What holds after every script: what is held or given back is pending, and nothing else is."""
        assert not self.link.execute("EXISTS", self.keys.fresh)
        flat = self.link.execute("HGETALL", self.keys.held)
        held = dict(zip(flat[::2], flat[1::2], strict=True))
        assert set(self.by_token()) == set(held)
        known: list[str] = []
        for token, entries in self.by_token().items():
            ids = [held[token][at : at + 16] for at in range(16, len(held[token]), 16)]
            assert len(ids) == len(entries)
            records = self.link.execute("HMGET", self.keys.state, *ids)
            known += [
                entry
                for entry, record in zip(entries, records, strict=True)
                if entry and record and record[:1] == b"l" and record[8:28] == token
            ]
        for field, value in self._entries().items():
            known += [entry for entry in _entries(value) if entry and len(field) == 16]
        found = self.link.execute("XPENDING", self.keys.stream, GROUP, "-", "+", 10_000)
        assert sorted(known) == sorted(str(one[0], "ascii") for one in found)

    def _entries(self) -> dict[bytes, bytes]:
        flat = self.link.execute("HGETALL", self.keys.entries)
        return dict(zip(flat[::2], flat[1::2], strict=True))


def _entries(value: bytes) -> list[str]:
    """The entries of one field, as the server writes them; '' where there is none."""
    parts = [value[at : at + WIDE] for at in range(0, len(value), WIDE)]
    return ["" if part == NONE else "{}-{}".format(*(int(number) for number in part.split(b"-"))) for part in parts]
