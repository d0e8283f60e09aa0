"""What operators and schedules do besides to the heavy queue of P13: look through it, move, remove, sample, fire."""

from __future__ import annotations

from benchmarks.load import HeavyQueue
from taskq.message import new_ids
from taskq.tasks import schedule_calls
from taskq.tasks.briefs import ANY, Shelf
from taskq.tasks.broker import Outgoing
from taskq.tasks.browsing import Browser
from taskq.tasks.choosing import remove_all
from taskq.tasks.moves import Move
from taskq.tasks.queues import Queue
from taskq.tasks.statistics import SLOT_MS, sample

_SHELVES: tuple[Shelf, ...] = ("ready", "delayed", "retrying", "leased", "running", "dead", "quarantined", "parked")
_PAGES = 20
_AGAIN = 20
_ENTRY = "bench"


def steer(queue: HeavyQueue) -> None:
    """All of it; the queue keeps most of its messages."""
    browse(queue)
    shift(queue)
    remove(queue)
    queue.send([sample(queue.keys, str(1_800_000_000_000 + slot * SLOT_MS)) for slot in range(2 * _AGAIN)])
    fire(queue)


def browse(queue: HeavyQueue) -> None:
    """The first pages of every state."""
    for shelf in _SHELVES:
        for _, _page in zip(range(_PAGES), Browser(queue.link, queue.keys, shelf).pages(), strict=False):
            pass
    queue.used.add("browse")


def shift(queue: HeavyQueue) -> None:
    """Waiting messages go to another queue, and all that are there come back."""
    aside = f"{queue.name}-aside"
    if queue.transport == "stream":
        queue.broker.declare(Queue(aside, transport="stream"))
    for source, target, steps in ((queue.name, aside, _AGAIN), (aside, queue.name, 2 * _AGAIN)):
        move = Move(queue.broker, source, target, "ready", ANY, False)
        for _ in range(steps):
            if not move.step():
                break
        while move.begin():
            pass
    queue.used.update(("take", "land", "carried"))


def remove(queue: HeavyQueue) -> None:
    """The messages of a few pages."""
    for shelf in ("ready", "delayed", "dead"):
        for _, page in zip(range(_AGAIN // 4), Browser(queue.link, queue.keys, shelf).pages(), strict=False):
            for _removed in remove_all(queue.broker, queue.name, page.slips):
                pass
    queue.used.add("remove")


def fire(queue: HeavyQueue) -> None:
    """A periodic entry is run by hand, again and again."""
    revision = queue.send([schedule_calls.put(queue.keys, _ENTRY, "", {"task": "unknown.task"})])[0].rev
    queue.send(
        schedule_calls.fire(queue.keys, _ENTRY, revision, None, None, Outgoing(one, b"x" * 250), queue.limits)
        for one in new_ids(queue.rounds)
    )
    queue.send([schedule_calls.drop(queue.keys, _ENTRY, revision)])
