"""What a topic is: its properties as a value, as they are stored, and what happens when two declarations differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypedDict

import orjson

from taskq import codec as codecs
from taskq.checks import Duration, seconds, whole
from taskq.errors import ConfigError, DecodeError, InvalidOption
from taskq.names import check_name, did_you_mean, shown

PARTITIONS: Final = 8
MAX_PARTITIONS: Final = 1024
HASH: Final = "blake2b-64"
FIXED: Final = ("partitions", "hash", "packed", "codec", "index")  # what the stored records depend on


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of each partition stays: the newest `count` records, at most `bytes` of values and keys, none longer
    than `age` (seconds or timedelta). What is None is no limit.

    Records go by blocks of about 100: up to one block more may stay. Nothing is removed that a group in `keep` has not
    handled yet; `trim` and the log say which group holds retention back.
    """

    count: int | None = None
    bytes: int | None = None
    age: Duration | None = None
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("count", "bytes"):
            if getattr(self, name) is not None:
                whole(getattr(self, name), f"Retention({name}=)", 1, 2**50)
        if self.age is not None:
            object.__setattr__(self, "age", seconds(self.age, "Retention(age=)"))
        if isinstance(self.keep, str) or not isinstance(self.keep, Iterable):
            raise InvalidOption(f"Retention(keep={shown(self.keep)}): give a list of names of groups")
        object.__setattr__(self, "keep", tuple(check_name(name, "group") for name in self.keep))

    @property
    def unlimited(self) -> bool:
        """Whether everything stays."""
        return self.count is None and self.bytes is None and self.age is None


@dataclass(frozen=True, slots=True)
class Dedup:
    """For how long ids given by publishers are remembered in each partition, and how many of them at most."""

    age: Duration = 3_600
    count: int = 100_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "age", seconds(self.age, "Dedup(age=)"))
        whole(self.count, "Dedup(count=)", 1, 10_000_000)


class TopicOptions(TypedDict, total=False):
    """What can be said of a topic; what is not said is as it was declared before, or as a new topic has it."""

    partitions: int
    retention: Retention
    compact: bool
    index: bool
    packed: bool
    codec: str
    dedup: Dedup
    tombstones: Duration


@dataclass(frozen=True, slots=True)
class TopicProperties:
    """What is stored of a topic. `tombstones` is for how many seconds compaction keeps them; `created` is in ms."""

    partitions: int = PARTITIONS
    hash: str = HASH
    packed: bool = False
    codec: str = "json"
    index: bool = False
    compact: bool = False
    retention: Retention = field(default_factory=Retention)
    dedup: Dedup = field(default_factory=Dedup)
    tombstones: float = 86_400.0
    created: int = 0


_NESTED: Final[dict[str, type[Any]]] = {"retention": Retention, "dedup": Dedup}


def checked(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of a topic, each thing looked at. Raises InvalidOption, ConfigError."""
    where, found = f"topic {name!r}: ", dict(said)
    for option, value in said.items():
        if option not in TopicOptions.__annotations__:
            hint = did_you_mean(option, TopicOptions.__annotations__)
            raise InvalidOption(f"{where}{option}= is no option of a topic{hint}")
        if option == "partitions":
            whole(value, f"{where}partitions", 1, MAX_PARTITIONS)
        elif option == "codec":
            codecs.get(value)
        elif option == "tombstones":
            found[option] = seconds(value, f"{where}tombstones")
        elif option in _NESTED:
            if not isinstance(value, _NESTED[option]):
                raise InvalidOption(f"{where}{option}={shown(value)}: give a {_NESTED[option].__name__}(...)")
        elif not isinstance(value, bool):
            raise InvalidOption(f"{where}{option}={shown(value)}: give True or False")
    for one, other in (("packed", "compact"), ("packed", "index"), ("compact", "index")):
        if found.get(one) and found.get(other):
            raise InvalidOption(f"{where}{one}=True and {other}=True do not go together: keep one of them")
    return found


def decide(name: str, stored: bytes, said: Mapping[str, Any], now_ms: int) -> tuple[TopicProperties, bytes]:
    """The properties that hold now, and what is to be stored ('' if nothing is); `stored` is b"" for a new topic.

    What was said last counts. Raises ConfigError if it differs in what the stored records depend on.
    """
    if not stored:
        new = TopicProperties(created=now_ms, **said)
        return new, encode(new)
    known = decode(name, stored)
    for option in FIXED:
        if option in said and said[option] != getattr(known, option):
            raise ConfigError(
                f"topic {name!r} is declared here with {option}={said[option]!r}, but it was made with"
                f" {option}={getattr(known, option)!r}, which its records depend on: say the same, or take a new name"
            )
    wanted = replace(known, **said)
    checked(name, {"packed": wanted.packed, "compact": wanted.compact, "index": wanted.index})
    return wanted, encode(wanted, stored) if wanted != known else b""


def encode(properties: TopicProperties, stored: bytes = b"") -> bytes:
    """As JSON; what a newer release has stored beside it stays."""
    values = {one.name: getattr(properties, one.name) for one in fields(properties)}
    for name in _NESTED:
        values[name] = {one.name: getattr(values[name], one.name) for one in fields(values[name])}
    return orjson.dumps({**(orjson.loads(stored) if stored else {}), **values})


def decode(name: str, stored: bytes) -> TopicProperties:
    """What `encode` made; raises DecodeError."""
    try:
        values = orjson.loads(stored)
        known: dict[str, Any] = {one.name: values[one.name] for one in fields(TopicProperties) if one.name in values}
        for nested, kind in _NESTED.items():
            if nested in known:
                names = {one.name for one in fields(kind)}
                known[nested] = kind(**{key: value for key, value in known[nested].items() if key in names})
        found = TopicProperties(**known)
        whole(found.partitions, "partitions", 1, MAX_PARTITIONS)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DecodeError(f"what is stored of topic {name!r} is not readable: {error}: {shown(stored)}") from error
    if found.hash != HASH:
        raise ConfigError(
            f"topic {name!r} places its keys by {found.hash!r}, which this release does not know ({HASH!r} is what it"
            " has): use a newer one"
        )
    return found


_VERSION = re.compile(rb"^(valkey|redis)_version:(\d+)\.(\d+)", re.MULTILINE)
_OLDEST: Final = {b"redis": (7, 0), b"valkey": (7, 2)}


def check_version(info: bytes, url: str) -> None:
    """Raise ConfigError if the server that says this of itself (INFO server) is too old for topics."""
    told = {kind: (int(major), int(minor)) for kind, major, minor in _VERSION.findall(info)}
    kind = b"valkey" if b"valkey" in told else b"redis"
    if kind in told and told[kind] < _OLDEST[kind]:
        version = ".".join(map(str, told[kind]))
        raise ConfigError(f"the server at {url} is {kind.decode()} {version}; topics need Redis 7.0 or Valkey 7.2")
