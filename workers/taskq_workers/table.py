"""The table that a child and its supervisor share: what the child holds and runs, readable when it no longer answers.

One table per child, in memory that has no name. A write by the child costs less than a microsecond, and it comes before
what it tells of: a lease call is announced before it is sent, a message before its task starts. So after a death, or
while one task keeps the interpreter to itself, the supervisor knows what was running and what only waited.

Each field has one writer. A reader meets half-written entries: it reads twice, and takes what did not change. Times are
`time.monotonic()`, which is one clock for all processes of a host.
"""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from struct import Struct
from typing import BinaryIO

from taskq_workers.sightings import Command, Counters, HeldToken, Running, State

__all__ = ["Command", "Counters", "HeldToken", "Running", "State", "Table"]

MAGIC = 0x74614B51
VERSION = 2
TOKEN_ENTRIES = 256
"""Lease calls of which something may be left, besides one for each slot: long-running messages that came one by one
hold one each.
"""

JOURNAL_IDS = 8192
CANCEL_ENTRIES = 64
UNKNOWN_TASK = 65535

_READ_TRIES = 1000

# Header: magic, version, pid, slots (words 0 to 3 of 4 bytes); recall, lost, cancels (words 4 to 6, by the supervisor);
# state and command (bytes 28 and 29); tick (double 4); nonce (bytes 40 to 48); counters (bytes 48 to 88).
_PID, _SLOTS, _RECALL, _LOST, _CANCELS = 2, 3, 4, 5, 6
_STATE, _COMMAND = 28, 29
_TICK = 4
_NONCE = slice(40, 48)
_COUNTERS = slice(48, 88)
_HEADER_BYTES = 128

_counters = Struct("<5Q")
# used, unused, queue, token, mark: the random end of the token, written by the supervisor if the token is lost. A flag
# would be taken for the next token's when the entry changed hands in between.
_token = Struct("<BxH20s8x")
_TOKEN_BYTES = 32
_LOST_AT, _TOKEN_TAIL = slice(24, 32), slice(16, 24)
# sequence, used, once, queue, task, id, token, started, hard deadline, sequence again. pack_into clears the place first
# and then fills it from left to right: an entry is whole if both ends hold the same number.
_slot = Struct("<IBBHH16s20sddI")
_SLOT_BYTES = 96
_cancel = Struct("<16sB7x")


