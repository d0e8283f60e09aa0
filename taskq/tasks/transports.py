"""Which script runs a verb: that of the lists, or on a stream queue the same one inside what its transport adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, Script, load, load_joined

T = TypeVar("T")

# Verb -> the parts around it, behind the head of all. What is not named here does the same on both transports.
AROUND: Final[dict[str, tuple[str, ...]]] = {
    "enqueue": ("ready",),
    "promote": ("ready",),
    "redrive": ("ready",),
    "unpark": ("ready",),
    "lease": ("group", "read", "lease"),
    "purge": ("group", "read", "purge"),
    "ack": ("ids_ack", "settle"),
    "nack": ("ids_nack", "settle"),
    "dead_letter": ("ids_bury", "settle"),
    "park": ("ids_park", "settle"),
    "overview": ("overview",),
}
# What only stream queues have -> the parts before it.
OWN: Final[dict[str, tuple[str, ...]]] = {
    "declare": ("group",),
    "watch": ("group", "audit"),
    "repair": (),
}


def build(keys: QueueKeys, verb: str, names: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T]) -> Call[T]:
    """One run of a verb on a queue, whatever its transport; `names` are the keys of the verb's own script."""
    if keys.streamed and verb in AROUND:
        return Call(around(verb), [*keys.behind, *names], args, decode)
    return Call(load(f"tasks/{verb}"), names, args, decode)


def build_own(
    keys: QueueKeys, verb: str, names: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T]
) -> Call[T]:
    """One run of a script that only stream queues have."""
    return Call(own(verb), [*keys.behind, *names], args, decode)


def around(verb: str) -> Script:
    """The script of a verb on stream queues."""
    return load_joined(f"streams/{verb}", _parts(AROUND[verb]), f"tasks/{verb}")


def own(verb: str) -> Script:
    """A script that only stream queues have."""
    return load_joined(f"streams/{verb}", (*_parts(OWN[verb]), f"streams/{verb}"))


def preload_all() -> None:
    """Read all scripts of stream queues now: a process whose tasks may leave it no descriptor cannot do so later."""
    for verb in AROUND:
        around(verb)
    for verb in OWN:
        own(verb)


def _parts(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"streams/parts/{name}" for name in ("head", *names))
