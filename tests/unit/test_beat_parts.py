"""A heartbeat of a child that holds and runs very much goes in parts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from itertools import chain
from typing import cast

import pytest

from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Extended
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import EXTENDED
from taskq_workers.beats import Beats
from taskq_workers.process import Child
from taskq_workers.sightings import HeldToken, Running
from taskq_workers.table import CANCEL_ENTRIES, Table


class Busy:
    """A child with one queue, that holds many lease calls and runs many tasks."""

    index = 1

    def __init__(self, held: int, running: int) -> None:
        self.shared = Table.create(1)
        self.tokens = [b"%020d" % number for number in range(held)]
        ids = new_ids(running) if running else []
        self.runs = [
            Running(slot, 1, False, 0, 0, one, self.tokens[slot % held], 0.0, 0.0) for slot, one in enumerate(ids)
        ]

    @contextmanager
    def table(self) -> Generator[Table]:
        yield self.shared

    def held(self) -> list[HeldToken]:
        return [HeldToken(0, 0, token) for token in self.tokens]

    def running(self) -> list[Running]:
        return self.runs

    def queue(self, index: int) -> str:
        return "q"


def extends(beats: Beats, child: Busy) -> list[tuple[int, int]]:
    """How many tokens and marks each call of a heartbeat has."""
    found = []
    for wire in beats.wires([cast("Child", child)]):
        assert wire.call is not None
        args = list(wire.call.args)
        found.append((args[2], (len(args) - 3 - args[2]) // 3))
    return found


@pytest.mark.parametrize(
    ("held", "running", "calls"),
    [
        (1, 0, [(1, 0)]),
        (EXTENDED, EXTENDED, [(EXTENDED, EXTENDED)]),
        (2 * EXTENDED + 7, 1, [(EXTENDED, 1), (EXTENDED, 0), (7, 0)]),
        (3, EXTENDED + 1, [(3, EXTENDED), (0, 1)]),
    ],
)
def test_a_heartbeat_extends_so_many_at_a_time(held: int, running: int, calls: list[tuple[int, int]]) -> None:
    child = Busy(held, running)
    assert extends(Beats(ListBroker(SyncLink("redis://nobody"), "ns"), lambda *_: None), child) == calls
    child.shared.close()


def test_the_parts_of_a_heartbeat_share_the_room_for_cancel_requests() -> None:
    child = Busy(3 * EXTENDED, 0)
    beats = Beats(ListBroker(SyncLink("redis://nobody"), "ns"), lambda *_: None)
    asked = [new_ids(CANCEL_ENTRIES) for _ in range(3)]
    heard: set[bytes] = set()
    for _ in range(5):
        for ids, wire in zip(asked, beats.wires([cast("Child", child)]), strict=True):
            assert wire.then is not None
            wire.then(Extended(0, [], dict.fromkeys(ids, False), []))
        met = [one for one, _ in child.shared.new_cancels()]
        assert len(met) <= CANCEL_ENTRIES
        assert len(met) == len(set(met)) == CANCEL_ENTRIES // 3 * 3
        heard |= set(met)
    assert heard == set(chain(*asked))
    child.shared.close()
