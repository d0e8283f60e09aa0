"""A child that speaks the protocol of table and pipes and runs no tasks: the body of a message says what becomes of it.

run     starts it and lets it run until told to drain, then acknowledges it
hang    starts it and never ends it, whatever it is told
exit    starts it and leaves with exit code 0
late    as hang, with a hard limit that is over at once
once    marks it as never to be run twice, then as hang
stuck   starts it and stops ticking and listening, as a task that keeps the interpreter would
done    acknowledges it at once
wait    keeps it without starting it

Everything it does it tells to a list of the broker, for the tests to wait on.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from typing import Any

from taskq.errors import BrokerUnavailable
from taskq.store.connection import SyncLink
from taskq.tasks.broker import Delivery, Finished, Held, Mark, Seat
from taskq.tasks.calls import Limits
from taskq.tasks.lists import ListBroker
from taskq_workers.config import CHILD_VARIABLE, ChildSettings
from taskq_workers.table import State, Table

QUEUE = "default"
KINDS = ("run", "hang", "exit", "late", "once", "stuck", "done", "wait")


class FakeChild:
    def __init__(self) -> None:
        self.settings = ChildSettings.from_json(os.environ[CHILD_VARIABLE])
        self.table = Table.attach(self.settings.table_fd, self.settings.concurrency)
        assert self.settings.url is not None
        self.link = SyncLink(self.settings.url)
        limits = Limits(lease=int(os.environ["FAKE_LEASE_MS"]))
        self.broker = ListBroker(self.link, os.environ["FAKE_NAMESPACE"], limits)
        self.seat = Seat()
        self.orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.entries: dict[bytes, int] = {}
        self.left: dict[bytes, int] = {}
        self.kept: dict[int, tuple[str, Delivery]] = {}  # by slot; what only waits is under a negative number
        self.stuck = False
        self.told: set[int] = set()

    def say(self, **words: Any) -> None:
        os.write(self.settings.up_fd, json.dumps(words).encode() + b"\n")

    def tell(self, event: str, delivery: Delivery | None = None) -> None:
        facts: dict[str, Any] = {"event": event, "pid": os.getpid(), "index": self.settings.index}
        facts["alone"] = self.settings.alone
        if delivery is not None:
            facts |= {"body": delivery.body.decode(), "crashes": delivery.crashes, "deliveries": delivery.deliveries}
        self.again(lambda: self.link.execute("RPUSH", f"fake:{self.broker.namespace}", json.dumps(facts)))

    def again(self, call: Any) -> Any:
        while True:
            try:
                return call()
            except BrokerUnavailable:
                time.sleep(0.02)

    def listen(self) -> None:
        while byte := os.read(self.settings.down_fd, 1):
            if byte != b"r":  # it fetches as soon as it is there
                self.orders.put(byte)
        os._exit(70)

    def main(self) -> None:
        if error := os.environ.get("FAKE_ERROR"):
            self.say(error=error)
            os._exit(4)
        threading.Thread(target=self.listen, daemon=True).start()
        self.table.sign_in(self.seat.nonce)
        self.table.set_state(State.RUNNING)
        self.table.tick(time.monotonic())
        self.say(
            hello={
                "app": self.settings.app,
                "namespace": self.broker.namespace,
                "lease": self.broker.limits.lease / 1000,
                "limits": {"lease": self.broker.limits.lease},
                "url": self.settings.url,
                "tasks": [f"fake.{kind}" for kind in KINDS],
                "queues": [QUEUE],
            }
        )
        self.tell("hello")
        leasing = True
        while True:
            self.table.tick(time.monotonic())
            self.watch()
            if leasing and not self.lease() and self.settings.burst and not self.kept:
                self.leave()
            try:
                order = self.orders.get(timeout=0.02)
            except queue.Empty:
                continue
            self.tell({b"q": "quiet", b"d": "drain", b"g": "give back", b"s": "stacks"}[order])
            leasing = leasing and order == b"s"
            self.obey(order)

    def lease(self) -> int:
        ticket = self.seat.ticket(QUEUE)
        entry = self.table.announce(0, ticket.token)
        assert entry is not None
        leased = self.again(
            lambda: self.broker.lease(QUEUE, ticket, self.settings.concurrency, alone=self.settings.alone)
        )
        if not leased.deliveries:
            self.table.free(entry)
            return 0
        self.entries[ticket.token] = entry
        self.left[ticket.token] = len(leased.deliveries)
        for delivery in sorted(leased.deliveries, key=lambda one: one.body in (b"exit", b"stuck")):
            self.take(delivery)
        return len(leased.deliveries)

    def take(self, delivery: Delivery) -> None:
        kind = delivery.body.decode()
        if kind == "wait":
            self.kept[-1 - len(self.kept)] = (kind, delivery)
            self.tell("held", delivery)
            return
        slot = next(number for number in range(self.settings.concurrency) if number not in self.kept)
        if kind == "once":
            self.again(lambda: self.broker.extend(QUEUE, [], [Mark(delivery.id, delivery.token, once=True)]))
        now = time.monotonic()
        hard = now if kind == "late" else 0.0
        once = kind == "once"
        self.table.start(slot, 0, KINDS.index(kind), delivery.id, delivery.token, now, hard, once)
        self.kept[slot] = (kind, delivery)
        self.tell("started", delivery)
        if kind == "exit":
            os._exit(0)
        if kind == "stuck":
            threading.Event().wait()
        if kind == "done":
            self.finish(slot)

    def finish(self, slot: int) -> None:
        _, delivery = self.kept.pop(slot)
        self.table.clear(slot)
        self.again(lambda: self.broker.ack(QUEUE, [Finished(delivery.id, delivery.token)], self.seat.op(QUEUE, "ack")))
        self.drop(delivery)
        self.tell("finished", delivery)

    def drop(self, delivery: Delivery) -> None:
        self.left[delivery.token] -= 1
        if not self.left[delivery.token]:
            self.table.free(self.entries.pop(delivery.token))

    def obey(self, order: bytes) -> None:
        if order not in (b"d", b"g"):
            return
        self.table.set_state(State.DRAINING)
        for slot, (kind, delivery) in list(self.kept.items()):
            if order == b"g" or slot < 0:
                del self.kept[slot]
                if slot >= 0:
                    self.table.clear(slot)
                held = Held(delivery.id, delivery.token)
                self.again(lambda held=held: self.broker.release(QUEUE, [held]))
                self.drop(delivery)
            elif kind == "run":
                self.finish(slot)
        if not self.kept:
            self.leave()

    def leave(self) -> None:
        self.table.set_state(State.DONE)
        sys.stderr.flush()
        os._exit(0)

    def watch(self) -> None:
        for entry in self.table.new_lost():
            if entry in self.entries.values():
                self.tell("lost")
        for _, kill in self.table.new_cancels():
            if int(kill) not in self.told:
                self.told.add(int(kill))
                self.tell("kill" if kill else "cancel")


if __name__ == "__main__":
    FakeChild().main()
