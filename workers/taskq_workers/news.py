"""What children have to tell the hooks of their app: the deaths that the supervisor has judged, and who tells of each.

The supervisor never imports the app, so the functions of `on_failure` and `on_dead` run in a child: one that lives, or
the next that says hello. A child says when it has called them; if it ends without that word, another one is told.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from taskq.message import id_text
from taskq_workers.deaths import Loss
from taskq_workers.process import Child

log = logging.getLogger("taskq.worker")

_TRIES = 3  # a hook may be what ends the children that call it
_AT_ONCE = 8  # for each child: they share a pipe with its orders, which has to have room for those
_KEPT = 1000
_TEXT_CHARS = 300  # a line has to be shorter than PIPE_BUF


@dataclass(slots=True)
class _Item:
    number: int
    loss: Loss
    tries: int = 0

    def line(self) -> bytes:
        loss = self.loss
        what = asdict(replace(loss.failure, message=loss.failure.message[:_TEXT_CHARS]))
        words = {"number": self.number, "queue": loss.queue, "id": loss.id.hex(), "dead": loss.dead, "failure": what}
        return json.dumps(words, ensure_ascii=False).encode("utf-8", "backslashreplace")


class News:
    """Losses on their way to hooks; of the main thread only. Nothing is kept while `wanted` is False."""

    def __init__(self) -> None:
        self.wanted = False
        self._numbers = 0
        self._waiting: deque[_Item] = deque()
        self._out: dict[int, tuple[Child, _Item]] = {}

    @property
    def pending(self) -> bool:
        """Whether hooks are still to be called, or are being called."""
        return self.wanted and bool(self._waiting or self._out)

    def add(self, losses: Sequence[Loss]) -> None:
        for loss in losses if self.wanted else ():
            if len(self._waiting) >= _KEPT:
                log.error("no hook is told of %s: %d deaths wait to be told already", id_text(loss.id), _KEPT)
                continue
            self._numbers += 1
            self._waiting.append(_Item(self._numbers, loss))

    def hand(self, children: Sequence[Child], *, last: bool) -> None:
        """Give what waits to children. One that is about to go gets nothing unless those are the `last` ones."""
        while self._waiting:
            child = self._teller(children, last)
            if child is None or not child.tell(self._waiting[0].line()):
                return
            item = self._waiting.popleft()
            item.tries += 1
            self._out[item.number] = (child, item)

    def _teller(self, children: Sequence[Child], last: bool) -> Child | None:
        busy = Counter(child.index for child, _ in self._out.values())
        able = [
            child
            for child in children
            if child.hello is not None
            and child.hello.hooks
            and child.verdict is None
            and (last or not (child.retiring or child.alone))
            and busy[child.index] < _AT_ONCE
        ]
        return min(able, key=lambda child: busy[child.index], default=None)

    def heard(self, number: object) -> None:
        """A child has called the hooks for one of them."""
        if isinstance(number, int):
            self._out.pop(number, None)

    def ended(self, child: Child) -> None:
        """A child has ended; what it was given and did not tell goes to another."""
        items = [item for teller, item in self._out.values() if teller is child]
        for item in reversed(items):
            del self._out[item.number]
            if item.tries < _TRIES:
                self._waiting.appendleft(item)
            else:
                log.error("no hook is told of %s: %d children ended over it", id_text(item.loss.id), _TRIES)

    def close(self) -> None:
        """The worker ends, and nobody is left who could tell."""
        if left := len(self._waiting) + len(self._out):
            log.warning("this worker ends before hooks were told of %d messages whose process died", left)
