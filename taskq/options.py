"""The options of tasks and calls: frozen values, checked when they are made, and the part of them that travels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypedDict
from uuid import UUID

from taskq.checks import (
    Delivery,
    Duration,
    delivery,
    exceptions,
    expires,
    is_text,
    limit,
    message_id,
    seconds,
    unique_key,
    when,
    whole,
)
from taskq.errors import InvalidOption
from taskq.foreign import FOREIGN
from taskq.names import check_name, did_you_mean, shown

MAX_ATTEMPTS: Final = 10_000
MAX_HEADERS_BYTES: Final = 8_192
HARD_LIMIT: Final = 3_600.0  # of a task without `timeout`
HARD_GRACE: Final = 10.0  # from `timeout` to the hard limit


class Unset(Enum):
    """The type of `UNSET`, for options where None means something."""

    UNSET = "UNSET"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed message runs again, and how often.

    `max_attempts` counts the first run. The delay is `base` seconds, doubled for each attempt, at most `cap`, jittered
    between half and whole. Only exceptions in `on` are retried; those in `never` are not, whatever `on` says.
    """

    max_attempts: int = 4
    base: float = 10.0
    cap: float = 3_600.0
    on: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = ()

    def __init__(
        self,
        max_attempts: int = 4,
        base: Duration = 10,
        cap: Duration = 3_600,
        on: type[BaseException] | tuple[type[BaseException], ...] = (Exception,),
        never: type[BaseException] | tuple[type[BaseException], ...] = (),
    ) -> None:
        store = object.__setattr__
        store(self, "max_attempts", whole(max_attempts, "max_attempts", 1, MAX_ATTEMPTS))
        store(self, "base", seconds(base, "base"))
        store(self, "cap", seconds(cap, "cap"))
        store(self, "on", exceptions(on, "on"))
        store(self, "never", exceptions(never, "never"))

    def retries(self, error: BaseException) -> bool:
        """Whether this kind of error is retried at all; attempts are not looked at.

        >>> policy = RetryPolicy(on=OSError, never=FileNotFoundError)
        >>> policy.retries(TimeoutError()), policy.retries(FileNotFoundError()), policy.retries(KeyError())
        (True, False, False)
        """
        return isinstance(error, self.on) and not isinstance(error, self.never)


def retry_policy(value: object, default: RetryPolicy | None = None) -> RetryPolicy:
    """What `retry=` means: a policy, a number of attempts (the first run counts), False for one, None or True.

    None and True are `default`; a number and False change the attempts of `default` and nothing else.

    >>> retry_policy(5, RetryPolicy(base=1)) == RetryPolicy(max_attempts=5, base=1)
    True
    >>> retry_policy(False).max_attempts
    1
    """
    policy = RetryPolicy() if default is None else default
    if isinstance(value, RetryPolicy):
        return value
    if value is None or value is True:
        return policy
    if value is False:
        return replace(policy, max_attempts=1)
    if isinstance(value, int):
        if value == 0:
            raise InvalidOption("retry=0: the first run counts as an attempt; retry=False is 'run once'")
        return replace(policy, max_attempts=whole(value, "retry", 1, MAX_ATTEMPTS))
    raise InvalidOption(f"retry={shown(value)}: give a RetryPolicy, a number of attempts, or False")


