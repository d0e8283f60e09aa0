"""What tasks say of their progress: the newest word of each is stored, by a thread of its own.

A task that says something may stand on the event loop, so it waits for nothing here. Words are a courtesy: what cannot
be stored is dropped, and only the debug log tells. Callers wait for no lock: a time limit may interrupt them anywhere.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import NamedTuple

import orjson

from taskq.store.scripts import run_many
from taskq.tasks.lists import ListBroker
from taskq.tasks.progress import progress
from taskq_workers.attempt import Attempt

log = logging.getLogger("taskq.worker")

EVERY_S = 1.0
"""A message's words are stored no more often than this."""

MOST = 1_000
"""So many messages are heard in that time; the words of others are dropped: they would cost more than they say."""

_LOOK_S = 0.25
_NOTE = 200


class _Word(NamedTuple):
    queue: str
    text: bytes


class Words:
    """Life: made with the child; the thread starts with the first word and ends with the process."""

    def __init__(self, broker: ListBroker) -> None:
        self._broker = broker
        self._newest: dict[tuple[bytes, bytes], _Word] = {}  # by token and id: one lease must not speak for another
        self._sent: dict[tuple[bytes, bytes], float] = {}
        self._gate = threading.Lock()  # held while there is nothing to look at
        self._gate.acquire()
        self._unstarted = [threading.Thread(target=self._main, name="taskq-progress", daemon=True)]

    def say(self, attempt: Attempt, done: float, total: float | None, note: str) -> None:
        """Keep the newest word of an attempt, to be stored soon; after its lease is lost it has none."""
        if attempt.lease_lost:
            return
        key = (attempt.delivery.token, attempt.delivery.id)
        if key not in self._newest and len(self._newest) >= MOST:
            return
        self._newest[key] = _Word(attempt.queue, _text(done, total, note))
        if key not in self._sent:
            self._wake()

    def __len__(self) -> int:
        """Messages of which something is remembered."""
        return len(self._newest.keys() | self._sent.keys())

    def _wake(self) -> None:
        try:
            self._unstarted.pop().start()
        except IndexError:
            pass  # it runs
        except RuntimeError as error:  # no room for one more thread; the next word tries again
            self._unstarted.append(threading.Thread(target=self._main, name="taskq-progress", daemon=True))
            log.debug("progress is not stored: %s", error)
        with contextlib.suppress(RuntimeError):  # it has been woken already
            self._gate.release()

    # -- the thread -------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        while True:
            # What has been said since the last look is there by now, or whoever says it opens the gate.
            self._gate.acquire(timeout=_LOOK_S if self._newest or self._sent else -1)
            try:
                self._store(time.monotonic())
            except Exception as error:  # noqa: BLE001 - a word is not worth a thread, nor a line that anybody reads
                log.debug("progress was not stored: %s", error)

    def _store(self, now: float) -> None:
        """Store what is due in one round trip, and forget who has said nothing for a while."""
        sent = {key: at for key, at in self._sent.items() if now - at < EVERY_S}
        due = [key for key in list(self._newest) if key not in sent][: MOST - len(sent)]
        words = [(key, self._newest.pop(key)) for key in due]
        # In this order: a word that is said in between finds its message here, and is seen before the next sleep.
        self._sent = sent | dict.fromkeys(due, now)
        if not words:
            return
        keys = self._broker.keys
        calls = [progress(keys(word.queue), token, message, word.text) for (token, message), word in words]
        refused = [answer for answer in run_many(self._broker.link, calls) if answer is not True]
        if refused:
            log.debug("progress of %d messages was not stored: %s", len(refused), refused[0] or "no longer held here")


def _text(done: float, total: float | None, note: str) -> bytes:
    # A note may be the name of a file, and such a name need not be text; a number may be of another library.
    note = note[:_NOTE].encode("utf-8", "replace").decode()
    word = {"done": done, "total": total, "note": note, "at": int(time.time() * 1000)}
    return orjson.dumps(word, default=float)
