"""What an app says of a queue: its transport, and what history a stream queue keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from taskq.checks import Duration, seconds, whole
from taskq.errors import BrokerError, ConfigError, InvalidOption
from taskq.names import check_name, did_you_mean, shown
from taskq.tasks.broker import Features, Outgoing

Transport = Literal["list", "stream"]
TRANSPORTS: Final[tuple[Transport, ...]] = get_args(Transport)

LIST_FEATURES: Final = Features()
STREAM_FEATURES: Final = Features(replayable=True, priorities=False)


class OtherTransport(BrokerError):
    """The queue is a stream queue and was taken for a list queue; nothing was written. Whoever asked learns it."""

    def __init__(self) -> None:
        super().__init__("the queue is a stream queue")


@dataclass(frozen=True, slots=True)
class Retain:
    """How much of a stream queue's history stays: messages that are over, the newest `count` of them, at most `bytes`
    of bodies, none longer than `age` (seconds or timedelta) after all of its block was delivered.

    History goes by blocks of about 100 messages or 64 KiB: up to one block more may stay. What waits or is held is no
    history, and always stays.
    """

    count: int = 10_000
    bytes: int = 64 * 1_048_576
    age: Duration = 86_400

    def __post_init__(self) -> None:
        whole(self.count, "Retain(count=)", 0, 2**40)
        whole(self.bytes, "Retain(bytes=)", 0, 2**50)
        seconds(self.age, "Retain(age=)")

    def wire(self) -> str:
        """As the scripts take it: count, bytes, age in milliseconds."""
        return f"{self.count} {self.bytes} {round(seconds(self.age, 'age') * 1000)}"

    @classmethod
    def read(cls, wire: str) -> Retain:
        """What `wire` has written."""
        count, size, age = (int(part) for part in wire.split())
        return cls(count, size, age / 1000)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as an app declares it: `Queue("audit", transport="stream", retain=Retain(count=1_000_000))`.

    A list queue, the default, is the fastest and has priorities. A stream queue keeps its history, which can be read,
    replayed, and followed by consumer groups of others. `retain` may be a number of messages. Raises InvalidOption.
    """

    name: str
    transport: Transport = "list"
    retain: Retain | int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.transport not in TRANSPORTS:
            hint = did_you_mean(self.transport, TRANSPORTS)
            raise InvalidOption(f"queue {self.name!r}: transport={shown(self.transport)}: give list or stream{hint}")
        if self.retain is None:
            return
        if self.transport != "stream":
            raise InvalidOption(f"queue {self.name!r}: retain= is for transport='stream': a list keeps no history")
        if not isinstance(self.retain, Retain):
            object.__setattr__(self, "retain", Retain(count=whole(self.retain, "retain", 0, 2**40)))

    @property
    def kept(self) -> Retain:
        """What is retained, the default if nothing was said."""
        return self.retain if isinstance(self.retain, Retain) else Retain()


class Queues(Mapping[str, Queue]):
    """The declared queues of an app, and those that it has learned to be stream queues."""

    def __init__(self) -> None:
        self._declared: dict[str, Queue] = {}
        self._streams: set[str] = set()

    def declare(self, queue: Queue) -> Queue:
        """Add a queue; the same twice is one. Raises ConfigError if it is declared otherwise, or is no Queue."""
        if not isinstance(queue, Queue):
            raise InvalidOption(f'{shown(queue)} declares no queue: give Queue("audit", transport="stream")')
        known = self._declared.setdefault(queue.name, queue)
        if known != queue:
            raise ConfigError(f"queue {queue.name!r} is declared twice: {known} and {queue}; keep one of them")
        if queue.transport == "stream":
            self._streams.add(queue.name)
        return queue

    def streamed(self, queue: str) -> bool:
        """Whether this is a stream queue, as far as is known here."""
        return queue in self._streams

    def learn(self, queue: str) -> None:
        """The broker says that it is a stream queue. Raises ConfigError if the app says otherwise."""
        known = self._declared.get(queue)
        if known is not None and known.transport != "stream":
            raise ConfigError(
                f"queue {queue!r} is declared a list queue here, but others have made it a stream queue since: declare"
                ' it with transport="stream", or stop those who do, drain it, and start this again'
            )
        self._streams.add(queue)

    def retained(self, queue: str) -> str:
        """What is retained, as the scripts take it; '' if it is not declared here."""
        known = self._declared.get(queue)
        return known.kept.wire() if known is not None and known.transport == "stream" else ""

    def features(self, queue: str) -> Features:
        """What the transport of a queue can do beyond the contract."""
        return STREAM_FEATURES if self.streamed(queue) else LIST_FEATURES

    def check(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Raise InvalidOption for what the transport of the queue cannot do."""
        if not self.streamed(queue):
            return
        for message in messages:
            if message.priority:
                raise InvalidOption(
                    f"priority={message.priority}: queue {queue!r} is a stream queue, which has no priorities; leave it"
                    " out, or use a list queue"
                )

    def __getitem__(self, name: str) -> Queue:
        return self._declared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)