class Table:
    """Both ends of the table. Methods under "the child" are called by the child only, and so on."""

    def __init__(self, file: BinaryIO, slots: int) -> None:
        self._file = file
        self.slots = slots
        self.entries = TOKEN_ENTRIES + slots
        self._tokens_at = _HEADER_BYTES
        self._slots_at = self._tokens_at + self.entries * _TOKEN_BYTES
        self._cancels_at = self._slots_at + slots * _SLOT_BYTES
        self._extended_at = self._cancels_at + CANCEL_ENTRIES * _cancel.size
        self._journal_at = self._extended_at + self.entries * 8
        self.size = self._journal_at + JOURNAL_IDS * 16
        if os.fstat(file.fileno()).st_size == 0:
            os.ftruncate(file.fileno(), self.size)
        self._memory = mmap.mmap(file.fileno(), self.size)
        self._bytes = memoryview(self._memory)
        # Single numbers go through these: such a write is one store, pack_into would clear the place before it.
        head = self._bytes[:_HEADER_BYTES]
        self._words = head.cast("I")
        self._doubles = head.cast("d")
        self._head = head
        self._extended = self._bytes[self._extended_at : self._journal_at].cast("d")
        self._sequence = itertools.count(1)
        self._free = list(range(self.entries - 1, -1, -1))
        self._seen_lost = self._seen_cancels = 0

    @classmethod
    def create(cls, slots: int) -> Table:
        """A new table for a child of so many slots."""
        file = _nameless_file()
        table = cls(file, slots)
        words = table._words
        words[0], words[1], words[_SLOTS] = MAGIC, VERSION, slots
        return table

    @classmethod
    def attach(cls, fd: int, slots: int) -> Table:
        """The table behind an inherited file descriptor, which now belongs to it; ValueError if it is none of ours."""
        table = cls(os.fdopen(fd, "r+b", buffering=0), slots)
        words = table._words
        if (words[0], words[1], words[_SLOTS]) != (MAGIC, VERSION, slots):
            table.close()
            raise ValueError(f"descriptor {fd} is not a table of version {VERSION} with {slots} slots")
        return table

    def fileno(self) -> int:
        """The descriptor that the child inherits."""
        return self._file.fileno()

    def close(self) -> None:
        for view in (self._words, self._doubles, self._head, self._extended, self._bytes):
            view.release()
        self._memory.close()
        self._file.close()

    # -- the child ---------------------------------------------------------------------------------------------------

    def sign_in(self, nonce: bytes) -> None:
        """Say who the child is: its process and the 8 random bytes with which its tokens begin."""
        self._bytes[_NONCE] = nonce
        self._words[_PID] = os.getpid()

    def announce(self, queue: int, token: bytes) -> int | None:
        """Note a lease call before it is sent; answers its entry, or None if no entry is free: then do not send it."""
        if not self._free:
            return None
        entry = self._free.pop()
        at = self._tokens_at + entry * _TOKEN_BYTES
        _token.pack_into(self._bytes, at, 0, queue, token)
        self._bytes[at] = 1
        return entry

    def free(self, entry: int) -> None:
        """Forget a lease call of which nothing is left."""
        self._bytes[self._tokens_at + entry * _TOKEN_BYTES] = 0
        self._free.append(entry)

    def start(
        self, slot: int, queue: int, task: int, id: bytes, token: bytes, started: float, hard: float, once: bool = False
    ) -> None:
        """Note that a slot starts a message; comes before the task, and before `recalled` is asked."""
        sequence = next(self._sequence)
        at = self._journal_at + (sequence % JOURNAL_IDS) * 16
        self._bytes[at : at + 16] = id
        number = sequence & 0xFFFFFFFF or 1
        _slot.pack_into(
            self._bytes,
            self._slots_at + slot * _SLOT_BYTES,
            number,
            1,
            once,
            queue,
            task,
            id,
            token,
            started,
            hard,
            number,
        )

    def clear(self, slot: int) -> None:
        """Note that the task of a slot has ended."""
        self._bytes[self._slots_at + slot * _SLOT_BYTES + 4] = 0

    def disown(self) -> None:
        """In a copy of the child that a task made by forking: a copy that comes back from the task ends at once.

        It shares this table and all connections with the child, which goes on; it may use neither.
        """
        self.clear = self.start = lambda *_: os._exit(0)  # type: ignore[assignment, method-assign]

    def tick(self, now: float) -> None:
        """Say that the interpreter of the child still turns."""
        self._doubles[_TICK] = now

    def recalled(self) -> bool:
        """Whether the supervisor is taking back what has not started; asked after each `start`, before the task.

        If so the task must not start, and what waits is released (the broker refuses what is gone) once this is False.
        """
        return self._words[_RECALL] & 1 == 1

    def recall_number(self) -> int:
        """Grows with each recall; odd while one is going on."""
        return self._words[_RECALL]

    def set_state(self, state: State) -> None:
        self._bytes[_STATE] = state

    def set_counters(self, done: int, failed: int, retried: int, dead: int, lost: int) -> None:
        _counters.pack_into(self._bytes, _COUNTERS.start, done, failed, retried, dead, lost)

    def command(self) -> Command:
        return Command(self._bytes[_COMMAND])

    def new_lost(self) -> list[int]:
        """Entries whose token is lost, if the supervisor has found another one since the last time this was asked."""
        count = self._words[_LOST]
        if count == self._seen_lost:
            return []
        self._seen_lost = count
        lost = []
        for entry in range(self.entries):
            at = self._tokens_at + entry * _TOKEN_BYTES
            data = bytes(self._bytes[at : at + _TOKEN_BYTES])
            if data[0] and data[_LOST_AT] == data[_TOKEN_TAIL]:
                lost.append(entry)
        return lost

    def extended(self, entry: int) -> float:
        """When the supervisor last asked with success for the lease of this entry; a time before it was announced may
        be that of the token which had the entry then.
        """
        return self._extended[entry]

    def new_cancels(self) -> list[tuple[bytes, bool]]:
        """Ids to cancel since the last time this was asked, and whether the child may be ended for it; may repeat."""
        count, seen = self._words[_CANCELS], self._seen_cancels
        self._seen_cancels = count
        found = []
        for number in range(max(seen, count - CANCEL_ENTRIES), count):
            message, kill = _cancel.unpack_from(self._bytes, self._cancels_at + number % CANCEL_ENTRIES * _cancel.size)
            found.append((message, bool(kill)))
        return found

    # -- the supervisor ----------------------------------------------------------------------------------------------

    def held(self) -> list[HeldToken]:
        """The lease calls of which something may be left."""
        found = []
        for entry in range(self.entries):
            at = self._tokens_at + entry * _TOKEN_BYTES
            if self._bytes[at]:
                used, queue, token = _token.unpack(self._steady(at, _TOKEN_BYTES))
                if used:
                    found.append(HeldToken(entry, queue, token))
        return found

    def running(self) -> list[Running]:
        """What the slots run. An entry that stays half-written belongs to a task that has not started."""
        found = []
        for slot in range(self.slots):
            entry = self._steady(self._slots_at + slot * _SLOT_BYTES, _slot.size)
            number, used, once, queue, task, message, token, started, hard, last = _slot.unpack(entry)
            if used and number == last:
                found.append(Running(slot, number, bool(once), queue, task, message, token, started, hard))
        return found

    def _steady(self, at: int, size: int) -> bytes:
        """Bytes that did not change while they were read, if such a moment comes."""
        data = bytes(self._bytes[at : at + size])
        for _ in range(_READ_TRIES):
            again = bytes(self._bytes[at : at + size])
            if again == data:
                break
            data = again
        return data

    def journal_ids(self) -> set[bytes]:
        """The ids of the last 8,192 starts: what is done may not be settled yet, so a recall leaves it alone."""
        blob = bytes(self._bytes[self._journal_at : self._journal_at + JOURNAL_IDS * 16])
        ids = {blob[at : at + 16] for at in range(0, len(blob), 16)}
        ids.discard(bytes(16))
        return ids

    def set_lost(self, entry: int, token: bytes) -> None:
        """Tell the child that a token is no longer its own; harmless if the entry holds another one by now."""
        at = self._tokens_at + entry * _TOKEN_BYTES
        self._bytes[at + 24 : at + 32] = token[12:20]
        self._words[_LOST] = (self._words[_LOST] + 1) & 0xFFFFFFFF

    def set_extended(self, entry: int, now: float) -> None:
        """Tell the child that a lease was extended; `now` is from before the tokens were read."""
        self._extended[entry] = now

    def post_cancel(self, id: bytes, kill: bool) -> None:
        """Ask the child to cancel a message."""
        count = self._words[_CANCELS]
        _cancel.pack_into(self._bytes, self._cancels_at + count % CANCEL_ENTRIES * _cancel.size, id, kill)
        self._words[_CANCELS] = count + 1

    def send(self, command: Command) -> None:
        """Set the command, unless a stronger one stands."""
        self._bytes[_COMMAND] = max(self._bytes[_COMMAND], command)

    def begin_recall(self) -> None:
        """Make the generation odd: from now on the child starts nothing."""
        self._words[_RECALL] |= 1

    def end_recall(self) -> None:
        """Make the generation even: the child goes on."""
        self._words[_RECALL] = (self._words[_RECALL] + 1) & 0xFFFFFFFE

    @property
    def pid(self) -> int:
        return self._words[_PID]

    @property
    def state(self) -> State:
        return State(self._bytes[_STATE])

    @property
    def last_tick(self) -> float:
        """When the child last ticked; 0 before it ever did."""
        return self._doubles[_TICK]

    @property
    def nonce(self) -> bytes:
        return bytes(self._bytes[_NONCE])

    def counters(self) -> Counters:
        return Counters(*_counters.unpack_from(self._bytes, _COUNTERS.start))


def _nameless_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("taskq-table"), "r+b", buffering=0)
    # No memfd outside Linux: a file that is unlinked as soon as it is open.
    return tempfile.TemporaryFile(buffering=0)
