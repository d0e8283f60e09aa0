"""What a watch reads of queues: which of them a look asks, how far it looks into each, and what is known of them all.

A look at many queues asks half of them: those that the look before left out, then those that were read longest ago.
So a figure is at most two looks old, and says when it was read. What is new, and what the caller has in focus, is
always asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from taskq.asks import Ask
from taskq.errors import InvalidName
from taskq.names import check_name
from taskq.store.keys import QueueKeys, queue_keys
from taskq.tasks.operator_calls import MOST_LEASES, MOST_LOOKS, MOST_TASKS, Depth, QueueInfo, Reading, overview

DEPTH: Final = Depth(1_000, 50, 20)
GLANCE: Final = Depth(1_000, 0, 20)
WHOLE: Final = Depth(MOST_LEASES, MOST_LOOKS, MOST_TASKS)
MANY = 25
"""Of more queues a look asks half."""
SELDOM_S = 1.0
"""But all of them if the look before was so long ago."""
DEEP = 2
"""So many queues of a look are looked into for what is running and retrying, which costs the most; the others keep what
the look into them said. Those that have something leased or delayed take turns."""
FIRST = 50
"""But so many of those that were never looked into."""

_DEEP = ("running", "retrying")


class QueueLooks:
    """One look: `asks` are sent, their answers come, `keep` ends it; `infos` and `metas` are what is known then."""

    def __init__(self, namespace: str, *, whole: bool = False) -> None:
        self._namespace = namespace
        self._whole = whole
        self._infos: dict[str, QueueInfo] = {}
        self._metas: dict[str, Mapping[bytes, bytes]] = {}
        self._streams: set[str] = set()
        self._parked: dict[str, list[str]] = {}  # the tasks whose parked messages are counted
        self._looked = 0.0
        self._order: dict[str, None] = {}  # what was asked, longest ago first
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self._left: set[str] = set()  # out of the last look
        self._again: set[str] = set()  # the answer told what else there is to ask
        self._refused: set[str] = set()
        self._deep: dict[str, QueueInfo] = {}  # what the last look into each said, the oldest first
        self._busy: set[str] = set()  # queues of which something is leased or delayed
        self._tried: dict[str, int] = {}  # how often those were looked into that never answered

    def asks(
        self, known: Collection[str], now: float, focus: Collection[str] = (), *, every: bool = False
    ) -> list[Ask]:
        """What to send now, by a clock in seconds; with `every` of all queues."""
        names = [name for name in known if self.keys(name) is not None]
        self._forget(set(names))
        every = every or self._whole or len(names) <= MANY or not 0 <= now - self._looked < SELDOM_S
        self._looked = now
        self._asked = set(names) if every else self._some(names, focus)
        self._left = set(names) - self._asked
        self._answered = set()
        deep = self._chosen()
        found = []
        for name in names:
            keys = self.keys(name) if name in self._asked else None
            if keys is not None:
                found.append(self._ask(keys, WHOLE if self._whole else DEPTH if name in deep else GLANCE))
        return found

    def keep(self, missing: dict[str, None]) -> None:
        """End a look, and name what could not be read when it was last asked."""
        for name in self._asked:
            self._order.pop(name, None)
            self._order[name] = None
        for name in self._asked - self._answered:
            self._infos.pop(name, None)
            self._metas.pop(name, None)
        self._refused = (self._refused - self._answered) | (self._asked - self._answered)
        missing |= dict.fromkeys(queue_part(name) for name in sorted(self._refused))

    def keys(self, name: str) -> QueueKeys | None:
        """The keys of a queue; None if that is no name of one."""
        try:
            return queue_keys(self._namespace, check_name(name), name in self._streams)
        except InvalidName:
            return None

    @property
    def infos(self) -> tuple[QueueInfo, ...]:
        """The queues that could be read, by name, each as it was when it was."""
        return tuple(info for _, info in sorted(self._infos.items()))

    @property
    def metas(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """What their `meta` held then."""
        return self._metas

    # -- what to ask -------------------------------------------------------------------------------------------------

    def _forget(self, names: set[str]) -> None:
        """All of what is not among these."""
        held: tuple[dict[str, object], ...]
        held = (self._infos, self._metas, self._parked, self._order, self._deep)  # type: ignore[assignment]
        for store in held:
            for name in [one for one in store if one not in names]:
                del store[name]
        for some in (self._streams, self._busy, self._left, self._again, self._refused):
            some &= names

    def _some(self, names: Sequence[str], focus: Collection[str]) -> set[str]:
        """Half of the queues, or all that must not wait, if these are more."""
        first = {name for name in names if name not in self._order or name in focus}
        first |= self._left | self._again
        rest = [name for name in self._order if name not in first]
        return first | set(rest[: max(ceil(len(names) / 2) - len(first), 0)])

    def _chosen(self) -> set[str]:
        """Of those asked, whom to look into: those never seen, then those seen longest ago that hold something."""
        # Those that could not be read come behind the others, so that they hold up nobody.
        never = sorted(self._asked - self._deep.keys(), key=lambda name: (self._tried.get(name, 0), name))
        chosen = never[:FIRST]
        left = self._left - self._deep.keys()
        self._tried = {name: self._tried.get(name, 0) + (name in chosen) for name in (*never, *left)}
        busy = [name for name in self._deep if name in self._busy and name in self._asked]
        return {*chosen, *busy[:DEEP]}

    def _ask(self, keys: QueueKeys, depth: Depth) -> Ask:
        tasks = self._parked.get(keys.name, [])
        return Ask(
            queue_part(keys.name), overview(keys, tasks, depth), lambda reading: self._take(keys, tasks, reading)
        )

    # -- what is known -----------------------------------------------------------------------------------------------

    def _take(self, keys: QueueKeys, tasks: list[str], reading: Reading) -> None:
        name, streamed = keys.name, reading.transport == "stream"
        self._answered.add(name)
        (self._streams.add if streamed else self._streams.discard)(name)
        self._parked[name] = [task for task, _ in reading.tasks]
        other = streamed != keys.streamed or self._parked[name] != tasks
        (self._again.add if other else self._again.discard)(name)
        self._metas[name] = reading.meta
        self._infos[name] = self._info(name, tasks, reading)

    def _info(self, name: str, tasks: list[str], reading: Reading) -> QueueInfo:
        info = reading.info(name, tasks)
        (self._busy.add if info.leased or info.delayed else self._busy.discard)(name)
        if reading.depth != GLANCE:
            self._deep.pop(name, None)
            self._deep[name] = info
            return info
        known = self._deep.get(name)
        if known is None:
            return info
        cut = [*(part for part in info.truncated if part not in _DEEP), *(p for p in known.truncated if p in _DEEP)]
        running, retrying = min(known.running, info.leased), min(known.retrying, info.delayed)
        return replace(info, running=running, retrying=retrying, truncated=tuple(cut))


def queue_part(name: str) -> str:
    """What a queue is called among the parts of a look that are missing."""
    return f"queue {name}"
