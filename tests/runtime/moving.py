"""Two queues of either transport between which messages are moved, and what is looked at then."""

from __future__ import annotations

from uuid import UUID

from taskq import Queue
from taskq.inspector import Shelf
from taskq.message import id_text
from tests.runtime.shop import Shop

KINDS = [("list", "list"), ("list", "stream"), ("stream", "list"), ("stream", "stream")]


def opened(one: Shop, kinds: tuple[str, str]) -> Shop:
    one.broker.declare(Queue("mail", transport=kinds[0]))  # type: ignore[arg-type]
    one.broker.declare(Queue("post", transport=kinds[1]))  # type: ignore[arg-type]
    return one


def texts(ids: list[bytes]) -> list[str]:
    return [id_text(one) for one in ids]


def listed(here: Shop, queue: str, state: Shelf = "ready") -> list[str]:
    return [one.id for one in here.inspector.browse(queue, state, limit=10_000).items]


def runs(here: Shop, queue: str) -> list[str]:
    """Lease and finish all that is ready; the ids in their order, each as often as it was handed out."""
    done: list[str] = []
    while items := here.hands.take(queue):
        here.hands.finish_all(items, [None] * len(items))
        done += [id_text(item.id) for item in items]
    return done


def put(here: Shop, state: Shelf, count: int) -> list[bytes]:
    """Messages of `mail` in a state, in the order in which they are listed."""
    if state in ("dead", "quarantined"):
        return sorted(here.bury(count, quarantine=state == "quarantined"), reverse=True)
    if state == "parked":
        return here.park(count, "shop.send")
    if state == "delayed":
        sender = here.app.remote("shop.send", queue="mail", delay=60)
        return [UUID(sender.enqueue(number).id).bytes for number in range(count)]
    ids = here.enqueue(count)
    if state == "retrying":
        for item in here.take(count):
            here.hands.retry(item, 60_000)
    return ids


def nothing_left(here: Shop, queue: str = "mail") -> None:
    """No trace of a message, but tombstones, counters, statistics, the history of a stream and results."""
    keys, link = here.broker.keys(queue), here.broker.link
    kept = {"meta", "wake", "tombs", "stream", "tally", "steps", "passed", "results", "results:due", "delayed"}
    kept |= {"stats", "recent", "samples"}
    found = {name.decode()[len(keys.base) :] for name in link.execute("KEYS", keys.base + "*")}
    found -= {name for name in found if name.startswith(("lane:", "worker:", "moved:"))}
    assert found - kept == set()
    assert here.broker.link.execute("ZCARD", keys.delayed) == 0
