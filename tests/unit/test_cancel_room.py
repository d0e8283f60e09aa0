"""Cancel requests of which a child takes only so many at a time: all get their turn, whoever ignores theirs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, cast

from taskq.message import new_ids
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Extended
from taskq.tasks.lists import ListBroker
from taskq_workers.beats import Beats
from taskq_workers.process import Child, Verdict
from taskq_workers.sightings import HeldToken, Running
from taskq_workers.table import CANCEL_ENTRIES, Table

QUEUES = ("mail", "images")


class OneChild:
    """A child as the heartbeat sees it: it holds a lease call of each queue."""

    index = 1

    def __init__(self, queues: Sequence[str] = QUEUES) -> None:
        self.shared = Table.create(1)
        self.queues = queues
        self.runs: list[Running] = []
        self.asked = 0

    @contextmanager
    def table(self) -> Generator[Table]:
        yield self.shared

    def held(self) -> list[HeldToken]:
        return [HeldToken(number, number, b"%020d" % number) for number in range(len(self.queues))]

    def running(self) -> list[Running]:
        self.asked += 1
        return self.runs

    def queue(self, index: int) -> str:
        return self.queues[index]


def test_more_requests_than_fit_are_posted_one_part_after_the_other() -> None:
    ended: list[Verdict] = []
    child: Any = OneChild()
    beats = Beats(ListBroker(SyncLink("redis://nobody"), "ns"), lambda _, verdict: ended.append(verdict))
    ignored = {queue: new_ids(CANCEL_ENTRIES + 6) for queue in QUEUES}
    heard: list[list[bytes]] = []
    for _ in range(6):
        for queue, wire in zip(QUEUES, beats.wires([cast("Child", child)]), strict=True):
            assert wire.then is not None
            wire.then(Extended(0, [], dict.fromkeys(ignored[queue], False), []))
        heard.append([one for one, _ in child.shared.new_cancels()])
    assert all(len(beat) == CANCEL_ENTRIES for beat in heard), (
        "nothing that was posted was overwritten before it was read"
    )
    everybody = {one for ids in ignored.values() for one in ids}
    assert set(chain(*heard[:3])) == everybody
    assert set(chain(*heard[3:])) == everybody, "they are posted again"
    (late,) = new_ids(1)
    for queue, wire in zip(QUEUES, beats.wires([cast("Child", child)]), strict=True):
        assert wire.then is not None
        wire.then(Extended(0, [], dict.fromkeys([*ignored[queue], late], False), []))
    assert late in [one for one, _ in child.shared.new_cancels()], "a new one does not wait for its turn"
    assert not ended
    child.shared.close()


def test_with_more_queues_than_room_each_gets_its_turn() -> None:
    queues = [f"q{number}" for number in range(2 * CANCEL_ENTRIES + 1)]
    child: Any = OneChild(queues)
    beats = Beats(ListBroker(SyncLink("redis://nobody"), "ns"), lambda *_: None)
    asked = dict(zip(queues, new_ids(len(queues)), strict=True))
    heard: list[list[bytes]] = []
    for _ in range(6):
        for queue, wire in zip(queues, beats.wires([cast("Child", child)]), strict=True):
            assert wire.then is not None
            wire.then(Extended(0, [], {asked[queue]: False}, []))
        heard.append([one for one, _ in child.shared.new_cancels()])
    assert max(map(len, heard)) <= CANCEL_ENTRIES
    assert set(chain(*heard[:3])) == set(chain(*heard[3:])) == set(asked.values())
    child.shared.close()


def test_many_that_may_end_their_child_cost_one_look_at_it() -> None:
    child: Any = OneChild(["q"])
    beats = Beats(ListBroker(SyncLink("redis://nobody"), "ns"), lambda *_: None)
    (wire,) = beats.wires([cast("Child", child)])
    before = child.asked
    assert wire.then is not None
    wire.then(Extended(0, [], dict.fromkeys(new_ids(900), True), []))
    assert child.asked - before == 1
    child.shared.close()
