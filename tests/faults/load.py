"""A producer on a thread of its own, which keeps work of all kinds waiting while everything around it breaks."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

from taskq.errors import EnqueueUnconfirmed
from tests.faults.stage import Stage
from tests.runtime.world import Said

BACKLOG = 120
"""Messages that are under way at any time: enough that every blow finds work, few enough to drain soon."""


class Load:
    """Life: start; `heard` from the main thread with what tasks have said; stop. A mistake is raised by `stop`."""

    def __init__(self, here: Stage, seed: int) -> None:
        self._here = here
        self._dice = random.Random(seed + 1)
        self._room = threading.Condition()
        self._sent = 0
        self._ended: set[str] = set()
        self._going = True
        self._mistake: BaseException | None = None
        self.resent = self.dead = 0
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def heard(self, said: Sequence[Said]) -> None:
        """What has come to its end makes room for more."""
        with self._room:
            self._ended.update(one.tag for one in said if one.word == "end")
            self._room.notify_all()

    def stop(self) -> None:
        with self._room:
            self._going = False
            self._room.notify_all()
        self._thread.join()
        if self._mistake is not None:
            raise self._mistake

    def _main(self) -> None:
        try:
            while self._wait():
                self._send(f"m{self._sent}")
                self._sent += 1
        except BaseException as error:
            self._mistake = error

    def _wait(self) -> bool:
        with self._room:
            self._room.wait_for(lambda: not self._going or self._sent - len(self._ended) - self.dead < BACKLOG)
            return self._going

    def _send(self, tag: str) -> None:
        dice, here = self._dice, self._here
        options: dict[str, Any] = {"delay": dice.uniform(0.05, 1.0)} if dice.random() < 0.1 else {}
        kind = dice.random()
        args = () if kind < 0.3 else (dice.uniform(0.0, 0.15), int(kind > 0.9))
        while True:
            try:
                here.put("aeffective" if kind < 0.3 else "effective", tag, *args, **options)
                return
            except EnqueueUnconfirmed as unsure:
                # Sending it again under its id is safe, and the only way to know.
                options["id"] = unsure.id
                self.resent += 1
