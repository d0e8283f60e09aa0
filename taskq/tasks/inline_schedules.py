"""Schedules inside one process: what the code of an app declares comes when the clock of a test has come to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from taskq.clock import Clock
from taskq.tasks.brokers import ProducerBroker
from taskq.tasks.schedule import Definition, Entry, Fire, plan, slot_id


class InlineSchedules:
    """The entries of an app while it is in memory; the first slots are those after the time at which that began."""

    def __init__(
        self, namespace: str, declared: Callable[[], Iterable[Definition]], broker: ProducerBroker, clock: Clock
    ) -> None:
        self._namespace = namespace
        self._declared = declared
        self._broker = broker
        self._clock = clock
        self._began = clock.now_ms()
        self._entries: dict[str, Entry] = {}

    def fire(self) -> None:
        """Enqueue what has come due since the last call, as a worker does that was away meanwhile."""
        now = self._clock.now_ms()
        for definition in self._declared():
            entry = self._entries.get(definition.name)
            if entry is None or entry.definition.digest != definition.digest:
                entry = Entry(definition, "", definition.following(self._began), at=self._began)
            while isinstance(step := plan(entry, now), Fire):
                entry = self._decide(entry, step, now)
            self._entries[definition.name] = entry

    def _decide(self, entry: Entry, step: Fire, now: int) -> Entry:
        after = replace(entry, slot=step.next, last=step.slot, at=now)
        queue, overlap = entry.definition.queue, entry.definition.overlap
        if not step.run or (overlap == "skip" and self._alive(queue, entry.message)):
            return after
        if overlap == "cancel_previous" and entry.message:
            self._broker.cancel(queue, entry.message)
        message = entry.definition.message(slot_id(self._namespace, entry.name, step.slot), step.slot, now)
        self._broker.enqueue(queue, [message])
        return replace(after, message=message.id, runs=entry.runs + 1)

    def _alive(self, queue: str, id: bytes) -> bool:
        return bool(id) and self._broker.lookup(queue, [id])[0].state in "rdlp"
