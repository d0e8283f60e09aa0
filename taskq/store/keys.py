"""Every Redis key of taskq, as functions: no other file knows how a key is spelled.

All keys of one queue carry one hash tag, `{namespace:queue}`, so a queue lives in one slot of a cluster and each script
may touch all of it. `docs/protocol.md` says what each key holds.
"""

from __future__ import annotations

from functools import lru_cache

PRIORITIES = (2, 1, 0, -1, -2)  # the most urgent first: the order in which lease reads the lists

_KINDS = {
    "hash": (
        *("body", "cancels", "errors", "held", "left", "meta", "outbox", "results", "schedule", "state", "unique"),
        *("entries", "moves", "parcels", "replayed", "samples", "stats", "tally", "worker"),
    ),
    "list": ("alone", "fresh", "passed", "ready", "recent", "steps", "wake"),
    "stream": ("stream",),
    "string": ("lane", "moved", "progress", "replay"),
    "zset": ("dead", "delayed", "leases", "parked", "quarantine", "schedules", "tombs"),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}


class QueueKeys:
    """The keys of one queue; built once per queue and kept.

    Of a stream queue, `behind` are the keys that each of its scripts takes before those of the verb, and `landing`,
    where the verbs put what becomes ready, is the scratch list from which it is appended to the stream.
    """

    __slots__ = (
        "alone",
        "base",
        "behind",
        "body",
        "cancels",
        "channel",
        "dead",
        "delayed",
        "entries",
        "errors",
        "fresh",
        "held",
        "landing",
        "leases",
        "left",
        "meta",
        "moves",
        "name",
        "none",
        "outbox",
        "parked",
        "quarantine",
        "ready",
        "recent",
        "results",
        "results_due",
        "samples",
        "schedules",
        "state",
        "stats",
        "stream",
        "streamed",
        "tally",
        "tombs",
        "unique",
        "wake",
    )

    def __init__(self, namespace: str, queue: str, *, streamed: bool = False) -> None:
        base = f"taskq:{{{namespace}:{queue}}}:"
        self.name = queue
        self.base = base
        self.body = base + "body"
        self.state = base + "state"
        self.ready = tuple(f"{base}ready:{priority}" for priority in PRIORITIES)
        self.alone = base + "alone"
        self.delayed = base + "delayed"
        self.leases = base + "leases"
        self.held = base + "held"
        self.left = base + "left"
        self.dead = base + "dead"
        self.quarantine = base + "quarantine"
        self.parked = base + "parked"
        self.errors = base + "errors"
        self.results = base + "results"
        self.results_due = base + "results:due"
        self.unique = base + "unique"
        self.tombs = base + "tombs"
        self.cancels = base + "cancels"
        self.outbox = base + "outbox"
        self.moves = base + "moves"
        self.wake = base + "wake"
        self.meta = base + "meta"
        self.stats = base + "stats"
        self.recent = base + "recent"
        self.samples = base + "samples"
        self.schedules = base + "schedules"
        self.none = base + "none"  # never exists: deleting it is a write that Redis lets pass when it is full
        self.channel = base + "done"  # pub/sub channel, not a key
        self.streamed = streamed
        self.stream = base + "stream"
        self.entries = base + "entries"
        self.fresh = base + "fresh"
        self.tally = base + "tally"
        own = (self.stream, self.entries, self.fresh, self.tally, base + "steps", base + "passed")
        self.behind: tuple[str, ...] = (*own, self.body, self.state, self.held) if streamed else ()
        self.landing = (self.fresh,) * len(PRIORITIES) if streamed else self.ready

    def ready_for(self, priority: int) -> str:
        """The ready list of one priority, -2 to 2."""
        return self.ready[2 - priority]

    def lane(self, nonce: bytes) -> str:
        """What a producer's lane remembers: the last call number and its answer."""
        return f"{self.base}lane:{nonce.hex()}"

    def worker(self, nonce: bytes) -> str:
        """What one child process's start remembers: its last lease and settle call numbers."""
        return f"{self.base}worker:{nonce.hex()}"

    def progress(self, id: bytes) -> str:
        """What a running message last said of its progress: a string of JSON with an expiry."""
        return f"{self.base}progress:{id.hex()}"

    def replay(self, label: str) -> str:
        """What a replay of this queue's history is to do: a string of JSON with an expiry."""
        return f"{self.base}replay:{label}"

    def replayed(self, source: str, label: str, begun: int) -> str:
        """How far a replay of another queue (or this one) into this one has come: a hash with an expiry."""
        return f"{self.base}replayed:{source}:{label}:{begun}"

    def parcels(self, token: str) -> str:
        """Messages on their way to another queue: a hash of one batch."""
        return f"{self.base}parcels:{token}"

    def moved(self, token: str) -> str:
        """What became of a batch that arrived here: a string with an expiry."""
        return f"{self.base}moved:{token}"

    def parked_task(self, task: str) -> str:
        """Messages of one task name that no worker here knows."""
        return f"{self.base}parked:{task}"

    def schedule(self, name: str) -> str:
        """One entry of a schedule: what it runs, its next slot, and who declares it."""
        return f"{self.base}schedule:{name}"


def kind_of(key: str) -> str | None:
    """The type that the server must say of a key of a queue (`TYPE`); None if it is no key of a queue.

    >>> kind_of("taskq:{shop:mail}:ready:0"), kind_of("taskq:{shop:mail}:results:due"), kind_of("taskq:{shop}:queues")
    ('list', 'zset', None)
    """
    tag, _, tail = key.partition("}:")
    first, colon, _ = tail.partition(":")
    if tag.partition("{")[2].count(":") != 1:  # of a whole namespace, or of a topic (`topic_keys.kind_of`)
        return None
    if colon and first in ("parked", "results"):
        return "list" if first == "parked" else "zset"
    return _KIND_OF.get(first)


@lru_cache(maxsize=4096)
def queue_keys(namespace: str, queue: str, streamed: bool = False) -> QueueKeys:
    """The keys of a queue; cached, since an enqueue asks for them each time."""
    return QueueKeys(namespace, queue, streamed=streamed)


def queues(namespace: str) -> str:
    """Set of the names of all queues that were ever enqueued to."""
    return f"taskq:{{{namespace}}}:queues"


def schedules(namespace: str) -> str:
    """Hash of the names of all schedules, and the queue in which each has its entry."""
    return f"taskq:{{{namespace}}}:schedules"


def workers(namespace: str) -> str:
    """Sorted set of worker ids by the time of their last beat, in milliseconds."""
    return f"taskq:{{{namespace}}}:workers"


def worker_record(namespace: str, worker: str) -> str:
    """What one worker says of itself: a string of JSON with an expiry."""
    return f"taskq:{{{namespace}}}:worker:{worker}"


def layout(namespace: str) -> str:
    """The number of the newest data layout in use."""
    return f"taskq:{{{namespace}}}:layout"


def exporter(namespace: str) -> str:
    """Who serves the figures of the whole namespace to Prometheus: a string with an expiry."""
    return f"taskq:{{{namespace}}}:exporter"
