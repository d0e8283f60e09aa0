"""One consumer of a shared group: the life of its threads.

1. `start` looks up the topics, registers the group and begins the keeper; the keeper finds the native groups and starts
   a reader per lane. Errors of the caller (no such topic, another kind of group) are raised here.
2. Readers wait for new records, the keeper takes what is due again; both hand records to whom `deliver_to` named.
3. Whoever runs them asks `begin` before and calls `finish` after each. The keeper stores outcomes in batches.
4. `close` ends reading within one read, waits for what runs, stores its outcomes and gives back the rest.

It does not run handlers (`handling.py`), and it survives any outage of the broker.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson

from taskq.codec import get as codec_of
from taskq.errors import BrokerUnavailable, ConfigError, NoOffset, TaskqError
from taskq.events import failing
from taskq.events.outage import Outage
from taskq.events.patterns import Pattern
from taskq.events.properties import TopicProperties
from taskq.events.shared_calls import Settled, Verb
from taskq.events.shared_keeping import Keeper
from taskq.events.shared_options import SharedOptions
from taskq.events.shared_reading import Readers
from taskq.events.shared_state import Counts, Item, Ledger, Part
from taskq.events.topic_watch import LOOK_S, TopicWatch, one_topic
from taskq.store.connection import SyncLink
from taskq.store.topic_keys import topic_keys

log = logging.getLogger("taskq.events")


class SharedConsumer:
    """The engine behind a shared subscription."""

    def __init__(
        self,
        link: SyncLink,
        namespace: str,
        target: str | Pattern,
        options: SharedOptions,
    ) -> None:
        self._link = link
        self._namespace = namespace
        self._target = target
        self.options = options
        self._sink: Callable[[list[Item]], None] = lambda items: None
        self.name = f"{options.member}.{os.urandom(6).hex()}"
        self._outage = Outage(f"group {options.group}")
        self.ledger = Ledger(options)
        self._keeper = Keeper(link, self.ledger, options, self.name, self._outage, self._arrived)
        self._readers = Readers(link, self.ledger, options, self._outage, self._arrived)
        self._watch: TopicWatch | None = None
        if isinstance(target, Pattern):
            self._watch = TopicWatch(link, namespace, target, options.group)
        self._look_at = 0.0
        self._give_up = float("inf")
        self._thread = threading.Thread(target=self._keep, name=f"taskq-keep-{options.group}", daemon=True)

    @property
    def counts(self) -> Counts:
        """What happened since the start."""
        return self.ledger.counts

    @property
    def topics(self) -> list[str]:
        """The topics that are consumed now."""
        return sorted({part.topic for part in list(self.ledger.parts.values())})

    # -- for who runs the records

    def deliver_to(self, sink: Callable[[list[Item]], None]) -> None:
        """Say, before the start, who gets what is handed out: on any thread, and it must not block."""
        self._sink = sink

    def begin(self, item: Item) -> bool:
        """Whether the handler of a record may begin; if not, it is given back."""
        if self.ledger.usable(item):
            return True
        self.ledger.finish(item, Settled(item.id, "g"))
        return False

    def done(self, item: Item, *, filtered: bool = False) -> None:
        """The handler has returned, or no filter let the record through."""
        self.ledger.finish(item, Settled(item.id, "f" if filtered else "a"))

    def give_back(self, item: Item) -> None:
        """It was not begun."""
        self.ledger.finish(item, Settled(item.id, "g"))

    def failed(self, item: Item, error: BaseException) -> None:
        """The handler or a filter raised, or the record cannot be read: what follows is the policy's word."""
        found = failing.decide(error, item.attempts, self.options.retry, random.random())  # noqa: S311 - spreads load
        self.counts.failed += 1
        where = f"{item.part.name}/{item.id.decode()}"
        log.warning(
            "group %s: record %s failed (attempt %d): %s", self.options.group, where, item.attempts + 1, _said(error)
        )
        verb: Verb = "d" if found.verb == "dead" else "r" if found.verb == "retry" else "n"
        self.ledger.finish(item, Settled(item.id, verb, found.delay, failing.line(error, self.name)))

    def refuse(self, item: Item, why: str) -> None:
        """An entry that no handler can get: a dead letter at once."""
        self.ledger.finish(item, Settled(item.id, "d", 0, failing.told("foreign", why, self.name)))

    # -- life

    def start(self) -> None:
        """Begin. Raises UnknownTopic, ConfigError, NoOffset, BrokerError."""
        if self._watch is None:
            name = str(self._target)
            self._join(name, one_topic(self._link, self._namespace, name), new=False)
        else:
            self._look()
        self._keeper.tend()  # so that what is published after the start is delivered, whatever `reset` says
        self._thread.start()

    def close(self, timeout: float = 30.0) -> None:
        """End: no record begins any more; wait up to `timeout` seconds for those that run. May be called twice."""
        self._give_up = time.monotonic() + timeout
        self.ledger.close()
        if self._thread.ident is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Let `close` wait no longer for what runs."""
        self._give_up = 0.0
        with self.ledger.changed:
            self.ledger.changed.notify_all()

    def _arrived(self, items: list[Item]) -> None:
        if not items:
            return
        if self.ledger.closing:
            for item in items:
                self.give_back(item)
            return
        if self.options.delivery == "at_most_once":
            items = self._keeper.claim(items)
        self._sink(items)

    def _keep(self) -> None:
        while not (self.ledger.closing and (self.ledger.quiet or time.monotonic() > self._give_up)):
            try:
                self._round()
            except TaskqError as error:
                self._rest(self._outage.met(error))
        self._readers.join()
        self._settle_rest()
        self._keeper.leave()

    def _round(self) -> None:
        if (pause := self._keeper.pause) > 0:
            self._rest(pause)
        self._readers.tend()
        if self.ledger.closing:
            self._keeper.settle(self.ledger.outcomes(0.0))
            self._keeper.extend()
            self._rest(0.02)
            return
        until = min(self._keeper.next, self._look_at if self._watch is not None else float("inf"))
        self._keeper.settle(self.ledger.outcomes(min(until, time.monotonic() + 1.0)))
        self._keeper.extend()
        self._keeper.tend()
        if self._watch is not None and time.monotonic() >= self._look_at:
            self._look()

    def _settle_rest(self) -> None:
        while (rest := self.ledger.outcomes(0.0)) and time.monotonic() < self._give_up:
            self._keeper.settle(rest)
            if (pause := self._keeper.pause) > 0:
                time.sleep(min(pause, max(0.0, self._give_up - time.monotonic())))

    def _rest(self, seconds: float) -> None:
        with self.ledger.changed:
            self.ledger.changed.wait(seconds)

    # -- topics

    def _look(self) -> None:
        watch = self._watch
        if watch is None:
            return
        for name, properties in watch.look().items():
            try:
                self._join(name, properties, new=watch.is_new(name))
            except (ConfigError, NoOffset) as error:
                log.error("%s", error)
        self._look_at = time.monotonic() + LOOK_S

    def _join(self, name: str, properties: TopicProperties, *, new: bool) -> None:
        check_shareable(name, properties)
        keys, options = topic_keys(self._namespace, name), self.options
        if options.reset == "error" and not new and self._link.execute("HGET", keys.groups, options.group) is None:
            raise NoOffset(
                f"group {options.group!r} has no position in topic {name!r}: say where it begins with"
                " reset='earliest' or 'latest'"
            )
        where = "earliest" if new or options.reset == "error" else options.reset
        said = {"kind": "shared", "reset": where, "partitions": properties.partitions}
        self._link.execute("HSETNX", keys.groups, options.group, orjson.dumps(said))
        stored = read_group(name, options.group, self._link.execute("HGET", keys.groups, options.group))
        codec = codec_of(properties.codec)
        for number in range(properties.partitions):
            part_keys = keys.partition(number)
            grown = number >= int(stored.get("partitions", properties.partitions))
            at = "earliest" if grown else str(stored.get("reset", where))
            self.ledger.parts.setdefault(part_keys.log, Part(name, number, codec, part_keys, at))


def check_shareable(name: str, properties: TopicProperties) -> None:
    """Raise ConfigError for a topic whose form shared groups cannot read."""
    for option, why in (
        ("packed", "its entries hold many records, which cannot be settled one by one"),
        ("compact", "compaction rewrites the log, which native groups do not survive"),
    ):
        if getattr(properties, option):
            raise ConfigError(
                f"topic {name!r} has {option}=True, so it has no shared groups: {why}; use an ordered group"
            )


def read_group(topic: str, group: str, stored: bytes | None) -> dict[str, Any]:
    """What is stored of a group. Raises ConfigError if it is of another kind."""
    if stored is None:
        raise BrokerUnavailable(f"group {group!r} of topic {topic!r} was removed while it was joined")
    try:
        said: dict[str, Any] = dict(orjson.loads(stored))
    except (ValueError, TypeError):
        said = {}
    kind = said.get("kind")
    if kind != "shared":
        raise ConfigError(
            f"group {group!r} of topic {topic!r} is {kind or 'not readable'}, not shared: give the group another name"
        )
    return said


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as unprintable:  # noqa: BLE001 -- a handler's exception may do anything in __str__
        return f"{type(error).__name__} (its __str__ raised {type(unprintable).__name__})"
