"""Waiting in a cluster, where one command cannot wait for several partitions: while nothing comes, each has a thread.

They only ring; the fetcher reads, and they wait again once it has nothing to do.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from taskq.errors import TaskqError
from taskq.events.desk import Desk
from taskq.events.holding import Holding

MOST: Final = 64  # partitions of one member that are waited for; with more the fetcher asks in turn
RATE: Final = 1.25  # waits begun per second, over all partitions: with heartbeats two commands at most
LONGEST_S: Final = 30.0
LOOK_S: Final = 0.5  # how often a thread that may not wait looks again; it sends nothing


class Bells:
    """The waiting threads of one consumer. They end by themselves, with the wait that is under way."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._idle = threading.Event()
        self._held: frozenset[Holding] = frozenset()
        self._threads: dict[Holding, threading.Thread] = {}

    def hang(self, held: Sequence[Holding]) -> bool:
        """Let these ring when something comes; False if they are too many."""
        if len(held) > MOST:
            return False
        self._held = frozenset(held)
        self._threads = {one: thread for one, thread in self._threads.items() if thread.is_alive()}
        for one in held:
            if one not in self._threads:
                name = f"taskq-wait-{one.number}"
                thread = threading.Thread(target=self._listen, args=(one,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads: asking in turn goes on
                    return False
                self._threads[one] = thread
        self._idle.set()
        return True

    def quiet(self) -> None:
        """Begin no more waits until they are hung again."""
        self._idle.clear()

    def _listen(self, holding: Holding) -> None:
        desk = self._desk
        while not (desk.stopping.is_set() or holding.lost or holding.released):
            if not self._idle.wait(LOOK_S):
                continue
            if holding not in self._held or holding.paused or holding.revoking:
                desk.stopping.wait(LOOK_S)
                continue
            seconds = min(LONGEST_S, max(1.0, len(self._held) / RATE))
            command = ("XREAD", "COUNT", 1, "BLOCK", int(seconds * 1000), "STREAMS", holding.keys.log, holding.cursor)
            try:
                came = desk.links.sync.blocking(seconds, *command)
            except TaskqError as error:
                if not desk.stopping.is_set():
                    desk.stopping.wait(desk.trouble.met(error))
                came = True  # the fetcher is to see for itself
            if came:
                self.quiet()
                desk.fetch_wanted.set()
