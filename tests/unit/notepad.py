"""A broker that only writes down what it is asked, for tests of what stands above it."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.errors import BrokerFull
from taskq.message import Message, decode
from taskq.tasks.broker import Accepted, Found, Outgoing


class Notepad:
    """Takes everything until it holds `room` messages; `found` is what a lookup tells."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.taken: list[tuple[str, Outgoing]] = []
        self.calls: list[int] = []
        self.found: dict[bytes, Found] = {}
        self.taken_keys: dict[bytes, bytes] = {}
        self.closed = False

    def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        if len(self.taken) + len(messages) > self.room:
            raise BrokerFull("no room")
        self.calls.append(len(messages))
        self.taken += [(queue, message) for message in messages]
        return [self._accepted(message) for message in messages]

    def _accepted(self, message: Outgoing) -> Accepted:
        holder = self.taken_keys.setdefault(message.unique, message.id) if message.unique else message.id
        return Accepted(holder, holder == message.id)

    def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str:
        return "requested" if kill else "cancelled"

    def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        return [self.found.get(one, Found("?", b"", b"")) for one in ids]

    def close(self) -> None:
        self.closed = True

    def messages(self) -> list[tuple[str, Message]]:
        """Queues and messages, as a worker would read them."""
        return [(queue, decode(item.id, item.body)) for queue, item in self.taken]
