"""Which script runs a verb: that of the lists, or on a stream queue the same one inside what its transport adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, Script, load, load_joined

T = TypeVar("T")

# Verb -> the parts around it, behind the head of all. What is not named here does the same on both transports.
AROUND: Final[dict[str, tuple[str, ...]]] = {
    "enqueue": ("enqueue",),
    "fire": ("ready",),
    "promote": ("ready",),
    "redrive": ("ready",),
    "unpark": ("ready",),
    "lease": ("group", "read", "keep", "lease"),
    "release": ("ids_release", "settle"),
    "reclaim": ("reclaim",),
    "purge": ("group", "read", "keep", "purge"),
    "take": ("take",),
    "ack": ("ids_ack", "settle"),
    "nack": ("ids_nack", "settle"),
    "dead_letter": ("ids_bury", "settle"),
    "park": ("ids_park", "settle"),
    "overview": ("overview",),
}
# Where the scripts of verbs are, if not with the others.
_FOLDERS: Final[dict[str, str]] = {"fire": "schedules"}
# What only stream queues have -> the parts before it.
OWN: Final[dict[str, tuple[str, ...]]] = {
    "declare": ("group",),
    "watch": ("group", "restore", "audit"),
    "repair": (),
    "history": ("group",),
}


def build(keys: QueueKeys, verb: str, names: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T]) -> Call[T]:
    """One run of a verb on a queue, whatever its transport; `names` are the keys of the verb's own script."""
    if keys.streamed and verb in AROUND:
        return Call(around(verb), [*keys.behind, *names], args, decode)
    return Call(load(_file(verb)), names, args, decode)


def build_own(
    keys: QueueKeys, verb: str, names: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T]
) -> Call[T]:
    """One run of a script that only stream queues have."""
    return Call(own(verb), [*keys.behind, *names], args, decode)


def build_replay(keys: QueueKeys, names: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T]) -> Call[T]:
    """One page of a replay into a queue, whatever its transport: what it adds stands around an enqueue."""
    script = replay(keys.streamed)
    return Call(script, [*(keys.behind if keys.streamed else ()), *names], args, decode)


def build_land(keys: QueueKeys, names: Sequence[str], args: Sequence[Any], decode: Callable[[Any], T]) -> Call[T]:
    """The arrival of parcels in a queue, whatever its transport; it stands around an enqueue as well."""
    return Call(land(keys.streamed), [*(keys.behind if keys.streamed else ()), *names], args, decode)


def replay(streamed: bool) -> Script:
    """The script of a page of a replay."""
    head = "head" if streamed else "plain"
    return load_joined(f"streams/replay_{head}", (f"streams/parts/{head}", "streams/replay"), "tasks/enqueue")


def land(streamed: bool) -> Script:
    """The script of the arrival of parcels."""
    head = "head" if streamed else "plain"
    return load_joined(f"tasks/land_{head}", (f"streams/parts/{head}", "tasks/land"), "tasks/enqueue")


def around(verb: str) -> Script:
    """The script of a verb on stream queues."""
    return load_joined(f"streams/{verb}", _parts(AROUND[verb]), _file(verb))


def own(verb: str) -> Script:
    """A script that only stream queues have."""
    return load_joined(f"streams/{verb}", (*_parts(OWN[verb]), f"streams/{verb}"))


def stream_scripts() -> dict[str, Script]:
    """All scripts that stream queues have instead of, or beside, those of lists, by verb.

    Read early, they are there for a process whose tasks have left it no descriptor to read files with.
    """
    return {verb: around(verb) for verb in AROUND} | {verb: own(verb) for verb in OWN} | {"replay": replay(True)}


def _file(verb: str) -> str:
    return f"{_FOLDERS.get(verb, 'tasks')}/{verb}"


def _parts(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"streams/parts/{name}" for name in ("head", *names))
