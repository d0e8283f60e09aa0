"""The threads of a consumer that wait for new records.

On a single server one connection waits for all partitions whose group has the same epoch; in a cluster each partition
has its own, since one command reads one slot.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from taskq.errors import BrokerUnavailable, TaskqError
from taskq.events.entries import records
from taskq.events.outage import Outage
from taskq.events.shared_calls import Seat
from taskq.events.shared_options import SharedOptions
from taskq.events.shared_state import Item, Ledger, Part
from taskq.store.connection import SyncLink

log = logging.getLogger("taskq.events")

BLOCK_S = 1.0  # so long may `close` have to wait
LONGEST_BLOCK_S = 5.0
MOST_BYTES = 8 * 1_048_576  # of records that one read asks for, by the average size of those before


class Readers:
    """One thread per lane: the partitions that one command can read."""

    def __init__(
        self,
        link: SyncLink,
        ledger: Ledger,
        options: SharedOptions,
        outage: Outage,
        arrived: Callable[[list[Item]], None],
    ) -> None:
        self._link = link
        self._ledger = ledger
        self._options = options
        self._outage = outage
        self._arrived = arrived
        self._threads: dict[str, threading.Thread] = {}
        self._size = 16_384.0  # bytes of a record: at first a careful guess

    def lanes(self) -> dict[str, list[Part]]:
        """The partitions whose group was found, by what can be read together."""
        alone = self._link.url.kind == "cluster"
        lanes: dict[str, list[Part]] = {}
        for part in list(self._ledger.parts.values()):
            if part.seat is not None:
                lanes.setdefault(part.keys.log if alone else part.seat.native, []).append(part)
        return lanes

    def tend(self) -> None:
        """See that each lane has its thread."""
        for name in self.lanes():
            thread = self._threads.get(name)
            if thread is None or not thread.is_alive():
                thread = threading.Thread(target=self._run, args=(name,), name=f"taskq-read-{name}", daemon=True)
                self._threads[name] = thread
                thread.start()

    def join(self) -> None:
        """Wait until all of them have seen that the consumer closes."""
        for thread in self._threads.values():
            thread.join()

    def _run(self, name: str) -> None:
        turn = 0
        while not self._ledger.closing:
            lanes = self.lanes()
            parts = lanes.get(name, [])
            turn = (turn + 1) % max(1, len(parts))
            calm = not any(part.busy for part in parts)
            room, chosen = self._ledger.admit(parts[turn:] + parts[:turn], len(lanes), calm=calm)
            if room:
                self._read(room, chosen, len(lanes))
            elif not self._ledger.closing:
                with self._ledger.changed:  # all its partitions are in doubt, or their groups are being looked for
                    self._ledger.changed.wait(BLOCK_S)
                if name not in self.lanes():
                    return

    def _read(self, room: int, parts: Sequence[Part], lanes: int) -> None:
        items: list[Item] = []
        seats: dict[bytes, tuple[Part, Seat]] = {
            part.keys.log.encode(): (part, part.seat) for part in parts if part.seat is not None
        }
        try:
            if seats:
                items = self._items(self._ask(room, seats, min(LONGEST_BLOCK_S, BLOCK_S * lanes)), seats)
                self._outage.over()
        except BrokerUnavailable as error:
            self._wait(self._outage.met(error))
            for part in parts:
                part.doubt, part.due = error.sent, 0.0
        except TaskqError as error:
            # Somebody removed a group, or moved it: the keeper finds it again, in its new epoch.
            log.info("group %s: %s", self._options.group, error)
            for part in parts:
                part.seat, part.due = None, 0.0
            self._wait(0.02)
        finally:
            self._ledger.read(room, parts, items)
        self._arrived(items)

    def _ask(self, room: int, seats: dict[bytes, tuple[Part, Seat]], block_s: float) -> Any:
        native = {seat.native for _, seat in seats.values()}
        if len(native) != 1:  # one was moved since the lanes were made
            return None
        count = max(1, min(room // len(seats), int(MOST_BYTES / len(seats) / self._size)))
        who = next(iter(seats.values()))[1]
        command = ("XREADGROUP", "GROUP", who.native, who.consumer, "COUNT", count, "BLOCK", round(block_s * 1000))
        return self._link.blocking(block_s, *command, "STREAMS", *seats, *(">",) * len(seats))

    def _items(self, reply: Any, seats: dict[bytes, tuple[Part, Seat]]) -> list[Item]:
        until = time.monotonic() + self._options.lease  # too late by the way of the answer, which the keeper makes good
        items: list[Item] = []
        for log_key, entries in reply or ():
            part, seat = seats[log_key]
            for entry, fields in entries:
                item = made(part, seat, entry, fields, until)
                self._size += (max(64, item.size) - self._size) / 20
                items.append(item)
        return items

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._ledger.changed:
            while not self._ledger.closing and (left := deadline - time.monotonic()) > 0:
                self._ledger.changed.wait(left)


def made(part: Part, seat: Seat, id: bytes, fields: Sequence[bytes], until: float) -> Item:
    """An item of an entry; its record is None if taskq did not write the entry."""
    found = records(part.topic, part.number, part.codec, [(id, fields)])
    return Item(part, seat, id, found[0] if found else None, until, size=sum(map(len, fields)))
