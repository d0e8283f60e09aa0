"""The Redis keys of topics, as functions: no other file knows how they are spelled.

All keys of one partition carry one hash tag, `{namespace:topic:number}`, so that one script may touch all of it, and a
topic spreads over the nodes of a cluster. What a group says of a whole topic (members, assignment) has the tag
`{namespace:topic:@}`. `docs/events-protocol.md` says what each key holds.
"""

from __future__ import annotations

from functools import lru_cache


class PartitionKeys:
    """The keys of one partition; built once and kept."""

    __slots__ = ("base", "channel", "due", "fresh", "log", "meta", "none", "old", "seen", "snapshots", "versions")

    def __init__(self, namespace: str, topic: str, partition: int) -> None:
        self.base = base = f"taskq:{{{namespace}:{topic}:{partition}}}:"
        self.log = base + "log"
        self.meta = base + "meta"
        self.seen = base + "seen"
        self.due = base + "seen:due"
        self.versions = base + "versions"
        self.snapshots = base + "snapshots"
        self.fresh = base + "fresh"
        self.old = base + "old"  # the log before compaction, for the length of one script
        self.none = base + "none"  # never exists: deleting it is a write that Redis lets pass when it is full
        self.channel = base + "rung"  # pub/sub channel, not a key

    def lane(self, nonce: bytes) -> str:
        """What a publisher's lane remembers: its last numbers and their answers."""
        return f"{self.base}lane:{nonce.hex()}"

    def producer(self, name: str) -> str:
        """What a named producer's last incarnation is, and its last numbers."""
        return f"{self.base}producer:{name}"

    def of_key(self, digest: str) -> str:
        """Where the records of one key are, in topics that keep an index."""
        return f"{self.base}key:{digest}"

    def group(self, group: str, part: str = "") -> str:
        """What a group keeps here: its position and owner, or one `part` of it (state, parked, dead ...)."""
        return f"{self.base}group:{group}:{part}" if part else f"{self.base}group:{group}"


class TopicKeys:
    """The keys of a whole topic."""

    __slots__ = ("base", "groups", "name", "namespace")

    def __init__(self, namespace: str, topic: str) -> None:
        self.namespace, self.name = namespace, topic
        self.base = base = f"taskq:{{{namespace}:{topic}:@}}:"
        self.groups = base + "groups"

    def partition(self, number: int) -> PartitionKeys:
        """The keys of one partition."""
        return partition_keys(self.namespace, self.name, number)

    def upkeep(self, what: str) -> str:
        """Which worker does what has to be done for the topic from time to time: a string that expires."""
        return f"{self.base}upkeep:{what}"

    def group(self, group: str, part: str) -> str:
        """One `part` of what is said of a group: epoch, members, owners, target ..."""
        return f"{self.base}group:{group}:{part}"


_KINDS = {
    **dict.fromkeys(("lane", "meta", "producer", "seen", "snapshots", "versions", "groups"), "hash"),
    **dict.fromkeys(("log", "fresh", "old"), "stream"),
    "key": "list",
}


def kind_of(key: str) -> str | None:
    """The type that the server must say of a key of a topic (`TYPE`); None if it is none, or one of a group's.

    >>> kind_of("taskq:{shop:orders:0}:log"), kind_of("taskq:{shop:orders:0}:seen:due"), kind_of("taskq:{shop:q}:meta")
    ('stream', 'zset', None)
    """
    tag, _, tail = key.partition("}:")
    if tag.partition("{")[2].count(":") != 2:
        return None
    return "zset" if tail == "seen:due" else _KINDS.get(tail.partition(":")[0])


@lru_cache(maxsize=65_536)
def partition_keys(namespace: str, topic: str, partition: int) -> PartitionKeys:
    """The keys of a partition; cached, since each publish asks for them."""
    return PartitionKeys(namespace, topic, partition)


@lru_cache(maxsize=4096)
def topic_keys(namespace: str, topic: str) -> TopicKeys:
    """The keys of a topic; cached."""
    return TopicKeys(namespace, topic)


def topics(namespace: str) -> str:
    """Hash of the topics of a namespace: name to its stored properties, a string of JSON."""
    return f"taskq:{{{namespace}}}:topics"


def patterns(namespace: str) -> str:
    """Hash of the groups that follow a pattern, `group pattern`, to the topics that there were before: JSON."""
    return f"taskq:{{{namespace}}}:patterns"


def broadcast(namespace: str, channel: str) -> str:
    """Pub/sub channel of an ephemeral broadcast."""
    return f"taskq:{{{namespace}}}:broadcast:{channel}"