class Overrides(TypedDict, total=False):
    """The options by name, for `**overrides: Unpack[Overrides]`."""

    queue: str
    priority: int
    delay: Duration | None
    at: datetime | float | None
    expires: datetime | Duration | None
    timeout: Duration | None
    hard_timeout: Duration | None
    retry: RetryPolicy | int | None
    result_ttl: Duration
    max_result: int
    id: str | UUID | None
    unique: str | None
    delivery: Delivery
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """All options of a task or of one call, each in the one form that is kept; `of` and `merge` check and make them.

    `delay`, `timeout`, `hard_timeout` and `result_ttl` are seconds. `at` is milliseconds since 1970. `expires` is
    seconds after enqueueing (float) or milliseconds since 1970 (int).
    """

    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    at: int | None = None
    expires: float | int | None = None
    timeout: float | None = None
    hard_timeout: float | Unset | None = UNSET
    retry: RetryPolicy = RetryPolicy()
    result_ttl: float = 3_600.0
    max_result: int = 65_536
    id: str | None = None
    unique: str | None = None
    delivery: Delivery = "at_least_once"
    headers: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    overridden: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def of(cls, **options: Any) -> TaskOptions:
        """The options of a task; `InvalidOption` names the option, the value and what would be right.

        >>> TaskOptions.of(timeout=60, retry=5).timeout
        60.0
        >>> TaskOptions.of(time_out=5)
        Traceback (most recent call last):
        taskq.errors.InvalidOption: there is no option 'time_out' (did you mean 'timeout'?)
        """
        return replace(_consistent(replace(_DEFAULTS, **_checked(options, None))), overridden=frozenset())

    def merge(self, **overrides: Any) -> TaskOptions:
        """These options with `overrides` for one call; they are remembered in `overridden`.

        Headers are added to those of the task. `retry=5` changes the attempts of the task's policy and keeps the rest.
        A policy whose `on` or `never` differ from the task's is refused: exception classes do not travel.
        """
        return _consistent(self._with(overrides))

    def _with(self, overrides: Mapping[str, Any]) -> TaskOptions:
        checked = _checked(overrides, self)
        if "delay" in overrides and "at" not in overrides:
            checked["at"] = None
        elif "at" in overrides and "delay" not in overrides:
            checked["delay"] = None
        return replace(self, **checked, overridden=self.overridden | overrides.keys())

    @property
    def hard_limit(self) -> float | None:
        """Seconds after which the child process is ended, None for never."""
        if not isinstance(self.hard_timeout, Unset):
            return self.hard_timeout
        return HARD_LIMIT if self.timeout is None else self.timeout + HARD_GRACE

    def due_ms(self, now_ms: int) -> int | None:
        """When the message may first run, in ms since 1970; None for now."""
        due = self.at if self.delay is None else now_ms + round(self.delay * 1_000)
        return due if due is not None and due > now_ms else None

    def expires_ms(self, now_ms: int) -> int | None:
        """After which moment the message is not started any more, in ms since 1970; None for never."""
        return now_ms + round(self.expires * 1_000) if isinstance(self.expires, float) else self.expires

    def wire(self) -> dict[str, Any]:
        """What the worker has to know of this call: the overridden options that a run is judged by, JSON-ready.

        Empty for a call without such options. Queue, priority, times, id, unique key and headers are not here: the
        broker keeps them beside the message. Keys and meanings are part of the data layout.

        >>> TaskOptions.of(timeout=5).merge(timeout=30, retry=2, priority=1).wire()
        {'t': 30.0, 'r': [2, 10.0, 3600.0]}
        """
        result: dict[str, Any] = {}
        for key, name in _WIRE.items():
            value = getattr(self, name)
            if name in self.overridden and value is not UNSET:
                result[key] = [value.max_attempts, value.base, value.cap] if name == "retry" else value
        return result

    def from_wire(self, data: Mapping[str, Any]) -> TaskOptions:
        """These options of a task, with what a message says of its own call.

        Unknown keys are left out, they come from a newer release. A value that cannot be raises `InvalidOption`.

        >>> TaskOptions.of(timeout=5).from_wire({"t": 30.0, "r": [2, 10.0, 3600.0]}).retry.max_attempts
        2
        """
        if not data:
            return self
        overrides = {_WIRE[key]: value for key, value in data.items() if key in _WIRE}
        if "retry" in overrides:
            numbers = overrides["retry"]
            if not isinstance(numbers, list) or len(numbers) != 3:
                raise InvalidOption(f"retry={shown(numbers)}: a message carries attempts, base and cap")
            attempts, base, cap = numbers
            overrides["retry"] = replace(self.retry, max_attempts=attempts, base=base, cap=cap)
        merged = self._with(overrides)
        hard = merged.hard_timeout
        if "h" not in data and isinstance(hard, float) and merged.timeout is not None and hard < merged.timeout:
            return replace(
                merged, hard_timeout=UNSET
            )  # the producer did not know our hard limit; the call's time counts
        return merged


