"""A namespace with messages in every state, made by hand, and an operator who looks at it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

from taskq import TaskQ
from taskq.control import Control, Pace
from taskq.inspector import Inspector
from taskq.tasks.broker import Buried, Delivery, Held
from taskq.tasks.failure import Failure
from taskq.tasks.lists import ListBroker
from tests.runtime.hands import HOUR_MS, Hands


class Shop:
    """An app, somebody who works it by hand, and the two tools of the operator."""

    def __init__(self, url: str, namespace: str, pace: Pace | None = None) -> None:
        self.app = TaskQ(namespace, url=url)
        self.hands = Hands(self.app)
        self.broker: ListBroker = self.app.broker()
        self.inspector = Inspector(self.broker.link, namespace)
        self.control = Control(self.broker, pace)

    def enqueue(self, count: int = 1, task: str = "shop.send", queue: str = "mail") -> list[bytes]:
        """Raw ids of new messages, each with its number as argument."""
        sender = self.app.remote(task, queue=queue)
        return [UUID(handle.id).bytes for handle in sender.enqueue_many([(number,) for number in range(count)])]

    def take(self, count: int, queue: str = "mail") -> list[Delivery]:
        """Lease exactly so many."""
        taken: list[Delivery] = []
        while len(taken) < count:
            some = self.hands.take(queue, min(count - len(taken), 250))
            assert some, f"only {len(taken)} of {count}"
            taken += some
        return taken

    def bury(
        self,
        count: int = 1,
        task: str = "shop.send",
        error: str = "builtins.ValueError",
        text: str = "no tea",
        queue: str = "mail",
        quarantine: bool = False,
        line: bytes = b"",
    ) -> list[bytes]:
        """New messages that failed once and are dead letters (or in quarantine) now."""
        ids = self.enqueue(count, task, queue)
        self.bury_all(self.take(count, queue), task, error, text, quarantine, line)
        return ids

    def bury_all(
        self,
        items: list[Delivery],
        task: str = "shop.send",
        error: str = "builtins.ValueError",
        text: str = "no tea",
        quarantine: bool = False,
        line: bytes = b"",
        attempt: int = 1,
    ) -> None:
        what = Failure("error", error, text, f"Traceback\n{error}: {text}", attempt, "worker-1", task)
        for start in range(0, len(items), 250):
            part = items[start : start + 250]
            buried = [
                Buried(item.id, item.token, line or what.line(), what.result(), HOUR_MS, quarantine) for item in part
            ]
            assert not self.broker.dead_letter(part[0].queue, buried)

    def park(self, count: int, task: str, queue: str = "mail") -> list[bytes]:
        ids = self.enqueue(count, task, queue)
        held = [(Held(item.id, item.token), task) for item in self.take(count, queue)]
        assert not self.broker.park(queue, held)
        return ids

    def statuses(self, ids: list[bytes], queue: str = "mail") -> list[str]:
        return [found.state for found in self.broker.lookup(queue, ids)]

    def leftovers(self, queue: str = "mail") -> dict[str, int]:
        """The keys of a queue in which messages could still be, and how much is in each."""
        keys, link = self.broker.keys(queue), self.broker.link
        sizes = {"body": "HLEN", "state": "HLEN", "errors": "HLEN", "unique": "HLEN", "results": "HLEN"}
        found = {name: link.execute(command, getattr(keys, name)) for name, command in sizes.items()}
        found |= {name: link.execute("ZCARD", getattr(keys, name)) for name in ("delayed", "dead", "quarantine")}
        found["ready"] = sum(link.execute("LLEN", key) for key in keys.ready)
        return {name: size for name, size in found.items() if size}

    def close(self) -> None:
        self.app.close()


@contextmanager
def shop(url: str, namespace: str, pace: Pace | None = None) -> Generator[Shop]:
    one = Shop(url, namespace, pace)
    try:
        yield one
    finally:
        one.close()
