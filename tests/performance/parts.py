"""The parts of a child process on one thread, taken step by step: what they do depends on nothing but the messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import TaskQ
from taskq.message import new_ids
from taskq.store.url import parse_url
from taskq.tasks import calls
from taskq.tasks.broker import LEASE_MESSAGES, Delivery, Seat
from taskq.tasks.brokers import Ends
from taskq.tasks.lists import ListBroker
from taskq_workers.attempt import Plans
from taskq_workers.demand import Demand, Source
from taskq_workers.executor import Executor
from taskq_workers.fetcher import Fetcher
from taskq_workers.intake import Intake
from taskq_workers.report import Report
from taskq_workers.settle import Settler
from taskq_workers.slots import SlotPool, ThreadSlots, _Thread
from taskq_workers.table import Table
from taskq_workers.tokens import TokenBook

QUEUE = "work"
_NEVER = float("inf")


def noop(number: int) -> None:
    """The task."""


def make_app(namespace: str, url: str | None = None) -> TaskQ:
    app = TaskQ(namespace, url=url)
    app.task(queue=QUEUE, result_ttl=0)(noop)
    return app


class Hands:
    """One slot of a child: `take` leases, `run` runs what was taken, `settle` stores what came of it."""

    def __init__(self, app: TaskQ, broker: ListBroker) -> None:
        self.broker = broker
        self.seat = Seat()
        self.table = Table.create(1)
        self.tokens = TokenBook(self.table)
        self.report = Report("worker")
        self.report._budget = 0  # as after the first hundred of a second: from then on successes are only counted
        self.outcomes: list[tuple[str, Any]] = []
        put = self.outcomes.append
        self.settler = Settler(broker, self.seat, self.tokens, self.report.lost, lambda _: None)
        self.executor = Executor(broker, self.table, put, self.report, lambda *_: None, {QUEUE: 0}, lambda _: _NEVER)
        self.intake = Intake(Plans(app.tasks, app.middlewares), put, "worker")
        pool = SlotPool(1)
        self.slot = pool.take()
        self.slots = ThreadSlots(pool, self.executor, self.table, lambda: None)
        demand = Demand(1, lambda: 0, lambda: 0, lambda: 0)
        source = Source(((QUEUE, 1),))
        self.fetcher = Fetcher(broker, self.seat, source, self.tokens, demand, self.deliver, self.table.recall_number)

    def deliver(self, deliveries: Sequence[Delivery], recall: int = 0, fresh_until: float = _NEVER) -> None:
        threads, _ = self.intake.sort(deliveries, recall, fresh_until)
        self.slots.work.extend(threads)

    def take(self, wanted: int) -> int:
        return self.fetcher._lease(QUEUE, wanted)

    def run(self) -> None:
        assert self.slot is not None
        self.slots._slice(_Thread(), self.slot)

    def settle(self) -> None:
        self.settler._store(QUEUE, [item for _, item in self.outcomes])
        self.outcomes.clear()

    def close(self) -> None:
        self.table.close()


class Canned:
    """A link to a server that says yes to everything."""

    url = parse_url("redis://nobody")

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.sent = 0

    def execute(self, *_: Any) -> Any:
        self.sent += 1
        return self.reply

    def pipeline(self, commands: Sequence[Any]) -> list[Any]:
        self.sent += len(commands)
        return [self.reply] * len(commands)


def canned(namespace: str, reply: Any) -> ListBroker:
    link: Any = Canned(reply)
    broker = ListBroker(link, namespace)
    broker._known.add(QUEUE)
    return broker


def ends_of(broker: ListBroker) -> Ends:
    nothing: Any = None
    return Ends(broker, nothing, nothing, nothing)


def leased(app: TaskQ, hands: Hands, count: int) -> list[list[Any]]:
    """Replies of lease calls that hold `count` calls of the task."""
    rows = [(number,) for number in range(count)]
    bodies = [one.body for one in app.tasks[next(iter(app.tasks))]._stamp.outgoing_many(new_ids(count), rows, 0)]
    replies: list[list[Any]] = []
    for start in range(0, count, LEASE_MESSAGES):
        part = bodies[start : start + LEASE_MESSAGES]
        replies.append([0, 0, b"", start + 1, b"".join(new_ids(len(part))), b"", len(part), *part])
    return replies


def take_canned(hands: Hands, replies: Sequence[list[Any]]) -> None:
    """What the fetcher does with the answers of lease calls."""
    for reply in replies:
        ticket = hands.seat.ticket(QUEUE)
        call = calls.lease(hands.broker.keys(QUEUE), ticket, LEASE_MESSAGES, hands.broker.limits)
        assert hands.tokens.announce(0, ticket.token)
        answer = call.decode(reply)
        hands.tokens.leased(ticket.token, len(answer.deliveries))
        hands.deliver(answer.deliveries)


def stop_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long something took decides which way it goes from there; here nothing takes any time."""
    still = repeat(0.0).__next__
    monkeypatch.setattr("taskq_workers.counting.monotonic", still)
    monkeypatch.setattr("taskq_workers.counting.time", still)
    monkeypatch.setattr("taskq_workers.slots.time", SimpleNamespace(monotonic=still))
