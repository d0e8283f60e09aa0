"""The body of every benchmarked task: one 16-byte write into a mapped file, at the slot that its argument names.

So completion, loss and duplication are counted without the server that is being measured. Nothing but the standard
library: the peers import this file in an environment of their own.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

VARIABLE = "BENCH_LEDGER"
"""The environment variable that names the file."""

SLOT_BYTES = 16
_HEAD_BYTES = 64
_slot = Struct("dQ")  # when it last started (monotonic, the same clock in all processes); how often it started
_count = Struct("Q")


class Ledger:
    """The mapped file. `mark` is the whole of a no-op task; everything else is for who looks on."""

    def __init__(self, path: Path) -> None:
        self._map = mmap.mmap(os.open(path, os.O_RDWR), 0)
        self.slots = (len(self._map) - _HEAD_BYTES) // SLOT_BYTES
        self._times = memoryview(self._map)[_HEAD_BYTES:].cast("B").cast("d")[::2]
        self._counts = memoryview(self._map)[_HEAD_BYTES:].cast("B").cast("Q")[1::2]
        self.seen = 0  # how many slots from the first on are known to have started

    @classmethod
    def create(cls, path: Path, slots: int) -> Ledger:
        with path.open("wb") as file:
            file.truncate(_HEAD_BYTES + slots * SLOT_BYTES)
        return cls(path)

    @classmethod
    def of_environment(cls) -> Ledger:
        """The one that the benchmark which started this process looks at."""
        return cls(Path(os.environ[VARIABLE]))

    def mark(self, slot: int) -> None:
        at = _HEAD_BYTES + SLOT_BYTES * slot
        _slot.pack_into(self._map, at, time.monotonic(), _count.unpack_from(self._map, at + 8)[0] + 1)

    def clear(self, slots: int) -> None:
        """Forget the first `slots` slots and the gate."""
        if slots > self.slots:
            raise ValueError(f"this ledger has {self.slots} slots, not {slots}")
        end = _HEAD_BYTES + SLOT_BYTES * slots
        self._map[:end] = bytes(end)
        self.seen = 0

    # -- a gate that tasks can wait at

    @property
    def gate(self) -> int:
        number: int = _count.unpack_from(self._map, 0)[0]
        return number

    @gate.setter
    def gate(self, number: int) -> None:
        _count.pack_into(self._map, 0, number)

    # -- looking on

    def full(self, slots: int) -> bool:
        """Whether each of the first `slots` has started; remembers how far it has looked."""
        while self.seen < slots and self._counts[self.seen]:
            self.seen += 1
        return self.seen >= slots

    def starts(self, slots: Sequence[int] | range) -> list[tuple[float, int]]:
        """When each last started, and how often it did."""
        return [(self._times[slot], self._counts[slot]) for slot in slots]

    def started(self, slots: Sequence[int] | range) -> int:
        """How many of these have started."""
        return sum(1 for slot in slots if self._counts[slot])

    def first_and_last(self, slots: int) -> tuple[float, float]:
        """The first and the last start of the first `slots`, all of which have started."""
        times = self._times[:slots]
        return min(times), max(times)

    def span(self, slots: int) -> tuple[float, float]:
        """The first and the last start among those of the first `slots` that have started; there has been one."""
        times = [at for at in self._times[:slots] if at]
        return min(times), max(times)

    def last(self, slots: int) -> float:
        """The latest start of all; 0 if there was none."""
        return max(self._times[:slots])

    def first_after(self, slots: int, moment: float) -> float:
        """The first start that is not before a moment; there has been one."""
        return min(at for at in self._times[:slots] if at >= moment)

    def again(self, slots: int) -> int:
        """How many of the first `slots` started more than once."""
        return sum(1 for count in self._counts[:slots] if count > 1)

    def missing(self, slots: int) -> int:
        """How many of the first `slots` never started."""
        return sum(1 for count in self._counts[:slots] if not count)