_DEFAULTS = TaskOptions()
_WIRE: Final = {
    "t": "timeout",
    "h": "hard_timeout",
    "r": "retry",
    "l": "result_ttl",
    "m": "max_result",
    "d": "delivery",
}


def _checked(options: Mapping[str, Any], base: TaskOptions | None) -> dict[str, Any]:
    """`options` in their one form; with `base`, as the overrides of one call."""
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name == "retry":
            checked[name] = _retry(value, base)
        elif name == "headers":
            checked[name] = _headers(value, {} if base is None else base.headers)
        elif name in _CHECKS:
            checked[name] = _CHECKS[name](value, name)
        else:
            hint = f": {FOREIGN[name]}" if name in FOREIGN else did_you_mean(name, [*OPTIONS, *_ELSEWHERE])
            raise InvalidOption(f"there is no option {shown(name)}{hint}")
    return checked


def _consistent(options: TaskOptions) -> TaskOptions:
    if options.delay is not None and options.at is not None:
        raise InvalidOption("delay= and at= both say when: give one of them")
    if isinstance(options.expires, float) and options.delay is not None and options.delay > options.expires:
        raise InvalidOption(
            f"delay={options.delay:g} comes after expires={options.expires:g}: the message could never start"
        )
    if isinstance(options.expires, int) and options.at is not None and options.at > options.expires:
        raise InvalidOption(
            f"at={options.at / 1_000:.3f} comes after expires={options.expires / 1_000:.3f}: "
            "the message could never start"
        )
    hard = options.hard_timeout
    if isinstance(hard, float) and options.timeout is not None and hard < options.timeout:
        raise InvalidOption(f"hard_timeout={hard:g} comes before timeout={options.timeout:g}: raise it")
    return options


def _retry(value: object, base: TaskOptions | None) -> RetryPolicy:
    if base is None:
        return retry_policy(value)
    policy = retry_policy(value, base.retry)
    if policy.on == base.retry.on and policy.never == base.retry.never:
        return policy
    if policy.on != (Exception,) or policy.never:
        raise InvalidOption("retry: on= and never= of one call cannot travel to the worker; set them on the task")
    return replace(policy, on=base.retry.on, never=base.retry.never)


def _headers(value: object, base: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidOption(f"headers={shown(value)}: give a dict of str to str")
    headers = {**base, **value}
    for key, text in headers.items():
        if not is_text(key) or not isinstance(text, str) or (text and not is_text(text)):
            raise InvalidOption(f"headers: {shown(key)}: {shown(text)} is not str to str")
    size = sum(len(part.encode()) for item in headers.items() for part in item)
    if size > MAX_HEADERS_BYTES:
        raise InvalidOption(f"headers have {size} bytes, {MAX_HEADERS_BYTES} are allowed; use arguments for data")
    return headers


_CHECKS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "queue": check_name,
    "priority": lambda value, name: whole(value, name, -2, 2),
    "delay": lambda value, name: None if value is None else seconds(value, name),
    "at": lambda value, name: None if value is None else when(value, name),
    "expires": expires,
    "timeout": limit,
    "hard_timeout": lambda value, name: UNSET if value is UNSET else limit(value, name),
    "result_ttl": seconds,
    "max_result": lambda value, name: whole(value, name, 1, 512 * 1_048_576),  # the largest value that Redis keeps
    "id": message_id,
    "unique": unique_key,
    "delivery": delivery,
}
OPTIONS: Final = tuple(item.name for item in fields(TaskOptions) if item.name != "overridden")
_ELSEWHERE: Final = ("then", "name", "aliases", "codec")  # said of calls and of tasks, and looked at before this
