"""Care for the streams of stream queues: what others took away comes back, and history goes when its time is over."""

from __future__ import annotations

import logging

from taskq.tasks.lists import ListBroker
from taskq.tasks.stream_calls import Watched

log = logging.getLogger("taskq.worker")

_SCRIPTS = 20  # of one stream in one round: the heartbeat waits for their end


class Tending:
    """Looks after streams on the keeper's thread, and tells what others did to them."""

    def __init__(self, broker: ListBroker) -> None:
        self._broker = broker
        self._seen: dict[str, Watched] = {}

    def tend(self, queue: str) -> None:
        """As much as one round may do; what is left is found again by the next sweep."""
        for _ in range(_SCRIPTS):
            watched = self._broker.tend(queue)
            self._tell(queue, self._seen.get(queue), watched)
            self._seen[queue] = watched
            if not watched.more:
                return

    def _tell(self, queue: str, before: Watched | None, now: Watched) -> None:
        if before is None:
            before = Watched(False, 0, 0, 0, False, 0) if now.repair else now
        if now.healed != before.healed:  # fewer than before: what counts them was removed as well
            log.warning("queue %s: somebody removed the consumer group, the stream or what goes with it; mended", queue)
        if now.lost > before.lost:
            log.error(
                "queue %s: %d entries of its stream were gone before they were read; their messages are appended anew",
                queue,
                now.lost - before.lost,
            )
        if before.repair and not now.repair:
            log.warning("queue %s: all messages without an entry are appended anew", queue)
        if now.foreign > before.foreign:
            log.warning(
                "queue %s: %d entries in its stream are no messages of taskq; they are left there, and not run",
                queue,
                now.foreign - before.foreign,
            )
