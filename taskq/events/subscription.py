"""What is said of a subscription: a frozen value, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import iscoroutinefunction
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args

from taskq.checks import Duration, seconds, takes, whole
from taskq.errors import InvalidOption
from taskq.names import check_name, did_you_mean, shown
from taskq.options import RetryPolicy, retry_policy

Mode: TypeAlias = Literal["partition", "key", "unordered", "global"]
Reset: TypeAlias = Literal["latest", "earliest", "error"]
Guarantee: TypeAlias = Literal["at_least_once", "at_most_once", "exactly_once"]
OnError: TypeAlias = Literal["block", "park", "dead"]
PartitionsHook: TypeAlias = Callable[[list[int]], object]

RETRY: Final = RetryPolicy(max_attempts=5, base=1, cap=60)
MAX_BATCH: Final = 1_000
SHORTEST_SESSION_S: Final = 0.5
_WORDS: Final[dict[str, Any]] = {"mode": Mode, "reset": Reset, "delivery": Guarantee, "on_error": OnError}


# Modes of `subscribe` that come to others: whoever asked for none of all may have meant one of them.
_ELSEWHERE: Final = ("shared", "broadcast")


class SubscribeOptions(TypedDict, total=False):
    """What can be said of an ordered subscription; see `Subscription`."""

    mode: Mode
    batch: bool | int
    reset: Reset
    delivery: Guarantee
    on_error: OnError
    retry: RetryPolicy | int | None
    member: str
    session: Duration
    max_poll: Duration
    concurrency: int
    max_bytes: int
    on_revoke: PartitionsHook | None
    on_lost: PartitionsHook | None


@dataclass(frozen=True, slots=True)
class Subscription:
    """How a group reads a topic.

    `mode`: "partition" handles the records of a partition one after the other, "key" those of a key, "unordered" any,
    "global" those of the whole topic by one member of the group. `batch` is 0 for single records, else the most that a
    handler gets at once. `reset` says where a group without a position begins. `on_error` says what happens to the
    records behind one that failed: "block" lets them wait, "park" only those of its key, "dead" nothing: it becomes a
    dead letter at once. `member` is a name that survives a restart. A member that is silent for `session` seconds, or
    whose handler runs for `max_poll` seconds, loses its partitions. `concurrency` bounds the handlers that run at once.
    """

    group: str
    mode: Mode = "partition"
    batch: int = 0
    reset: Reset = "latest"
    delivery: Guarantee = "at_least_once"
    on_error: OnError = "block"
    retry: RetryPolicy = RETRY
    member: str = ""
    session: float = 10.0
    max_poll: float = 300.0
    concurrency: int = 8
    max_bytes: int = 1_048_576
    on_revoke: PartitionsHook | None = None
    on_lost: PartitionsHook | None = None

    @property
    def alone(self) -> bool:
        """Whether one member has the whole topic."""
        return self.mode == "global"

    @property
    def by_key(self) -> bool:
        """Whether records of one partition are handled side by side."""
        return self.mode in ("key", "unordered")

    @classmethod
    def of(cls, group: str, said: Mapping[str, Any]) -> Subscription:
        """The value; raises InvalidOption, InvalidName."""
        found: dict[str, Any] = {"group": check_name(group, "group")}
        for option, value in said.items():
            if option not in SubscribeOptions.__annotations__:
                hint = did_you_mean(option, SubscribeOptions.__annotations__)
                raise InvalidOption(f"group {group!r}: {option}= is no option of an ordered subscription{hint}")
            found[option] = _checked(option, value)
        made = cls(**found)
        if made.by_key and (made.batch or made.on_error == "park"):
            what = "batch" if made.batch else 'on_error="park"'
            raise InvalidOption(f"group {group!r}: {what} goes with mode='partition' or 'global', not {made.mode!r}")
        if made.delivery != "at_least_once" and made.by_key:
            raise InvalidOption(
                f"group {group!r}: delivery={made.delivery!r} needs mode='partition' or 'global', not {made.mode!r}"
            )
        return made

    def __repr__(self) -> str:
        values = ((one.name, getattr(self, one.name), one.default) for one in fields(self))
        return f"Subscription({', '.join(f'{name}={value!r}' for name, value, usual in values if value != usual)})"


def _checked(option: str, value: Any) -> Any:
    if option in _WORDS:
        words = get_args(_WORDS[option])
        if value not in words:
            known = [*words, *(_ELSEWHERE if option == "mode" and value not in _ELSEWHERE else ())]
            raise InvalidOption(f"{option}={shown(value)}: give one of {', '.join(map(repr, known))}")
        return value
    if option == "batch":
        return int(value) * MAX_BATCH if isinstance(value, bool) else whole(value, option, 0, MAX_BATCH)
    if option == "retry":
        return retry_policy(value, RETRY)
    if option == "member":
        return check_name(value, "member")
    if option in ("session", "max_poll"):
        found = seconds(value, option)
        if found < SHORTEST_SESSION_S:
            raise InvalidOption(f"{option}={shown(value)} is too short: give at least {SHORTEST_SESSION_S} s")
        return found
    if option == "concurrency":
        return whole(value, option, 1, 1_000)
    if option == "max_bytes":
        return whole(value, option, 1, 2**30)
    if value is not None and (not callable(value) or iscoroutinefunction(value)):
        raise InvalidOption(f"{option}={shown(value)}: give a plain function that takes a list of partitions")
    if value is not None:
        takes(value, option, "partitions")
    return value
