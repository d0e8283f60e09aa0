"""All small models, and the naive designs that each of them must find out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.model.notices import Bells, GuardWithoutLimit, NoGuard, Outbox, Stall, Waiter
from tests.model.small import Handover, Heartbeat, Lanes, Mover, Retry, Small

SMALL: Mapping[str, Callable[[], Small]] = {
    "handover": Handover,
    "retry": Retry,
    "mover": Mover,
    "heartbeat": Heartbeat,
    "lanes": Lanes,
    "waiter": Waiter,
    "outbox": Outbox,
    "bells": Bells,
    "stall, the holder lives": Stall,
    "stall, the holder is dead": lambda: Stall(alive=False),
}

_WAYS: dict[type[Small], tuple[str, ...]] = {
    Handover: ("pop, then run", "lease in two calls"),
    Retry: ("push a copy, then ack", "ack, then push"),
    Mover: ("push, then remove", "remove, then push"),
    Heartbeat: ("by worker", "by worker, name used again"),
    Lanes: ("a high-water mark",),
    Waiter: ("look, then subscribe; no second look", "publish, then store; no second look", "no second look"),
    Outbox: ("its id leaves no tombstone", "struck off first", "the client enqueues it after the ack"),
    Bells: ("a sweep does not ring", "waits on the data"),
}

NAIVE: Mapping[str, Callable[[], Small]] = {
    f"{model.__name__.lower()}: {way}": (lambda model=model, way=way: model(way))
    for model, ways in _WAYS.items()
    for way in ways
} | {
    "stall: no guard": lambda: Stall("no guard", NoGuard),
    "stall: a guard without limit": lambda: Stall("no limit", GuardWithoutLimit, alive=False),
}
