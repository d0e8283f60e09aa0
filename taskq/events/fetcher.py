"""Fetching: one thread reads ahead for all partitions in hand, so that handlers never wait for the network.

On one server a single XREAD waits for all of them, and for the bell that says that shares have changed. In a cluster
each has a node of its own, so they are asked in turn, in one round trip per node, with a pause that grows while nothing
comes; then `bells.py` waits for each.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from taskq.errors import TaskqError
from taskq.events.bells import Bells
from taskq.events.desk import Desk
from taskq.events.holding import Holding, begin_of, end_of

BLOCK_S: Final = 1.0  # how long one read waits: so an idle consumer costs about one command a second
BRISK_BLOCK_S: Final = 0.2  # the same while partitions may come: what is claimed meanwhile has to wait for its end
ALONE_BLOCK_S: Final = 1.5  # the same in global order, where each read asks for the time too
IDLE_S: Final = 30.0  # in a cluster: how long the fetcher relies on bells
FULL_WAIT_S: Final = 0.02  # between looks while another partition has all it may have
LONGEST_PAUSE_S: Final = 0.5
MAX_BYTES: Final = 16 * 1_048_576  # fetched and not done, of all partitions


class Fetcher:
    """Keeps the partitions in hand filled."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._turn = 0
        self._pause = 0.0
        self._bell = desk.topic.keys.group(desk.plan.options.group, "bell")  # beat.lua rings it when shares change
        self._heard = "0-0"
        self._bells = Bells(desk)
        self._thread = threading.Thread(target=self._run, name=f"taskq-fetch-{desk.plan.options.group}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self, timeout: float) -> None:
        self.desk.fetch_wanted.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        desk = self.desk
        while not desk.stopping.is_set():
            try:
                self.fetch()
            except TaskqError as error:
                desk.stopping.wait(desk.trouble.met(error))
            except Exception as error:  # noqa: BLE001 - said in full, and the consumer ends
                desk.broke(error)

    def fetch(self) -> None:
        """One read of all partitions that have room; waits if there is nothing."""
        desk = self.desk
        desk.fetch_wanted.clear()
        held = [one for one in list(desk.holdings.values()) if not (one.lost or one.revoking or one.paused)]
        share = MAX_BYTES // max(len(held), 1)
        wanted = [(one, room) for one in held if (room := one.room(share))]
        if not wanted:
            desk.fetch_wanted.wait(BLOCK_S)
            return
        self._turn += 1
        first = self._turn % len(wanted)
        wanted = wanted[first:] + wanted[:first]
        came = self._in_cluster(wanted) if desk.links.sync.url.kind == "cluster" else self._at_once(wanted, held)
        desk.trouble.over()
        if came:
            self._pause = 0.0
        elif len(wanted) < len(held):
            desk.fetch_wanted.wait(FULL_WAIT_S)
        elif desk.links.sync.url.kind == "cluster":
            self._pause = min(self._pause * 2 or 0.001, LONGEST_PAUSE_S)
            # In global order what is in hand may wait for the time alone, which only a look tells.
            quiet = self._pause >= LONGEST_PAUSE_S and not (desk.plan.options.alone and any(one.ahead for one in held))
            hung = quiet and self._bells.hang(held)
            desk.fetch_wanted.wait(IDLE_S if hung else self._pause)
            self._bells.quiet()

    def _at_once(self, wanted: list[tuple[Holding, int]], held: list[Holding]) -> bool:
        count = max(1, min(room for _, room in wanted))
        keys = [*(one.keys.log for one, _ in wanted), self._bell]
        cursors = [*(one.cursor for one, _ in wanted), self._heard]
        command: list[Any] = ["XREAD", "COUNT", count]
        link = self.desk.links.sync
        now = self._time() if self.desk.plan.options.alone else 0
        if len(wanted) < len(held):
            reply = link.execute(*command, "STREAMS", *keys, *cursors)
        else:
            seconds = ALONE_BLOCK_S if now else BLOCK_S
            if time.monotonic() < self.desk.brisk_until:
                seconds = BRISK_BLOCK_S
            block = ["BLOCK", int(seconds * 1000)]
            reply = link.blocking(seconds, *command, *block, "STREAMS", *keys, *cursors)
        found: dict[bytes, Any] = dict(reply or ())
        rung = found.pop(self._bell.encode(), None)
        if rung:
            self._heard = rung[-1][0].decode()
            self.desk.brisk_until = time.monotonic() + BLOCK_S
            self.desk.member_wanted.set()
        came = False
        for (one, _), key, cursor in zip(wanted, keys, cursors, strict=False):
            entries = found.get(key.encode())
            came = (bool(entries) and self._put(one, cursor, entries)) or came
        if now:
            until = max([now, *(_ms(entries) for entries in found.values())])
            self._learn([(one, found.get(one.keys.log.encode(), ()), count) for one, _ in wanted], until)
        return came

    def _in_cluster(self, wanted: list[tuple[Holding, int]]) -> bool:
        asked = [(one, one.cursor, room) for one, room in wanted]
        commands = [("XREAD", "COUNT", room, "STREAMS", one.keys.log, cursor) for one, cursor, room in asked]
        came, failure = False, None
        read: list[tuple[Holding, Any, int]] = []
        now = self._time() if self.desk.plan.options.alone else 0
        for (one, cursor, room), reply in zip(asked, self.desk.links.sync.pipeline(commands), strict=True):
            if isinstance(reply, TaskqError):
                failure = reply
                continue
            entries = reply[0][1] if reply else ()
            read.append((one, entries, room))
            came = (bool(entries) and self._put(one, cursor, entries)) or came
        if failure is not None and not came:
            raise failure
        if now:
            self._learn(read, now)
        return came

    def _time(self) -> int:
        seconds, micros = self.desk.links.sync.execute("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _learn(self, read: list[tuple[Holding, Any, int]], until: int) -> None:
        """For global order: what comes later has no smaller id than `until`; who got all it asked for has more."""
        for one, entries, count in read:
            one.frontier = max(one.frontier, _ms(entries) if len(entries) >= count else until)
        for one in list(self.desk.holdings.values()):  # what waited for this may go on
            self.desk.offer(one)

    def _put(self, holding: Holding, cursor: str, entries: Any) -> bool:
        if holding.lost or holding.cursor != cursor:
            return False
        last = end_of(entries)
        if last is None:  # nothing that taskq wrote
            holding.cursor = entries[-1][0].decode()
            return True
        if begin_of(entries) > holding.last.number and self._removed(holding):
            holding.gap = True
            self.desk.offer(holding)
            return False
        holding.put(entries, last)
        self.desk.offer(holding)
        return True

    def _removed(self, holding: Holding) -> bool:
        """Whether numbers are missing because retention removed records; compaction leaves gaps, too."""
        gone = self.desk.links.sync.execute("HGET", holding.keys.meta, "gone")
        return gone is not None and int(gone) > holding.last.number


def _ms(entries: Any) -> int:
    return int(entries[-1][0].partition(b"-")[0])
